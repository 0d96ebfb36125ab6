"""What the live view shows, grown from a run's events. Knows neither streamlit nor the store's database."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from core.progress import Event, Metric, Note, PhaseStarted, Planned, Progress, Telemetry
from experiments.references import with_references
from experiments.run_record import RunRecord, State, StoredEvent
from experiments.store import Store
from ui.curves import ALWAYS, CURVES, TELEMETRY, Band, Curve, Point, stretches, thin

SAME_CLICK_SECONDS = 3.0
"""Runs of a model that were queued this close together came from one press of Run."""

StepState = Literal["done", "current", "stopped", "waiting"]


@dataclass(frozen=True)
class StateLook:
    """How a run's state is shown: a colour of Streamlit's palette and an icon."""

    colour: Literal["gray", "blue", "green", "red", "orange"]
    icon: str


STATES: dict[State, StateLook] = {
    "queued": StateLook("gray", ":material/schedule:"),
    "running": StateLook("blue", ":material/play_circle:"),
    "finished": StateLook("green", ":material/check_circle:"),
    "failed": StateLook("red", ":material/error:"),
    "cancelled": StateLook("orange", ":material/cancel:"),
}
NOT_BUILT = StateLook("orange", ":material/block:")
"""Of a run that finished with an answer, and without the file that was asked for."""


@dataclass(frozen=True)
class Step:
    """A phase as one of the steps on screen."""

    title: str
    state: StepState
    seconds: float | None
    """How long it took, or has taken so far; None before it began."""


@dataclass
class LiveView:
    """Everything seen of one run, since it was last resumed. Feed it with `add`; read the rest."""

    last_id: int = 0
    """Of the newest event seen."""
    notes: list[Note] = field(default_factory=list)
    telemetry: Telemetry | None = None
    """The newest sample of the machine."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why the machine cannot tell a field of it, as last said."""
    _planned: tuple[str, ...] = ()
    _phases: list[PhaseStarted] = field(default_factory=list)
    _stretch: tuple[Progress, Progress] | None = None
    """First and newest progress of the count that is running."""
    _points: dict[tuple[str, str, int], list[Point]] = field(default_factory=dict)
    """By kind, series and number of the phase."""
    _began_at: float | None = None
    _newest_at: float = 0.0

    def add(self, events: Iterable[StoredEvent]) -> None:
        """Take in events; those seen before are skipped."""
        for stored in events:
            if stored.id > self.last_id:
                self.last_id = stored.id
                self._take(stored.event)

    def _take(self, event: Event) -> None:
        self._began_at = event.at if self._began_at is None else self._began_at
        self._newest_at = max(self._newest_at, event.at)
        if isinstance(event, Planned):
            if self._planned:  # the run was resumed
                self._begin_anew(event)
            self._planned = event.phases
        elif isinstance(event, PhaseStarted):
            self._phases.append(event)
            self._stretch = None
        elif isinstance(event, Progress):
            first = self._stretch[0] if self._stretch else event
            self._stretch = (first if _continues(first, event) else event, event)
        elif isinstance(event, Note):
            self.notes.append(event)
        elif isinstance(event, Metric):
            self._draw(event.name, event.series, event.at, event.value)
        elif isinstance(event, Telemetry):
            self._take_sample(event)

    def _take_sample(self, sample: Telemetry) -> None:
        self.telemetry = sample
        self.reasons = self.reasons if sample.reasons is None else sample.reasons
        for name in TELEMETRY:
            value = getattr(sample, name)
            if value is not None:
                self._draw(name, "", sample.at, value)

    def _begin_anew(self, event: Planned) -> None:
        self.notes, self._phases, self._points, self._stretch = [], [], {}, None
        self._began_at = self._newest_at = event.at

    def _draw(self, name: str, series: str, at: float, value: float) -> None:
        kind = CURVES.get(name)
        if kind and self._began_at is not None and at >= self._began_at:
            phase = 0 if name in TELEMETRY else len(self._phases)
            points = self._points.setdefault((name, series, phase), [])
            points.append((at - self._began_at, value * kind.scale))

    @property
    def elapsed(self) -> float:
        """Seconds between the first and the newest event."""
        return self._newest_at - self._began_at if self._began_at is not None else 0.0

    @property
    def sampled_at(self) -> float:
        """Seconds since the first event, of the newest sample of the machine; 0 without one."""
        return max(0.0, self.telemetry.at - (self._began_at or 0.0)) if self.telemetry else 0.0

    def bands(self) -> list[Band]:
        """The phases that began, in their order; the last one ends with the newest event."""
        began_at = self._began_at or 0.0
        ends = [phase.at for phase in self._phases[1:]] + [self._newest_at]
        return [
            Band(phase.title, max(0.0, phase.at - began_at), end - began_at, phase.timed)
            for phase, end in zip(self._phases, ends, strict=False)
        ]

    def steps(self, state: State, *, now: float | None = None) -> list[Step]:
        """Phases that began, in their order, then those still planned.

        `state` is the run's; `now`, in seconds since the epoch, is when it ended or, of one at work, what the clock of
        whoever looks says.
        """
        ends = [phase.at for phase in self._phases[1:]] + [time.time() if now is None else now]
        begun = [
            Step(phase.title, "done", max(0.0, end - phase.at)) for phase, end in zip(self._phases, ends, strict=False)
        ]
        if begun and state != "finished":
            begun[-1] = Step(begun[-1].title, "current" if state == "running" else "stopped", begun[-1].seconds)
        waiting = list(self._planned)
        for step in begun:
            if step.title in waiting:
                waiting.remove(step.title)
        return begun + [Step(title, "waiting", None) for title in waiting]

    @property
    def is_timed(self) -> bool:
        """Whether latency is being measured, so that nothing of ours should take the processor's time."""
        return bool(self._phases) and self._phases[-1].timed

    @property
    def progress(self) -> Progress | None:
        """How far the current phase is, where it says so."""
        return self._stretch[1] if self._stretch else None

    def seconds_left(self, *, now: float | None = None) -> float | None:
        """Until the current phase's count is complete, at its pace so far; None before that can be told."""
        if self._stretch is None:
            return None
        first, newest = self._stretch
        if newest.done <= first.done or newest.at <= first.at:
            return None
        pace = (newest.at - first.at) / (newest.done - first.done)
        return max(0.0, (newest.total - newest.done) * pace - ((time.time() if now is None else now) - newest.at))

    def curves(self, name: str) -> list[Curve]:
        """The curves of one kind, each of at most `MOST_POINTS` points; those of the machine rest while it is timed."""
        ordered = sorted(self._points.items(), key=lambda item: item[1][0])
        found = [(series, points) for (kind, series, _), points in ordered if kind == name]
        if name in TELEMETRY:
            bands = self.bands()
            found = [(series, part) for series, points in found for part in stretches(points, bands)]
        return [Curve(series, thin(points)) for series, points in found]

    def has(self, name: str) -> bool:
        """Whether there is a point of that kind of curve."""
        return any(kind == name for kind, _, _ in self._points)


