"""Whether running a recipe again gave the same numbers."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.result import RunResult
from profiling.machine import Conditions
from profiling.statistics import SMALLEST_SPEEDUP

CHANGEABLE = ("device_name", "cpu_name", "threads", "seed", "python", "libraries", "gpu_driver", "tf32", "commit")
"""Conditions that a number may depend on; the date and the clocks differ every time."""


@dataclass(frozen=True)
class Reproduction:
    """A run against an earlier one of the same recipe."""

    same_predictions: int
    images: int
    p50_ms: float
    earlier_p50_ms: float
    is_latency_alike: bool | None
    """Whether the medians' 95 % intervals meet, or the medians differ by less than 3 %; None without intervals."""
    changed: tuple[str, ...]
    """Names of the conditions that are not as they were."""

    @property
    def holds(self) -> bool:
        """Whether predictions and latency are the same, within what was measured."""
        return self.same_predictions == self.images and bool(self.is_latency_alike)

    @property
    def sentence(self) -> str:
        """What came out again and what did not, with the conditions that changed meanwhile."""
        if self.same_predictions == self.images:
            predictions = f"all {self.images:,} predictions are the same"
        else:
            predictions = f"{self.images - self.same_predictions:,} of {self.images:,} predictions differ"
        words = {True: "within its interval", False: "outside its interval", None: "with too few calls for an interval"}
        alike = words[self.is_latency_alike]
        latency = f"p50 is {self.p50_ms:.3f} ms where it was {self.earlier_p50_ms:.3f} ms, {alike}"
        changed = f" Changed meanwhile: {', '.join(self.changed)}." if self.changed else ""
        return f"{'Reproduced' if self.holds else 'Not reproduced'}: {predictions}; {latency}.{changed}"


def reproduction(result: RunResult, earlier: RunResult) -> Reproduction:
    """Compare a run with an earlier one of the same recipe. Raises `BadInput` when their test images differ."""
    agreement = result.accuracy.agreement_with(earlier.accuracy)
    return Reproduction(
        same_predictions=round(agreement * result.accuracy.total),
        images=result.accuracy.total,
        p50_ms=result.latency.p50_ms,
        earlier_p50_ms=earlier.latency.p50_ms,
        is_latency_alike=_is_alike(result, earlier),
        changed=_changed(result.conditions, earlier.conditions),
    )


def _is_alike(result: RunResult, earlier: RunResult) -> bool | None:
    medians = (result.latency.p50_ms, earlier.latency.p50_ms)
    if max(medians) / min(medians) < SMALLEST_SPEEDUP:
        return True
    ours, theirs = result.latency.p50_interval_ms, earlier.latency.p50_interval_ms
    return ours[0] <= theirs[1] and theirs[0] <= ours[1] if ours and theirs else None


def _changed(now: Conditions, then: Conditions) -> tuple[str, ...]:
    differing = [name for name in CHANGEABLE if getattr(now, name) != getattr(then, name)]
    # What only one of them names was not asked for by the other: which libraries are recorded grew more precise.
    moved = [name for name, found in now.libraries.items() if then.libraries.get(name, found) != found]
    names = [name.replace("_", " ") for name in differing if name != "libraries"]
    return (*names, *moved)
