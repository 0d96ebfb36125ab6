"""The Sensitivity section of the Profile page: from nothing scanned to precisions that can be run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from core.quantization import LayerQuantization, QuantizationReport
from core.scan import USUAL_CHANGES, Scan, ScanCell
from experiments.recipe import Recipe
from experiments.store import Store
from experiments.study import ScanStudy
from optimizers import TECHNIQUES
from tests.experiments.profiled import LAYERS, PEAKS, latency, layer_profile, profile_result, profiled, scanned
from tests.pages.charts import charts
from tests.pages.left_behind import finished, measured
from ui.profile.assignment import start_of, taken
from ui.profile.sensitivity import MEASURES, keeping, table_of, worst, worst_in_words

Visit = Callable[..., AppTest]
MODEL = "student_cnn_fmnist"
UNTOUCHED = Recipe(model=MODEL, runtime="onnxruntime")
NAMES = ("stem", "body.0.conv1", "body.0.conv2", "head.0")
DIVERGENCES = (0.4, 0.1, 0.2, 0.3)
SCAN = Scan(
    images=100, correct=90, layers=NAMES, kinds=("Conv2d", "Conv2d", "Conv2d", "Linear"), parameters=(10, 20, 30, 40),
    changes=("int8", "prune50"),
    cells=tuple(
        ScanCell(layer=name, change=change, correct=90 - place, agreed=100 - 2 * place, divergence=lost,
                 output_error=0.1)
        for change in ("int8", "prune50")
        for place, (name, lost) in enumerate(zip(NAMES, DIVERGENCES, strict=True))
        if (name, change) != ("head.0", "prune50")
    ),
    why_missing={"head.0|prune50": "Its outputs are the classes."},
)  # fmt: skip


def int8_run(store: Store, *kept: str, p50_ms: float) -> str:
    """Leave a run in which every layer but those kept took a quarter of its time; its id."""
    recipe = UNTOUCHED.model_copy(update={"techniques": (TECHNIQUES["int8"](keep=kept),)})
    quarter = {"precision": "int8"}
    layers = [
        each.model_copy(update={"time_ms": each.time_ms / 4, **quarter})
        if each.kind == "compute" and not any(name in each.name for name in kept)
        else each
        for each in LAYERS
    ]
    report = QuantizationReport(
        quantizer="x", images=1, parameter_count=1, nonzero_count=1,
        layers=tuple(LayerQuantization(name=name, kind="Conv2d", parameters=1, bits=32 if name in kept else 8)
                     for name in NAMES),
    )  # fmt: skip
    result = measured(recipe, wrong=140, p50_ms=1, size_bytes=1)
    facts = {"latency": latency(p50_ms), "layers": layer_profile(layers), "quantization": report}
    run_id = store.begin_here(recipe)
    store.finish(run_id, result.model_copy(update=facts))
    return run_id


def test_without_a_scan_one_can_be_asked_for(visit: Visit, store: Store) -> None:
    profiled(store, UNTOUCHED)
    page = visit("profile", model=MODEL, section="Sensitivity")
    assert charts(page) == []
    page.slider(key="scan.images").set_value(64).run()
    page.button(key="scan.request").click().run()
    (queued,) = store.queue()
    assert queued.study == ScanStudy(changes=USUAL_CHANGES, images=64)
    assert page.button(key=f"cancel-{queued.id}")


def test_a_scan_is_drawn_and_the_layers_that_hurt_are_left_alone(visit: Visit, store: Store) -> None:
    profiled(store, UNTOUCHED)
    scan_id = scanned(store, MODEL, SCAN)
    page = visit("profile", model=MODEL, section="Sensitivity")
    assert any("100 calibration images on A CPU" in each.value for each in page.caption)
    assert any("One run with all layers in INT8 is needed first" in each.value for each in page.markdown)
    assert page.button(key=f"scan.keep.int8.{scan_id}").disabled
    page.slider(key=f"scan.most.{scan_id}").set_value(2).run()
    page.button(key=f"scan.pick.{scan_id}").click().run()
    assert page.multiselect(key=f"scan.picked.{scan_id}").value == ["stem", "head.0"]
    page.button(key=f"scan.keep.int8.{scan_id}").click().run()
    assert not page.exception
    assert page.session_state["model"] == MODEL  # it is the Optimise page now
    (left,) = [each for each in page.text_input if each.label == "Keep in float"]
    assert left.value == "stem, head.0"


def test_precisions_are_chosen_predicted_run_and_compared(visit: Visit, store: Store) -> None:
    profile = profiled(store, UNTOUCHED, profile_result(peaks=PEAKS))
    scanned(store, MODEL, SCAN)
    finished(store, UNTOUCHED, wrong=138)
    base, other = int8_run(store, p50_ms=0.2), int8_run(store, "stem", "body.0.conv1", p50_ms=0.3)
    page = visit("profile", model=MODEL, section="Sensitivity")
    (budget,) = page.select_slider
    assert budget.value == pytest.approx(0.12)  # answers that all four layers change, which are chosen at first
    key = f"assign.chosen.{profile}.{base}"
    metrics = {metric.label: metric.value for metric in page.metric}
    assert metrics["Predicted latency"] == "0.20 ms"  # all layers: the run that the savings come from
    assert metrics["Predicted accuracy lost"] == "6.00 points"
    assert metrics["Layers in INT8"] == "4 of 4"
    assert page.button(key="assign.see")
    table = page.dataframe[-1].value.set_index("layers")
    assert table.colour.nunique() == 2
    assert "is_disturbed" not in table
    assert table.measured_ms.to_dict() == pytest.approx({4: 0.2, 2: 0.3})
    expected = 0.55 - (0.2 + 0.165) * 0.75 * (0.35 / (0.48 * 0.75))
    assert table.predicted_ms[2] == pytest.approx(expected)
    assert table.measured_lost[2] == pytest.approx(100 * 2 / 2000)
    assert other != base
    page.multiselect(key=key).set_value(["body.0.conv2"]).run()
    assert {metric.label: metric.value for metric in page.metric}["Layers in INT8"] == "1 of 4"
    page.button(key="assign.run").click().run()
    assert not page.exception
    queued = [each.recipe for each in store.queue() if each.recipe.techniques]
    assert [each.techniques[0].keep for each in queued] == [("stem", "body.0.conv1", "head.0")]


def test_the_sentence_the_table_and_the_choice_follow_the_scan() -> None:
    assert worst(SCAN, "int8", 2) == ["stem", "head.0"]
    words = worst_in_words(SCAN, MEASURES["changed"])
    assert "head.0 (6.00 %), body.0.conv2 (4.00 %), body.0.conv1 (2.00 %), 100 % of what all 4 layers" in words
    table = table_of(SCAN)
    assert len(table) == 7
    assert table.loc[table.layer == "head.0", "lost"].tolist() == [3]
    recipe = keeping(UNTOUCHED, "structured_pruning", ["stem"])
    assert (recipe.techniques[0].keep, recipe.runtime) == (("stem",), "onnxruntime")
    assert [start_of([0.0, 0.2, 0.5], lost) for lost in (0.0, 0.1, 0.5, 0.6)] == [0.0, 0.2, 0.5, 0.5]
    assert taken(["a", "b"], ["c"], is_drawn=True) == ["a", "b"]
    assert taken(["c"], ["b", "c"], is_drawn=False) == ["b"]
    assert taken(["a"], ["b"], is_drawn=False) == ["b", "a"]
