from __future__ import annotations

import pandas as pd
import pytest

from experiments.compare import against_baseline, variants
from experiments.cost import Price
from experiments.measures import NO_DIFFERENCE
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.savings import OTHER_SOURCE, cost_notes, costs, energy_differs
from experiments.store import Store
from profiling.energy import Energy, EnergyWindow
from tests.experiments.synthetic import finish_with

Table = tuple[pd.DataFrame, dict[str, RunResult]]
HOURLY = Price(3.6, "hour", "EUR")


@pytest.fixture
def measured(store: Store) -> Table:
    """A baseline of 4 ms, a variant of 1 ms and one of 4.02 ms."""
    finish_with(store, Recipe(model="resnet_fmnist"), wrong=range(60), median_ms=4.0, size_bytes=1000)
    for name, median_ms in (("Fast", 1.0), ("Alike", 4.02)):
        recipe = Recipe(model="resnet_fmnist", runtime="onnxruntime", name=name)
        finish_with(store, recipe, wrong=range(60), median_ms=median_ms, size_bytes=1000)
    records = store.runs()
    results = store.results([record.id for record in records])
    return against_baseline(variants(records), results), results


def with_energy(table: Table, *watts: float | None) -> Table:
    """The same with 100 inferences a second measured at these powers, over 0 W of idle."""
    frame, results = table
    energies = [each and steady(each) for each in watts]
    pairs = zip(frame.run_id, energies, strict=True)
    changed = {run_id: results[run_id].model_copy(update={"energy": energy}) for run_id, energy in pairs}
    joules = [energy.joules_per_inference if energy else None for energy in energies]
    return frame.assign(joules=joules), changed


def steady(watts: float) -> Energy:
    windows = [EnergyWindow(joules=watts * (1 + at / 1000), seconds=1, inferences=100) for at in range(6)]
    return Energy(batch_size=1, idle_w=0, windows=tuple(windows))


def test_an_hour_of_the_machine_is_shared_by_the_images_of_an_hour(measured: Table) -> None:
    frame, results = measured
    lines = costs(frame, results, HOURLY)
    for line, p50_ms in zip(lines, frame.p50_ms, strict=True):
        assert line.cost.amount == pytest.approx(1e6 * p50_ms / 1000 / 3600 * 3.6)
    assert [line.title for line in lines] == list(frame.title)


def test_the_saving_is_the_share_of_time_saved(measured: Table) -> None:
    frame, results = measured
    base, fast, _ = costs(frame, results, HOURLY)
    assert base.words == "baseline"
    assert fast.saving == pytest.approx(1 - frame.p50_ms[1] / frame.p50_ms[0])
    assert fast.words == f"{100 * fast.saving:.1f} % less"
    assert fast.amount == "€1.00"


def test_no_saving_is_claimed_where_no_difference_in_time_was_measured(measured: Table) -> None:
    alike = costs(*measured, HOURLY)[2]
    assert alike.saving is None
    assert alike.words == NO_DIFFERENCE


def test_a_dearer_variant_is_said_to_cost_more(measured: Table) -> None:
    frame, results = with_energy(measured, 10.0, 20.0, 10.0)
    _, dearer, alike = costs(frame, results, Price(0.3, "kwh"))
    assert dearer.words == "100.0 % more"
    assert dearer.saving == pytest.approx(-1)
    assert alike.words == NO_DIFFERENCE


def test_energy_goes_by_the_image_and_not_by_the_batch(measured: Table) -> None:
    frame, results = with_energy(measured, 10.0, 20.0, 10.0)
    one, eight = (costs(frame.assign(batch_size=size), results, Price(0.3, "kwh"))[0].cost.amount for size in (1, 8))
    assert one == pytest.approx(1e6 * frame.joules[0] / 3.6e6 * 0.3)
    assert eight == pytest.approx(one / 8)


def test_costs_from_different_sources_are_not_compared(measured: Table) -> None:
    frame, results = with_energy(measured, None, 20.0, None)
    base, fast, alike = costs(frame, results, Price(0.3, "kwh", "USD", watts=50))
    assert fast.words == OTHER_SOURCE
    assert fast.saving is None
    assert alike.words == NO_DIFFERENCE
    notes = cost_notes((base, fast, alike))
    assert notes[0].startswith("FP32 · PyTorch and Alike: from the power you entered (50 W)")
    assert notes[1].startswith("Fast: from the measured energy")
    assert "above idle" in notes[2]


def test_an_unknown_cost_says_what_is_missing(measured: Table) -> None:
    lines = costs(*measured, Price(0.3, "kwh"))
    assert {line.amount for line in lines} == {"not known"}
    assert {line.saving for line in lines} == {None}
    assert cost_notes(lines) == ("All: not known, its energy was not measured; enter the power the machine draws.",)


def test_without_a_baseline_nothing_is_compared(measured: Table) -> None:
    frame, results = measured
    lines = costs(frame[~frame.is_baseline.astype(bool)], results, HOURLY)
    assert [line.words for line in lines] == ["", ""]


def test_a_price_of_nothing_saves_nothing(measured: Table) -> None:
    assert {line.saving for line in costs(*measured, Price(0, "hour"))} == {None}


def test_energies_differ_only_when_their_intervals_do_not_meet(measured: Table) -> None:
    _, results = with_energy(measured, 10.0, 10.01, 20.0)
    base, alike, other = results.values()
    assert not energy_differs(base, alike)
    assert energy_differs(base, other)
    assert not energy_differs(base, other.model_copy(update={"energy": None}))
