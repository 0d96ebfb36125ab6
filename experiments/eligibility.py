"""Which techniques work on a model of Keras or a `.tflite` file, as was found when it was added or built."""

from __future__ import annotations

from dataclasses import dataclass

from bridges.environments import TENSORFLOW
from core.catalogue import ModelEntry
from optimizers import TECHNIQUES
from runtimes import RUNTIMES

_OF_TENSORFLOW = "keras_"
"""How the keys of techniques begin that need TensorFlow."""


@dataclass(frozen=True)
class Eligible:
    """Whether one technique works on a model."""

    key: str
    title: str
    reason: str
    """Why it does not, in a sentence; empty where it works."""
    elsewhere: tuple[str, ...] = ()
    """Where it does work, why it does not in single runtimes."""


def eligibility(entry: ModelEntry) -> tuple[Eligible, ...]:
    """One line for each technique that takes models of this form, in the order in which they are offered."""
    return tuple(
        Eligible(key, technique.title, entry.refusals.get(key, ""), _elsewhere(entry, key))
        for key, technique in TECHNIQUES.items()
        if entry.form in technique.takes
    )


def _elsewhere(entry: ModelEntry, key: str) -> tuple[str, ...]:
    given = ((runtime, entry.refusals.get(f"{key}@{name}", "")) for name, runtime in RUNTIMES.items())
    return tuple(f"Not in {runtime.title}: {reason}" for runtime, reason in given if reason)


def why_not_here(lines: tuple[Eligible, ...]) -> str:
    """What keeps some of these from running on this machine, in a sentence; empty where nothing does."""
    needed = any(line.key.startswith(_OF_TENSORFLOW) and not line.reason for line in lines)
    return (TENSORFLOW.why_missing or "") if needed else ""