def expected_curves(record: RunRecord, view: LiveView) -> list[str]:
    """The kinds of curve to keep a place for: what every run gives, loss where it trains, and what was seen."""
    if record.study:
        return [key for key in CURVES if view.has(key) or key == "process_rss_bytes"]
    if record.duel:  # its work is done by other processes: the memory of this one tells nothing
        return [key for key in CURVES if key == "ratio" or (view.has(key) and key != "process_rss_bytes")]
    trains = any(
        getattr(technique, name, 0) for technique in record.recipe.techniques for name in ("epochs", "fine_tune_epochs")
    )
    unknown = {"accuracy", "latency_ms"} if record.recipe.engine.builds_ahead else {"latency_ms"}
    always = [key for key in ALWAYS if record.recipe.is_timed or key not in unknown]
    always += ["loss"] * trains + ["machine_cpu_percent"] * record.is_live
    always += ["sparsity"] * any(technique.key == "keras_pruning" for technique in record.recipe.techniques)
    return [key for key in CURVES if key in always or view.has(key)]


def _continues(first: Progress, event: Progress) -> bool:
    """Whether both belong to one count."""
    return event.done >= first.done and (event.total, event.unit, event.doing) == (first.total, first.unit, first.doing)


def family(record: RunRecord, store: Store) -> list[RunRecord]:
    """The runs that belong together with this one, oldest first: of the same click, and its baseline and reference.

    Of a baseline or reference the newest finished run counts, unless one was queued with this click.
    """
    if not record.makes_variant:
        return [record]
    moment = (record.created_at - SAME_CLICK_SECONDS, record.created_at + SAME_CLICK_SECONDS)
    clicked = store.runs(model=record.recipe.model, between=moment)
    together = {each.id: each for each in clicked if each.makes_variant} | {record.id: record}
    present = {each.recipe.digest for each in together.values()}
    for recipe in with_references(record.recipe):
        if recipe.digest not in present and (found := store.finished_before(recipe)):
            together[found.id] = found
    return sorted(together.values(), key=lambda each: (each.created_at, each.id))


def look_of(record: RunRecord) -> tuple[str, StateLook]:
    """A run's state in a word, and how it is shown: one that was to build an engine and could not is not a success."""
    if record.ahead and record.ahead.size_bytes is None:
        return "not built", NOT_BUILT
    return record.state, STATES[record.state]


def at_work(record: RunRecord, relatives: Sequence[RunRecord]) -> RunRecord:
    """Whose work to show for a run: its own or, while it waits, that of the relative that runs."""
    running = (each for each in relatives if each.state == "running")
    return next(running, record) if record.state == "queued" else record


def duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
