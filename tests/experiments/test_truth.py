"""Which run tells what a variant is in a runtime, and what it tells."""

from __future__ import annotations

import pytest

from core.bundle import Precision
from core.compatibility import Compatibility, OperatorSupport
from core.devices import find_device
from core.errors import BadInput
from experiments.ahead import AheadResult
from experiments.recipe import MeasurementSettings, Recipe
from experiments.references import reference_of
from experiments.store import Store
from experiments.truth import Cell, missing, subjects, variants_of
from experiments.truth_words import headline
from optimizers import TECHNIQUES
from profiling.machine import conditions
from runtimes import RUNTIMES
from tests.experiments.truths import INT8, MODEL, PRUNED, SETTINGS, UNTOUCHED, at, fidelity, finished, whole


def cell(store: Store, variant: str, runtime: str) -> Cell:
    row = next(row for row in whole(store).rows if row.title == variant)
    return next(each for each in row.cells if each.runtime == runtime)


def test_rows_are_chains_whatever_the_runtime_and_the_untouched_model_is_the_first(store: Store) -> None:
    finished(store, INT8)
    finished(store, at(INT8, "openvino"))
    finished(store, PRUNED.model_copy(update={"measurement": MeasurementSettings(latency_seconds=9)}))
    finished(store, PRUNED)
    found = whole(store)
    assert [row.title for row in found.rows] == ["FP32", "INT8", "Pruned 50 %"]
    assert {tuple(each.runtime for each in row.cells) for row in found.rows} == {tuple(RUNTIMES)}


def test_seeds_and_settings_make_variants_of_their_own_with_titles_that_differ(store: Store) -> None:
    finished(store, INT8)
    finished(store, INT8.model_copy(update={"seed": 3}))
    other = TECHNIQUES["int8"](calibration_images=128)
    finished(store, INT8.model_copy(update={"techniques": (other,)}))
    finished(store, UNTOUCHED.model_copy(update={"seed": 3}))
    titles = [row.title for row in whole(store).rows]
    assert titles[0] == "FP32"
    assert "INT8, seed 3" in titles
    assert len(set(titles)) == len(titles) == 4


@pytest.mark.parametrize(
    ("agreeing", "relative", "precision", "state"),
    [
        (1000, 1e-6, "fp32", "same"),
        (999, 1e-6, "fp32", "differs"),  # of the same arithmetic, all should be alike
        (1000, 0.01, "fp32", "differs"),
        (1000, 0.01, "int8", "same"),
        (990, 0.05, "int8", "within"),
        (990, 0.5, "int8", "differs"),
    ],
)
def test_the_state_is_what_the_precision_explains(
    store: Store, agreeing: int, relative: float, precision: Precision, state: str
) -> None:
    finished(store, INT8, fidelity(agreeing=agreeing, relative=relative), precision=precision)
    assert cell(store, "INT8", "onnxruntime").state == state


def test_what_was_trained_since_is_another_network_and_counts_in_no_verdict(store: Store) -> None:
    far_off = fidelity(agreeing=500, relative=0.9).model_copy(update={"retrained": True})
    finished(store, INT8, far_off, precision="int8")
    assert cell(store, "INT8", "onnxruntime").state == "trained since"
    assert headline(whole(store)).startswith("1 export was trained while quantized")
    finished(store, UNTOUCHED, fidelity())
    assert headline(whole(store)) == (
        "1 of 2 exports answers like the network they were made from, within what their precision explains. "
        "1 export was trained while quantized and is another network on purpose: judge it by its accuracy."
    )


def test_the_newest_run_with_the_engine_as_usual_tells(store: Store) -> None:
    finished(store, INT8, fidelity(), p50_ms=9)
    usual = finished(store, INT8, fidelity(), p50_ms=8)
    finished(store, at(INT8, "onnxruntime", rewriting="none"), fidelity())
    only = finished(store, at(INT8, "openvino", hint="throughput"))
    store.fail(store.begin_here(INT8), "It fell over.")
    record = cell(store, "INT8", "onnxruntime").record
    assert record
    assert record.id == usual
    unusual = cell(store, "INT8", "openvino")
    assert unusual.record
    assert (unusual.record.id, unusual.state) == (only, "not compared")
    assert unusual.recipe.engine.label() == "throughput"


