"""What each cell of the truth matrix says."""

from __future__ import annotations

import pytest

from experiments.recipe import Recipe
from experiments.store import Store
from experiments.truth import matrix, variants_of
from tests.experiments.truths import INT8, UNTOUCHED, at, diverging, fidelity, finished, sources, whole
from ui.truth_texts import ASPECTS, against, as_text, cell_lines, legend, percent, unusual


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "below 0.001 %"), (9e-6, "below 0.001 %"), (0.021, "2.1 %"), (0.83, "83 %"), (25, "2,500 %")],
)
def test_differences_in_words(share: float, words: str) -> None:
    assert percent(share) == words


def test_every_aspect_of_a_measured_cell_has_its_unit_and_its_sign(store: Store) -> None:
    finished(store, UNTOUCHED, fidelity(), p50_ms=2)
    finished(store, INT8, fidelity(agreeing=992, relative=0.021), p50_ms=0.5)
    found = whole(store)
    cell = next(cell for cell in found.rows[1].cells if cell.summary)
    said = {key: cell_lines(cell, found, aspect) for key, aspect in ASPECTS.items()}
    assert said["agreement"] == ("≈ 99.2 %", "2.1 % off")
    assert said["accuracy"] == ("≈ 95.00 %", "94.0 to 95.9 %")
    assert said["latency"][0].startswith("≈ 0.500 ms")
    assert said["latency"][2].endswith("x faster")
    assert said["size"] == ("≈ 1000 B", "1,000 B")
    assert said["build"] == ("≈ 12.5 ms",)
    assert said["cold_start"] == ("≈ 900 ms",)
    assert "INT8: than the untouched model" in against(found)


def test_the_legend_counts_what_was_compared(store: Store) -> None:
    finished(store, UNTOUCHED, fidelity())
    assert "✓ the same answer for each of the 1,000 images compared]" in legend(whole(store))
    assert "↻" not in legend(whole(store))
    few = fidelity(agreeing=100).model_copy(update={"images": 100, "retrained": True})
    finished(store, INT8, few)
    assert "each of the 100 to 1,000 images compared]" in legend(whole(store))
    assert "↻ trained while quantized" in legend(whole(store))


def test_speeds_of_a_model_of_keras_are_set_beside_litert(store: Store) -> None:
    runs = [Recipe(model="keras_cnn_fmnist", runtime=runtime) for runtime in ("litert", "openvino")]
    for recipe in runs:
        finished(store, recipe, fidelity())
    found = matrix(variants_of(store, runs[0].model, runs[0].settings), sources(store))
    assert against(found) == "Faster or slower: than the same variant in LiteRT."


def test_a_cell_without_a_measurement_says_why_in_every_aspect(store: Store) -> None:
    store.fail(store.begin_here(INT8), "OpenVINO does not support the operator GridSample (in a.b).")
    found = whole(store)
    cells = {cell.runtime: cell for cell in found.rows[1].cells}
    for aspect in ASPECTS.values():
        assert cell_lines(cells["onnxruntime"], found, aspect) == ("failed", "GridSample")
        assert cell_lines(cells["pytorch"], found, aspect) == ("does not fit",)


def test_the_matrix_as_text_tells_what_differs_since_when_and_what_is_unusual(store: Store) -> None:
    finished(store, UNTOUCHED, fidelity())
    first = diverging(0.01, 0.4, first=1)
    finished(store, INT8, fidelity(agreeing=610, relative=0.4, divergence=first))
    finished(store, at(INT8, "openvino", hint="throughput"), fidelity())
    printed = as_text(whole(store), ASPECTS["agreement"])
    assert "✗ 61 %, 40 % off" in printed
    assert "It begins at net.1" in printed
    assert "INT8 in PyTorch: INT8 quantization for eager PyTorch" in printed
    assert "INT8 in OpenVINO: throughput" in unusual(whole(store))
    assert "✓ 100 % *" in printed
