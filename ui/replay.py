"""A run that has ended, played once more: which of its events had happened by a moment. Knows no streamlit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate

from core.progress import Event
from experiments.recording import last_attempt
from experiments.run_record import RunRecord, StoredEvent
from ui.live import LiveView

SPEEDS = (1, 2, 5, 10, 20)
USUAL_SPEED = 10


@dataclass(frozen=True)
class Tape:
    """A run's events in the order in which they became known, since it was last resumed."""

    record: RunRecord
    stamp: str
    """Where, when and with which version of this program it was made."""
    device_name: str
    events: tuple[StoredEvent, ...]
    moments: tuple[float, ...]
    """Seconds after `began_at` at which each was known; they never fall, as telemetry is written a little late."""
    began_at: float
    """Seconds since the epoch."""
    seconds: float
    """How long the run took."""

    @classmethod
    def of(cls, record: RunRecord, events: Iterable[Event], *, stamp: str, device_name: str) -> Tape:
        """The tape of a run that has ended."""
        kept = last_attempt(events)
        began_at = min((event.at for event in kept), default=record.started_at or record.created_at)
        moments = tuple(accumulate((event.at - began_at for event in kept), max))
        last = (record.ended_at or began_at) - began_at
        stored = tuple(StoredEvent(number, event) for number, event in enumerate(kept, start=1))
        return cls(record, stamp, device_name, stored, moments, began_at, max(0.0, last, *moments[-1:]))

    def happened(self, seconds: float) -> int:
        """How many of the events had happened that long after the beginning."""
        return bisect_right(self.moments, seconds)

    def record_at(self, seconds: float) -> RunRecord:
        """The run as it was known then: at work before its end."""
        if seconds >= self.seconds:
            return self.record
        return replace(
            self.record, state="running", ended_at=None, error=None, summary=None, simulated=None, ahead=None
        )


@dataclass(frozen=True)
class Player:
    """Where a replay is. Moments of the watcher are seconds of any clock that only goes forward."""

    speed: int
    position: float
    """Seconds of the run, at the moment `since` or, where it stands still, now."""
    since: float | None = None
    """When it began to go on from there; None while it stands still."""

    def at(self, now: float, end: float) -> float:
        """How far it is, in seconds of the run."""
        gone = 0.0 if self.since is None else self.speed * (now - self.since)
        return min(end, max(0.0, self.position + gone))

    def goes_on(self, now: float, end: float) -> bool:
        """Whether it moves: it plays and is not at its end."""
        return self.since is not None and self.at(now, end) < end

    def paused(self, now: float, end: float) -> Player:
        """Standing still where it is."""
        return Player(self.speed, self.at(now, end))

    def played(self, now: float, end: float) -> Player:
        """Going on from where it is or, at its end, from the beginning."""
        here = self.at(now, end)
        return Player(self.speed, 0.0 if here >= end else here, now)

    def moved(self, position: float, now: float) -> Player:
        """At another place; it goes on from there if it played."""
        return Player(self.speed, position, None if self.since is None else now)

    def at_speed(self, speed: int, now: float, end: float) -> Player:
        """As fast as that from here on."""
        return Player(speed, self.at(now, end), None if self.since is None else now)


@dataclass
class Replay:
    """A tape being watched: its player, and what has been seen of it."""

    tape: Tape
    player: Player
    whole: LiveView = field(init=False)
    """All of it, which tells what charts there will be."""
    _view: LiveView = field(default_factory=LiveView)
    _seen: int = 0

    def __post_init__(self) -> None:
        self.whole = LiveView()
        self.whole.add(self.tape.events)

    def view_at(self, seconds: float) -> LiveView:
        """What a live view showed that long after the beginning: it is fed with no later event."""
        count = self.tape.happened(seconds)
        if count < self._seen:
            self._view, self._seen = LiveView(), 0
        self._view.add(self.tape.events[self._seen : count])
        self._seen = count
        return self._view
