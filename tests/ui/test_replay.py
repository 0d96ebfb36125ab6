"""A replay shows what had happened, and at its end what the live view showed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.progress import Event, Finished, Metric, Note, PhaseStarted, Planned, Progress, Telemetry
from experiments.recipe import Recipe
from experiments.run_record import RunRecord, StoredEvent
from experiments.store import Store
from ui.curves import CURVES
from ui.live import LiveView
from ui.replay import Player, Replay, Tape

EVENTS: Sequence[Event] = (
    Planned(at=100, phases=("Load", "Train", "Latency")),
    PhaseStarted(at=100, title="Load"),
    Telemetry(at=100.2, process_rss_bytes=2**20, reasons={"gpu_power_w": "No GPU"}),
    PhaseStarted(at=102, title="Train"),
    Metric(at=102, name="loss", value=8, step=0, series="train"),
    Progress(at=103, done=10, total=100, unit="steps"),
    Metric(at=103, name="loss", value=4, step=1, series="train"),
    Metric(at=106, name="loss", value=2, step=2, series="train"),
    Progress(at=107, done=50, total=100, unit="steps"),
    Note(at=107.5, text="half of it"),
    Telemetry(at=109.9, process_rss_bytes=2**21),
    PhaseStarted(at=110, title="Latency", timed=True),
    Telemetry(at=109.95, process_rss_bytes=2**21),  # sampled before the phase began, and written after it
    Metric(at=112, name="latency_ms", value=0.5, step=0),
    Finished(at=120, result={}),
)


@pytest.fixture
def record(store: Store) -> RunRecord:
    """A run that has ended."""
    run_id = store.begin_here(Recipe(model="resnet_fmnist"))
    store.append(run_id, EVENTS)
    store.fail(run_id, "It broke.")
    found = store.run(run_id)
    assert found
    return found


def tape(record: RunRecord) -> Tape:
    """The run as a tape that took 20 s."""
    return Tape.of(record, EVENTS, stamp="Recorded on a CPU", device_name="A CPU")


def shown(view: LiveView, *, now: float) -> object:
    """All that is drawn of a view."""
    curves = {key: view.curves(key) for key in CURVES}
    return curves, view.steps("running", now=now), view.notes, view.bands(), view.telemetry, view.reasons, view.progress


def live(events: Sequence[Event]) -> LiveView:
    """What a page shows that was open all the time."""
    view = LiveView()
    for number, event in enumerate(events, start=1):
        view.add([StoredEvent(number, event)])
    return view


def test_at_its_end_it_equals_the_live_view(record: RunRecord) -> None:
    whole = tape(record)
    replay = Replay(whole, Player(10, 0))
    for second in range(0, 21, 3):
        replay.view_at(second)
    expected = live([event for event in EVENTS if not isinstance(event, Finished)])
    assert shown(replay.view_at(whole.seconds), now=120) == shown(expected, now=120)
    assert shown(replay.whole, now=120) == shown(expected, now=120)


@pytest.mark.parametrize("seconds", [0, 0.5, 5, 7.6, 9.97, 10, 11])
def test_before_its_end_only_what_had_happened_is_shown(record: RunRecord, seconds: float) -> None:
    replay = Replay(tape(record), Player(10, 0))
    replay.view_at(15)  # from later on back again
    written_at = {109.95: 110.0}
    happened = [event for event in EVENTS if written_at.get(event.at, event.at) <= 100 + seconds]
    assert shown(replay.view_at(seconds), now=100 + seconds) == shown(live(happened), now=100 + seconds)


def test_time_left_and_time_taken_follow_the_clock_of_the_replay(record: RunRecord) -> None:
    view = Replay(tape(record), Player(1, 0)).view_at(8)
    assert view.seconds_left(now=108) == pytest.approx(50 * 4 / 40 - 1)
    assert view.steps("running", now=108)[1].seconds == 6


def test_before_the_end_the_run_is_at_work_and_nothing_is_known_of_its_end(record: RunRecord) -> None:
    whole = tape(record)
    early, late = whole.record_at(5), whole.record_at(whole.seconds)
    assert (early.state, early.error, early.ended_at) == ("running", None, None)
    assert (late.state, late.error) == ("failed", "It broke.")


def test_a_resumed_run_is_replayed_from_where_it_was_resumed(record: RunRecord) -> None:
    again = [Planned(at=9000, phases=("Load",)), PhaseStarted(at=9001, title="Load"), Note(at=9003, text="anew")]
    found = Tape.of(record, [*EVENTS, *again], stamp="", device_name="")
    assert found.began_at == 9000
    assert found.moments == (0, 1, 3)


def test_a_player_goes_at_its_speed_stands_still_and_never_passes_the_end() -> None:
    player = Player(10, 2.0, since=50)
    assert player.at(51.5, 100) == 17
    assert player.at(80, 100) == 100
    assert not player.goes_on(80, 100)
    paused = player.paused(51.5, 100)
    assert (paused.at(99, 100), paused.goes_on(99, 100)) == (17, False)
    assert paused.played(60, 100).at(61, 100) == 27
    assert player.at_speed(2, 51.5, 100).at(52.5, 100) == 19
    assert player.moved(70, 51.5).at(52.5, 100) == 80
    assert paused.moved(70, 51.5).at(99, 100) == 70
    assert player.played(80, 100).at(80, 100) == 0
