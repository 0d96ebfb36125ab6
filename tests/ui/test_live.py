"""From a run's events to what the live view shows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from core.progress import Event, Failed, Metric, Note, PhaseStarted, Planned, Progress, Telemetry
from experiments.ahead import AheadSummary
from experiments.duel import Duel
from experiments.recipe import Recipe
from experiments.references import reference_of
from experiments.run_record import StoredEvent
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import finished
from ui.curves import MOST_POINTS, thin
from ui.live import LiveView, at_work, duration, expected_curves, family, look_of

MODEL = "resnet_fmnist"
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")


def stored(events: Iterable[Event], first_id: int = 1) -> list[StoredEvent]:
    """Events as the store gives them back."""
    return [StoredEvent(number, event) for number, event in enumerate(events, start=first_id)]


def grown(*events: Event) -> LiveView:
    """A view that has seen these events."""
    view = LiveView()
    view.add(stored(events))
    return view


def test_phases_are_done_current_and_waiting_with_their_times() -> None:
    view = grown(
        Planned(at=100, phases=("Load", "Export", "Latency")),
        PhaseStarted(at=100, title="Load"),
        PhaseStarted(at=103, title="Export"),
    )
    steps = view.steps("running", now=110)
    assert [(step.title, step.state, step.seconds) for step in steps] == [
        ("Load", "done", 3.0),
        ("Export", "current", 7.0),
        ("Latency", "waiting", None),
    ]
    assert [step.state for step in view.steps("failed", now=110)] == ["done", "stopped", "waiting"]
    assert [step.state for step in view.steps("finished", now=110)] == ["done", "done", "waiting"]


def test_phases_may_come_unplanned_twice_and_in_another_order() -> None:
    view = grown(
        PhaseStarted(at=1, title="Wait"),
        Planned(at=2, phases=("Train", "Train", "Memory", "Accuracy")),
        PhaseStarted(at=2, title="Train"),
        PhaseStarted(at=3, title="Accuracy"),
    )
    titles = [(step.title, step.state) for step in view.steps("running")]
    assert titles == [
        ("Wait", "done"), ("Train", "done"), ("Accuracy", "current"), ("Train", "waiting"), ("Memory", "waiting"),
    ]  # fmt: skip


def test_the_view_of_a_resumed_run_begins_anew() -> None:
    view = grown(
        Planned(at=100, phases=("Load", "Train", "Latency")),
        PhaseStarted(at=101, title="Train"),
        Metric(at=102, name="loss", value=2, step=1, series="train"),
        Note(at=102, text="of the first attempt"),
        Progress(at=102, done=1, total=8, unit="steps"),
        Failed(at=103, sentence="It was killed."),
        Planned(at=9000, phases=("Load", "Train", "Latency")),
        PhaseStarted(at=9001, title="Load"),
    )
    assert [(step.title, step.state) for step in view.steps("running", now=9003)] == [
        ("Load", "current"), ("Train", "waiting"), ("Latency", "waiting"),
    ]  # fmt: skip
    assert (view.notes, view.curves("loss"), view.progress, view.elapsed) == ([], [], None, 1)
    assert view.last_id == 8


def test_events_seen_before_are_not_counted_twice() -> None:
    view, events = LiveView(), stored([Note(text="one"), Note(text="two"), Note(text="three")])
    view.add(events[:2])
    view.add(events)
    assert [note.text for note in view.notes] == ["one", "two", "three"]
    assert view.last_id == 3


def test_time_left_follows_the_pace_so_far_and_runs_down() -> None:
    view = grown(
        PhaseStarted(at=0, title="Train"),
        Progress(at=10, done=0, total=100, unit="steps"),
        Progress(at=30, done=40, total=100, unit="steps"),
    )
    assert view.seconds_left(now=30) == pytest.approx(60 * 20 / 40)
    assert view.seconds_left(now=35) == pytest.approx(25)
    assert view.seconds_left(now=500) == 0


def test_time_left_is_unknown_at_first_and_after_a_new_count_or_phase_begins() -> None:
    first = Progress(at=1, done=10, total=100, unit="images", doing="calibrating")
    view = grown(first)
    assert view.seconds_left(now=2) is None
    view.add(stored([first.model_copy(update={"at": 2.0, "done": 20.0})], first_id=2))
    assert view.seconds_left(now=2) == pytest.approx(8)
    view.add(stored([Progress(at=3, done=1, total=5, unit="epochs", doing="training")], first_id=3))
    assert view.seconds_left(now=3) is None
    view.add(stored([PhaseStarted(at=4, title="Export")], first_id=4))
    assert view.progress is None


def test_curves_are_in_screen_units_over_the_run_s_seconds() -> None:
    view = grown(
        Planned(at=1000, phases=()),
        Metric(at=1002, name="accuracy", value=0.5, step=1, series="train"),
        Metric(at=1003, name="accuracy", value=0.75, step=1, series="validation"),
        Telemetry(at=1004, process_rss_bytes=3 * 2**20, gpu_used_bytes=2**31),
        Metric(at=1005, name="learning_rate", value=0.1, step=1),
    )
    assert {curve.series: curve.points for curve in view.curves("accuracy")} == {
        "train": [(2.0, 50.0)],
        "validation": [(3.0, 75.0)],
    }
    assert view.curves("process_rss_bytes")[0].points == [(4.0, 3.0)]
    assert view.curves("gpu_used_bytes")[0].points == [(4.0, 2.0)]
    assert not view.curves("gpu_power_w")
    assert view.elapsed == 5


def test_a_series_is_broken_where_another_phase_begins_but_memory_is_not() -> None:
    def loss_and_memory(at: float) -> Iterator[Event]:
        yield Metric(at=at, name="loss", value=1, step=0, series="train")
        yield Telemetry(at=at, process_rss_bytes=2**20)

    view = grown(
        PhaseStarted(at=0, title="Prune"), *loss_and_memory(1), PhaseStarted(at=2, title="Distill"), *loss_and_memory(3)
    )
    assert [curve.points for curve in view.curves("loss")] == [[(1.0, 1.0)], [(3.0, 1.0)]]
    assert [curve.points for curve in view.curves("process_rss_bytes")] == [[(1.0, 1.0), (3.0, 1.0)]]


@pytest.mark.parametrize("length", [1, MOST_POINTS, MOST_POINTS + 1, 5 * MOST_POINTS + 3, 20_000])
def test_a_long_series_is_thinned_without_losing_its_ends_or_its_spikes(length: int) -> None:
    points = [(float(second), float(second % 7)) for second in range(length)]
    if length > 10:
        points[length // 3] = (length / 3, 1000.0)
        points[length // 2] = (length / 2, -1000.0)
    kept = thin(points)
    assert len(kept) <= MOST_POINTS
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert set(kept) <= set(points)
    assert kept == sorted(kept)
    assert {min(kept, key=lambda p: p[1])[1], max(kept, key=lambda p: p[1])[1]} == {
        min(value for _, value in points),
        max(value for _, value in points),
    }


def test_a_place_is_kept_for_what_will_come(store: Store) -> None:
    trains = Recipe(model=MODEL, techniques=(TECHNIQUES["structured_pruning"](),))
    quantized, pruned = (store.run(store.enqueue(recipe)) for recipe in (INT8, trains))
    assert quantized
    assert pruned
    assert "loss" not in expected_curves(quantized, LiveView())
    assert expected_curves(pruned, LiveView())[:2] == ["accuracy", "loss"]
    assert "gpu_power_w" in expected_curves(quantized, grown(Telemetry(at=0, gpu_power_w=300)))
    duel = replace(quantized, duel=Duel(first="a", second="b"))
    assert expected_curves(duel, grown(Telemetry(at=0, process_rss_bytes=1))) == ["ratio"]


def at(store: Store, seconds: float, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, *, done: bool = True) -> str:
    """A run queued at that time, finished or failed since; its id."""
    monkeypatch.setattr(time, "time", lambda: seconds)
    if done:
        return finished(store, recipe)
    run_id = store.begin_here(recipe)
    store.fail(run_id, "It broke.")
    return run_id


def kin(store: Store, run_id: str) -> list[str]:
    """Ids of a run's family."""
    record = store.run(run_id)
    assert record
    return [each.id for each in family(record, store)]


