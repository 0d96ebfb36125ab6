"""What a run says when memory runs out: which memory, how much was held, and what would take less.

A training that was too large begins once anew with half as many examples at once and twice as many batches to a step,
so that every step still sees as many. A file in the run's folder says so, and tells a later process of the same run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from core.devices import Device
from core.errors import RunFailed
from core.progress import Event, Telemetry
from experiments.recipe import Recipe
from optimizers.technique import Technique
from profiling import high_water
from profiling.sweep import is_out_of_memory

FILE = "short-of-memory.txt"
_MIB = 2**20
_OF_MACHINE = (
    "bad_alloc", "bad allocation", "cpuallocator", "device:cpu", "machine ran out of memory", "memoryerror",
    "unable to allocate",
)  # fmt: skip
"""In messages about main memory, on machines with a GPU too."""


@dataclass(frozen=True)
class Shortage:
    """A memory that was too small."""

    memory: Literal["GPU", "machine"]
    peak_bytes: int | None
    """The most that a process of the run was seen to hold of it."""
    total_bytes: int | None
    was_killed: bool = False
    """Whether the system ended that process, which then could say nothing itself."""

    @property
    def sentence(self) -> str:
        """Which memory it is, and how much of it was held."""
        ran_out = f"The {self.memory} ran out of memory"
        if self.was_killed:
            ran_out = f"The process was killed, most often because the {self.memory} ran out of memory"
        if self.peak_bytes is None:
            return f"{ran_out}; how much the run held is not known"
        there_is = f" of {self.total_bytes / _MIB:,.0f} MiB" if self.total_bytes else ""
        return f"{ran_out}: the run held {self.peak_bytes / _MIB:,.0f} MiB{there_is} at its peak"

    def failure(self, recipe: Recipe, phase: str, *, again: bool) -> RunFailed:
        """The same as an error with its way out; `again` says that it was the second attempt, which took less."""
        which = ", on the second attempt too, which took half as many examples at once" if again else ""
        return RunFailed(self.sentence + which, action=what_takes_less(recipe, phase))


def shortage_of(error: Exception, device: Device) -> Shortage | None:
    """The memory whose end an error tells of; None where it tells of something else."""
    if not is_out_of_memory(error):
        return None
    words = f"{type(error).__name__} {error}".lower()
    of_gpu = "outofmemoryerror" in words or (device.kind == "cuda" and not any(each in words for each in _OF_MACHINE))
    found = high_water.of_gpu(device) if of_gpu else high_water.of_machine()
    return Shortage("GPU" if of_gpu else "machine", *found, was_killed="was killed" in words)


def shortage_of_killed(events: Iterable[Event]) -> Shortage:
    """What most likely ended a process that the system killed, as the samples of the machine among its events show."""
    known = [event for event in events if isinstance(event, Telemetry)]
    peak = max((each.process_rss_bytes for each in known if each.process_rss_bytes), default=None)
    total = next((each.machine_total_bytes for each in reversed(known) if each.machine_total_bytes), None)
    return Shortage("machine", peak, total, was_killed=True)


def can_take_less(recipe: Recipe, phase: str) -> bool:
    """Whether the phase of that title is a training that can have fewer examples at once."""
    technique = _at_work(recipe, phase)
    return technique is not None and _halved(technique) is not None


def with_less_at_once(recipe: Recipe) -> Recipe:
    """The recipe with half as many examples at once, and twice the accumulation, in every training that allows it.

    What it trains is the same up to rounding, and up to BatchNorm, which looks at a batch at a time.
    """
    return recipe.model_copy(update={"techniques": tuple(_halved(each) or each for each in recipe.techniques)})


def what_takes_less(recipe: Recipe, phase: str) -> str:
    """What a person can do, as a sentence; smaller batches are offered by number."""
    technique, batch_size = _at_work(recipe, phase), recipe.measurement.batch_size
    if technique is not None and (size := getattr(technique, "batch_size", 1)) > 1:
        return f"Set the training batch of {technique.title} to {size // 2} or less, or close other programs."
    if technique is None and batch_size > 1:
        return f"Set the batch size under Measurement to {batch_size // 2} or less, or close other programs."
    return "Close other programs that use this memory, or choose a smaller model."


def begins_anew(shortage: Shortage, folder: Path) -> str:
    """What is noted when a run begins once more because of it, and kept in the run's folder."""
    text = (
        f"{shortage.sentence}. The run began once more, with half as many examples at once in its trainings and twice "
        "as many batches to a step."
    )
    (folder / FILE).write_text(text)
    return text


def noted(folder: Path) -> str:
    """What an earlier attempt left in the run's folder; empty where none ran out of memory."""
    path = folder / FILE
    return path.read_text() if path.exists() else ""


def _at_work(recipe: Recipe, phase: str) -> Technique | None:
    return next((each for each in recipe.techniques if each.title == phase), None)


def _halved(technique: Technique) -> Technique | None:
    """The technique with half the batch and twice the accumulation; None where its settings do not go so far."""
    settings: dict[str, Any] = technique.model_dump()
    if settings.get("batch_size", 1) < 2 or "accumulate" not in settings:
        return None
    fewer = {"batch_size": settings["batch_size"] // 2, "accumulate": 2 * settings["accumulate"]}
    try:
        return type(technique).model_validate(settings | fewer)
    except ValidationError:
        return None
