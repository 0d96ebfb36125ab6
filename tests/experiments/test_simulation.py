"""Runs that only compute as if in another number format."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sample_models
from core.devices import find_device
from core.errors import BadInput, CannotCompose
from core.progress import Event, Finished, Note, PhaseStarted, Planned
from core.progress import result_of as result_of_steps
from core.quantization import LayerQuantization, QuantizationReport
from experiments.checking import check
from experiments.compare import against_baseline, describe_simulations, simulations, variants
from experiments.duel import Duel
from experiments.package import artifact_of
from experiments.recipe import MeasurementSettings, Recipe
from experiments.references import with_references
from experiments.report import compose
from experiments.run import run
from experiments.simulation import SimulatedResult, StoredAs
from experiments.store import Store
from experiments.worker import execute
from optimizers import TECHNIQUES, Context
from profiling.accuracy import Accuracy
from tests.experiments.synthetic import finish_with
from tests.pages.left_behind import measured

MODEL = "student_dw_fmnist"
QUICK = MeasurementSettings(latency_seconds=1, sweep_seconds=0, threads=1)


def recipe_of(model: str = MODEL, **settings: Any) -> Recipe:
    return Recipe(model=model, techniques=(TECHNIQUES["simulated"](**settings),), measurement=QUICK)


INT4 = recipe_of(bits=4, granularity="group", group_size=16, activations=True, calibration_images=16)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Event]:
    return list(run(INT4, tmp_path_factory.mktemp("run")))


def result_of(events: Sequence[Event]) -> SimulatedResult:
    assert isinstance(events[-1], Finished)
    return SimulatedResult.model_validate(events[-1].result)


def test_nothing_is_timed_and_nothing_but_accuracy_is_measured(events: Sequence[Event]) -> None:
    assert isinstance(events[0], Planned)
    phases = tuple(event.title for event in events if isinstance(event, PhaseStarted))
    assert phases == events[0].phases == ("Load", "Simulated number format", "Export", "Accuracy")
    assert not any(event.timed for event in events if isinstance(event, PhaseStarted))
    assert any("Simulated: computed in float32" in event.text for event in events if isinstance(event, Note))
    assert set(result_of(events).model_dump()) == {"accuracy", "conditions", "stored_as", "quantization"}


def test_the_predictions_are_those_of_the_rounded_network(events: Sequence[Event], tmp_path: Path) -> None:
    bundle = sample_models.load(MODEL)
    x = torch.from_numpy(bundle.contract.prepare(bundle.data.test.pixels[:1000]))
    context = Context(find_device("cpu"), 1, 0, tmp_path, sample_models.build_student)
    rounded = result_of_steps(INT4.techniques[0].apply(bundle, context))
    with torch.inference_mode():
        ours, plain = (each.module.eval()(x).argmax(1).numpy() for each in (rounded, bundle))
    served = result_of(events).accuracy.predictions.integers[:1000]
    assert np.mean(ours == served) > 0.995  # batch sizes may differ in the last bit of a tie
    assert np.mean(plain == served) < 0.99


def test_bits_and_size_are_computed_with_all_scales(events: Sequence[Event]) -> None:
    result = result_of(events)
    bundle = sample_models.load(MODEL)
    modules = dict(bundle.module.named_modules())
    bits = weights = 0
    for layer in result.quantization.layers:
        shape: tuple[int, ...] = tuple(modules[layer.name].weight.shape)  # type: ignore[arg-type,union-attr]
        count = int(np.prod(shape))
        groups = shape[0] * int(np.ceil(count / shape[0] / 16))
        bits += 4 * count + 16 * groups
        weights += count
    assert result.stored_as.weight_bits == pytest.approx(bits / weights)
    # BatchNorm is merged into its layers: what is left beside weights is a bias for each of their outputs.
    biases = sum(layer.parameters for layer in result.quantization.layers) - weights
    assert biases
    assert 0 <= 8 * result.stored_as.size_bytes - bits - 32 * biases < 8


def left_behind(store: Store, recipe: Recipe, *, wrong: int, weight_bits: float = 4.5) -> str:
    """A finished simulated run with known figures; its id."""
    run_id = store.begin_here(recipe)
    base = measured(recipe, wrong=wrong, p50_ms=1, size_bytes=1)
    layer = LayerQuantization(name="head", kind="Linear", parameters=10, bits=4, weight_snr_db=20.0)
    report = QuantizationReport(quantizer="a test", images=16, layers=(layer,), parameter_count=9, nonzero_count=9)
    stored = StoredAs(weight_bits=weight_bits, size_bytes=2**20)
    result = SimulatedResult(accuracy=base.accuracy, conditions=base.conditions, stored_as=stored, quantization=report)
    store.finish(run_id, result)
    return run_id


def test_the_store_keeps_it_apart_from_what_was_timed(store: Store) -> None:
    baseline = finish_with(store, Recipe(model=MODEL, measurement=QUICK), wrong=range(5), median_ms=1, size_bytes=9)
    run_id = left_behind(store, INT4, wrong=200)
    record = store.run(run_id)
    assert record
    assert record.summary is None
    assert record.simulated
    assert record.simulated.accuracy == 0.9
    assert [each.id for each in store.variants(MODEL, INT4.settings, limit=9)] == [baseline]
    assert store.measured() == [(MODEL, INT4.settings)]
    assert list(store.results([baseline, run_id])) == [baseline]
    assert store.result(run_id) is None
    assert list(store.simulated_results([baseline, run_id])) == [run_id]
    assert store.finished_before(INT4) == record


def test_the_newest_run_of_each_simulated_recipe_is_listed_and_of_no_other_model(store: Store) -> None:
    left_behind(store, INT4, wrong=10)
    newest = left_behind(store, INT4, wrong=20)
    other = left_behind(store, recipe_of(bits=8), wrong=5)
    left_behind(store, recipe_of("vit_fmnist"), wrong=5)
    store.begin_here(recipe_of(bits=3))
    assert [each.id for each in store.simulated(MODEL)] == [other, newest]
    assert store.simulated("resnet_fmnist") == []


def test_it_can_be_neither_duelled_nor_exported_nor_compared_in_speed(store: Store) -> None:
    base = Recipe(model=MODEL, measurement=QUICK)
    baseline = finish_with(store, base, wrong=range(5), median_ms=1, size_bytes=9)
    fast = finish_with(
        store, base.model_copy(update={"runtime": "onnxruntime"}), wrong=range(5), median_ms=0.5, size_bytes=9
    )
    run_id = left_behind(store, INT4, wrong=200)
    with pytest.raises(BadInput):
        store.enqueue_duel(Duel(first=baseline, second=run_id))
    records = [store.run(each) for each in (baseline, fast, run_id)]
    with pytest.raises(BadInput):
        artifact_of(records[2])  # type: ignore[arg-type]
    assert run_id not in set(variants(records).run_id)  # type: ignore[arg-type]
    results = store.results([baseline, fast, run_id])
    frame = against_baseline(variants(records), results)  # type: ignore[arg-type]
    assert set(compose(frame, records[:2], results, at=datetime.now(UTC)).frame.run_id) == {baseline, fast}  # type: ignore[arg-type]


def accuracy_of(*, wrong: Sequence[int]) -> Accuracy:
    return Accuracy(predictions=(0,) * 2000, confidences=(0.9,) * 2000, wrong=tuple(wrong))


def test_its_difference_is_a_word_only_where_the_same_images_allow_it(store: Store) -> None:
    ids = [
        left_behind(store, recipe_of(bits=bits), wrong=wrong, weight_bits=bits) for bits, wrong in ((8, 101), (4, 300))
    ]
    records = [record for run_id in ids if (record := store.run(run_id))]
    frame = simulations(records, store.simulated_results(ids), accuracy_of(wrong=range(100)))
    assert list(frame.run_id) == ids[::-1]
    assert frame.accuracy_verdict.tolist() == ["-10.00 points", "no measurable difference"]
    assert frame.agreement.tolist() == [1, 1]
    assert "-10.00 points" in describe_simulations(frame)
    without = simulations(records, store.simulated_results(ids), None)
    assert without.accuracy_verdict.tolist() == ["", ""]
    assert without.agreement.isna().all()


def test_it_has_to_be_the_last_step() -> None:
    techniques = (TECHNIQUES["simulated"](), TECHNIQUES["structured_pruning"]())
    with pytest.raises(CannotCompose, match="Make the simulation the last step"):
        check(Recipe(model=MODEL, techniques=techniques))
    assert check(Recipe(model=MODEL, techniques=techniques[::-1])).applied == ("structured_pruning", "simulated")


def test_it_is_compared_with_the_baseline_alone() -> None:
    assert [each.is_simulated for each in with_references(INT4)] == [False, True]


def test_a_worker_records_it(store: Store, tmp_path: Path) -> None:
    run_id = store.begin_here(INT4)
    record = store.run(run_id)
    assert record
    assert isinstance(execute(store, record), Finished)
    ended = store.run(run_id)
    assert ended
    assert ended.state == "finished", ended.error
    assert ended.simulated
    assert ended.simulated.stored_as == store.simulated_results([run_id])[run_id].stored_as
