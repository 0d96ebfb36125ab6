"""A run as the store knows it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.progress import Event
from experiments.ahead import AheadSummary
from experiments.duel import Duel
from experiments.recipe import Recipe
from experiments.result import Summary
from experiments.simulation import SimulatedSummary
from experiments.study import Study, study_title

State = Literal["queued", "running", "finished", "failed", "cancelled"]
LIVE: tuple[State, ...] = ("queued", "running")


@dataclass(frozen=True)
class RunRecord:
    """One run as the store knows it. Times are seconds since the epoch."""

    id: str
    recipe: Recipe
    """What was asked for; of a duel, the recipe of its second run."""
    duel: Duel | None
    study: Study | None
    """What is asked of the recipe's network instead of making a variant of it."""
    state: State
    cancel_requested: bool
    host: str | None
    pid: int | None
    process_started_at: float | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    error: str | None
    """One sentence for a failed run."""
    details: str | None
    slot: int
    """Which of the model's variants it is, in the order they first came; 0 is the baseline. Decides its colour."""
    summary: Summary | None
    """The headline numbers of a finished run; `Store.result` has everything. None of one that could not be timed."""
    simulated: SimulatedSummary | None
    """What a finished run of a simulated number format knows instead."""
    ahead: AheadSummary | None
    """What a finished run knows instead that built for a GPU which is not here."""
    owner: str = ""
    """Whose it is; empty where nobody had to say who they are."""

    @property
    def title(self) -> str:
        """What it is called in lists."""
        if self.study:
            return study_title(self.study, self.recipe)
        return f"A/B: {self.recipe.title}" if self.duel else self.recipe.title

    @property
    def makes_variant(self) -> bool:
        """Whether it carries out its recipe: neither a duel nor a study."""
        return self.duel is None and self.study is None

    @property
    def is_live(self) -> bool:
        """Still queued or running."""
        return self.state in LIVE


@dataclass(frozen=True)
class AtWork:
    """What can be told of a running run without reading its recipe."""

    id: str
    device: str
    host: str | None
    pid: int | None
    process_started_at: float | None
    is_timed: bool
    """Whether it is in a phase in which latency is timed."""


@dataclass(frozen=True)
class StoredEvent:
    """An event and its place in the stream."""

    id: int
    event: Event