@pytest.mark.parametrize(
    ("error", "details", "operator"),
    [
        ("OpenVINO does not support the operator GridSample (in a.b). Choose another.", "", "GridSample (in a.b)"),
        ("TensorRT cannot read the operator NonZero (node n1): no plugin.", "", "NonZero (in n1)"),
        ("It stopped.", "NOT_IMPLEMENTED: Could not find an implementation for Conv(22) node with name 'x'",
         "Conv (in x)"),
        ("Out of memory.", "", ""),
    ],
)  # fmt: skip
def test_a_failed_cell_has_the_sentence_and_the_operator(store: Store, error: str, details: str, operator: str) -> None:
    store.fail(store.begin_here(INT8), error, details)
    found = cell(store, "INT8", "onnxruntime")
    assert (found.state, found.why, found.operator) == ("failed", error, operator)


def test_what_waits_runs_cannot_run_or_was_never_asked_for_says_so(store: Store) -> None:
    store.begin_here(INT8)
    store.enqueue(at(INT8, "openvino"))
    store.cancel(store.begin_here(at(INT8, "torch_compile")))
    states = {each.runtime: each for each in whole(store).rows[1].cells}
    assert states["onnxruntime"].state == "running"
    assert states["openvino"].state == "queued"
    assert states["torch_compile"].state == "not run"
    assert states["pytorch"].state == "does not fit"
    assert "eager PyTorch" in states["pytorch"].why


def test_an_engine_built_ahead_has_not_been_run_and_one_that_cannot_be_names_the_operator(store: Store) -> None:
    built, refused = at(INT8, "tensorrt", build_for="SM89"), at(UNTOUCHED, "tensorrt", build_for="SM89")
    operators = (OperatorSupport(op="Conv", count=9), OperatorSupport(op="Loop", count=1, refused=("loop",)))
    plain = AheadResult(
        precision="int8", target="Ada", compatibility=Compatibility(parser="a parser", operators=operators[:1]),
        conditions=conditions(find_device("cpu"), threads=1, seed=0), graph_bytes=10,
    )  # fmt: skip
    store.finish(
        store.begin_here(built),
        plain.model_copy(update={"size_bytes": 9, "build_ms": 1.0, "artifact_files": ("model.engine",)}),
    )
    lacking = {"why_no_engine": "No.", "compatibility": Compatibility(parser="a parser", operators=operators)}
    store.finish(store.begin_here(refused), plain.model_copy(update=lacking))
    assert cell(store, "INT8", "tensorrt").state == "built ahead"
    none = cell(store, "FP32", "tensorrt")
    assert (none.state, none.why, none.operator) == ("does not fit", "No.", "Loop")


def test_what_is_missing_comes_with_its_references_once_and_nothing_that_is_there(store: Store) -> None:
    finished(store, INT8, fidelity())
    finished(store, UNTOUCHED, fidelity())
    found = missing(whole(store))
    digests = {recipe.digest for recipe in found}
    assert {at(INT8, "openvino").digest, at(UNTOUCHED, "openvino").digest, reference_of(INT8).digest} <= digests
    assert not digests & {INT8.digest, UNTOUCHED.digest}
    assert len(digests) == len(found)
    assert not [recipe for recipe in found if recipe.runtime == "tensorrt"]


def test_speed_is_set_beside_the_same_variant_in_pytorch_or_the_untouched_model_there(store: Store) -> None:
    for recipe in (UNTOUCHED, INT8, PRUNED, at(PRUNED, "openvino")):
        finished(store, recipe)
    found = whole(store)
    untouched, int8, pruned = found.rows
    places = {each.runtime: each for each in pruned.cells}
    assert found.reference(places["openvino"]) is places["pytorch"]
    assert found.reference(next(each for each in int8.cells if each.summary)) is untouched.cells[0]
    assert found.reference(untouched.cells[0]) is None


def test_only_what_was_measured_alike_is_in_one_matrix(store: Store) -> None:
    finished(store, INT8)
    other = PRUNED.model_copy(update={"measurement": MeasurementSettings(batch_size=8)})
    finished(store, other)
    simulated = Recipe(model=MODEL, techniques=(TECHNIQUES["simulated"](),))
    store.enqueue(simulated)
    assert [row.title for row in whole(store).rows] == ["FP32", "INT8"]
    assert subjects(store) == [(MODEL, other.settings), (MODEL, SETTINGS)]
    with pytest.raises(BadInput, match="vit_fmnist"):
        variants_of(store, "vit_fmnist", SETTINGS)
