"""One recipe's techniques in every runtime."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.every_runtime import TOO_FEW, Place, in_words, missing, places, table
from experiments.measures import NO_DIFFERENCE
from experiments.recipe import Recipe
from experiments.references import baseline_of, reference_of
from experiments.run_record import RunRecord
from experiments.store import Store
from optimizers import TECHNIQUES
from runtimes import RUNTIMES
from tests.pages.left_behind import finished

PRUNED = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["structured_pruning"](),), runtime="onnxruntime")


def in_runtime(recipe: Recipe, runtime: str) -> Recipe:
    return recipe.model_copy(update={"runtime": runtime})


@pytest.fixture
def found(store: Store) -> list[Place]:
    """Measured in ONNX Runtime, twice as fast and half as large; in OpenVINO without its reference."""
    finished(store, PRUNED, p50_ms=1.0, size_bytes=2**20, wrong=200)
    finished(store, reference_of(PRUNED), p50_ms=2.0, size_bytes=2**21)
    finished(store, in_runtime(PRUNED, "openvino"))
    return places(PRUNED.model_copy(update={"name": "Mine"}), store.finished_before)


def test_every_runtime_has_its_place(found: list[Place]) -> None:
    assert [place.runtime for place in found] == list(RUNTIMES)
    states = {place.runtime: place.state for place in found}
    assert states["onnxruntime"] == "measured"
    assert states["openvino"] == "reference missing"
    assert states["pytorch"] == "not run"


def test_ratios_are_against_the_untouched_model_in_the_same_runtime(found: list[Place]) -> None:
    row = table(found).set_index("runtime").loc["onnxruntime"]
    assert row.speedup == pytest.approx(2, rel=0.01)
    assert row.speedup_low < 2 < row.speedup_high
    assert row.verdict == f"{row.speedup:.2f}x faster"
    assert (row.size_ratio, row.gzip_ratio, row.macs_ratio) == (2, 2, 1)
    assert (row.accuracy, row.accuracy_low < 0.9 < row.accuracy_high) == (0.9, True)


def test_what_is_missing_comes_with_its_references_once(found: list[Place]) -> None:
    lacking = {recipe.digest for recipe in missing(found)}
    assert reference_of(in_runtime(PRUNED, "openvino")).digest in lacking
    assert in_runtime(PRUNED, "pytorch").digest in lacking
    assert len(lacking) == len(missing(found))
    assert PRUNED.digest not in lacking
    assert baseline_of(PRUNED).digest in lacking


def test_what_cannot_run_says_why_and_is_not_missing(store: Store) -> None:
    recipe = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
    graph = recipe.model_copy(update={"measurement": recipe.measurement.model_copy(update={"cuda_graph": True})})
    found = places(graph, store.finished_before)
    assert {place.state for place in found} == {"refused"}
    assert all(place.refusal for place in found)
    assert missing(found) == []
    assert table(found).why.str.len().gt(0).all()


def test_the_sentence_sets_time_beside_arithmetic(store: Store, found: list[Place]) -> None:
    assert in_words(table(found)).startswith("With no fewer multiply-accumulates")
    assert "x faster in ONNX Runtime" in in_words(table(found))
    assert in_words(table(places(in_runtime(PRUNED, "pytorch"), lambda _: None))) == ""


@pytest.mark.parametrize("whose", ["record", "reference"])
def test_a_difference_that_other_work_may_have_made_is_doubted(found: list[Place], whose: str) -> None:
    measured = next(place for place in found if place.state == "measured")
    frame = table([replace(measured, **{whose: disturbed(getattr(measured, whose))})])
    assert frame.verdict[0].endswith("x faster, but the timing was disturbed")
    assert in_words(frame).endswith("x faster in ONNX Runtime (timing disturbed).")
    alike = table([replace(measured, record=measured.reference, reference=disturbed(measured.reference))])
    assert alike.verdict[0] == NO_DIFFERENCE, "which claims nothing"
    assert alike.is_disturbed[0]


def test_too_few_calls_allow_no_verdict(found: list[Place]) -> None:
    measured = next(place for place in found if place.state == "measured")
    row = table([Place("onnxruntime", PRUNED, without_interval(measured.record), measured.reference, "")]).iloc[0]
    assert row.verdict == TOO_FEW
    assert row.speedup_low != row.speedup_low


def without_interval(record: RunRecord | None) -> RunRecord:
    return with_summary(record, p50_low_ms=None, p50_high_ms=None)


def disturbed(record: RunRecord | None) -> RunRecord:
    return with_summary(record, is_disturbed=True)


def with_summary(record: RunRecord | None, **changes: object) -> RunRecord:
    assert record
    assert record.summary
    return replace(record, summary=record.summary.model_copy(update=changes))