def test_runs_of_one_click_belong_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = at(store, 100, Recipe(model=MODEL), monkeypatch)
    variant = at(store, 100.1, INT8, monkeypatch)
    reference = at(store, 100.2, reference_of(INT8), monkeypatch)
    at(store, 9000, INT8, monkeypatch)
    assert kin(store, baseline) == kin(store, reference) == [baseline, variant, reference]


def test_a_baseline_measured_earlier_belongs_to_a_later_variant(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    at(store, 100, Recipe(model=MODEL), monkeypatch)
    newest = at(store, 200, Recipe(model=MODEL), monkeypatch)
    at(store, 300, Recipe(model=MODEL), monkeypatch, done=False)
    variant = at(store, 1000, INT8, monkeypatch)
    assert kin(store, variant) == [newest, variant]


def test_while_a_run_waits_the_work_of_its_relative_is_shown(store: Store) -> None:
    baseline, variant = store.run(store.begin_here(Recipe(model=MODEL))), store.run(store.enqueue(INT8))
    assert baseline
    assert variant
    done = replace(baseline, state="finished")
    assert at_work(variant, [baseline, variant]) == baseline
    assert at_work(variant, [done, variant]) == variant
    assert at_work(done, [done, replace(variant, state="running")]) == done


CLOCK = {
    0.04: "0.0 s", 9.94: "9.9 s", 9.96: "10 s", 59.4: "59 s", 59.6: "1 min 00 s", 185: "3 min 05 s", 7800: "2 h 10 min",
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "words"), CLOCK.items())
def test_durations_read_like_a_clock(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_two_trainings_side_by_side_share_their_charts(store: Store) -> None:
    technique = TECHNIQUES["mixed_precision"].model_validate({"fine_tune_epochs": 1})
    record = store.run(store.begin_here(Recipe(model=MODEL, techniques=(technique,))))
    assert record
    assert "loss" in expected_curves(record, LiveView())
    view = grown(
        PhaseStarted(at=0, title="Mixed precision"),
        Metric(at=1, name="loss", value=2, step=1, series="BF16"),
        Metric(at=2, name="loss", value=2.1, step=1, series="FP32"),
        Metric(at=3, name="samples_per_s", value=900, step=1, series="BF16"),
        Metric(at=3, name="training_bytes", value=2**21, step=1, series="FP32"),
    )
    assert [curve.series for curve in view.curves("loss")] == ["BF16", "FP32"]
    assert view.curves("training_bytes")[0].points == [(3, 2)]
    assert {"samples_per_s", "training_bytes"} <= set(expected_curves(record, view))


def samples(first: float, last: float) -> list[Event]:
    """Five samples of the machine a second."""
    return [Telemetry(at=first + step / 5, process_rss_bytes=2**20) for step in range(round(5 * (last - first)) + 1)]


def test_no_line_is_drawn_across_a_timed_phase_or_a_silence() -> None:
    view = grown(
        PhaseStarted(at=0, title="Train"), *samples(0, 9.8), PhaseStarted(at=10, title="Latency", timed=True),
        Telemetry(at=9.9, process_rss_bytes=2**20),  # sampled in time, written late
        PhaseStarted(at=12, title="Layers"), *samples(12.2, 15), *samples(25, 26), PhaseStarted(at=27, title="End"),
    )  # fmt: skip
    spans = [(curve.points[0][0], curve.points[-1][0]) for curve in view.curves("process_rss_bytes")]
    assert spans == [(0, 9.9), (12.2, 15), (25, 26)]
    assert [(band.title, band.start, band.end, band.timed) for band in view.bands()] == [
        ("Train", 0, 10, False), ("Latency", 10, 12, True), ("Layers", 12, 27, False), ("End", 27, 27, False),
    ]  # fmt: skip


def test_slow_samples_of_a_busy_machine_stay_joined() -> None:
    view = grown(PhaseStarted(at=0, title="Train"), *(Telemetry(at=at, process_rss_bytes=1) for at in (1, 2.5, 6)))
    assert [len(curve.points) for curve in view.curves("process_rss_bytes")] == [3]


def test_reasons_are_carried_forward_until_others_are_told() -> None:
    view = grown(
        Telemetry(at=1, reasons={"gpu_power_w": "Not supported"}), Telemetry(at=2, cpu_percent=50, reasons=None)
    )
    assert view.telemetry
    assert (view.telemetry.at, view.reasons) == (2, {"gpu_power_w": "Not supported"})
    view.add(stored([Telemetry(at=3, gpu_power_w=99, reasons={})], first_id=9))
    assert view.reasons == {}


def test_an_engine_that_was_refused_is_no_success(store: Store) -> None:
    record = store.run(store.begin_here(INT8))
    assert record
    ahead = AheadSummary(
        precision="int8", target="SM89", is_compatible=False, size_bytes=None, build_ms=None, artifact_files=()
    )
    word, look = look_of(replace(record, state="finished", ahead=ahead))
    assert (word, look.colour) == ("not built", "orange")
    built = replace(record, state="finished", ahead=ahead.model_copy(update={"size_bytes": 1}))
    assert look_of(built)[0] == "finished"
