"""Students with and without their teacher, and what the two are compared by. Imports torch: inside functions only."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.bundle import ModelBundle
from core.data import Floats, Split
from core.distillation import SeedOutcome
from core.packed import Packed
from core.progress import Metric, Progress, Steps
from optimizers.state import on_device, torch_state
from optimizers.technique import Context

T = TypeVar("T")
_BATCH = 250
_SHOWN = 60
_SHOWN_DIFFERENT = 40
_PER_UNIT, _LARGEST = 10_000, 200_000
"""Logits are kept in ten thousandths, up to so large ones."""


@dataclass(frozen=True)
class Part:
    """One of several trainings of equal length."""

    number: int
    """From 0."""
    parts: int
    title: str
    """`student, seed 1 of 3`."""
    series: str | None
    """How its curves are called; None to draw none."""

    def of(self, steps: Steps[T]) -> Steps[T]:
        """The same events, with progress counted over all parts and curves by their series."""
        length = None
        with closing(steps):
            while True:
                try:
                    event = next(steps)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]
                if isinstance(event, Progress):
                    length = length or event.total
                    yield self._among_all(event, length)
                elif not isinstance(event, Metric):
                    yield event
                elif self.series is not None:
                    yield event.model_copy(update={"series": self.series})

    def _among_all(self, event: Progress, length: float) -> Progress:
        """A training that ended early has a smaller total at its end, and is complete then."""
        done = (self.number + event.done / event.total) * length
        return event.model_copy(
            update={"done": done, "total": self.parts * length, "doing": f"{self.title}: {event.doing}"}
        )


def labelled(split: Split) -> Split:
    """The images that have a label, in their order."""
    kept = (split.labels >= 0).any(axis=1)
    return Split(split.pixels[kept], split.labels[kept])


def logits_of(network: nn.Module, split: Split, bundle: ModelBundle, context: Context) -> Floats:
    """float32 [N, classes] of a network in eval mode, computed on the context's device in float32."""
    found = []
    with torch_state(context), torch.inference_mode():
        moved = on_device(network, context).eval()
        for start in range(0, len(split), _BATCH):
            x = torch.from_numpy(bundle.contract.prepare(split.pixels[start : start + _BATCH]))
            found.append(moved(x.to(context.device.id)).cpu().numpy())
    logits: Floats = np.concatenate(found)
    return logits


def outcome(seed: int, taught: Floats, alone: Floats, test: Split) -> SeedOutcome:
    """Who of two students with logits[N, classes] is right about the test images."""
    taught_right, alone_right = (test.is_correct(logits.argmax(1)) for logits in (taught, alone))
    return SeedOutcome(
        seed=seed,
        taught_correct=int(taught_right.sum()),
        alone_correct=int(alone_right.sum()),
        only_taught_right=int((taught_right & ~alone_right).sum()),
        only_alone_right=int((alone_right & ~taught_right).sum()),
    )


def kept(logits: Floats) -> Packed:
    """Logits[S, classes] as they are; a row with one that is too large to keep is moved so that its largest is 0.

    Softmax sees differences alone. What then lies further below than can be kept stays as far below as can be.
    """
    largest = logits.max(1, keepdims=True)
    moved = np.maximum(logits - largest, -_LARGEST)
    is_too_large = np.abs(logits).max(1, keepdims=True) > _LARGEST
    return Packed.of(np.where(is_too_large, moved, logits).ravel(), "<i4", _PER_UNIT)


def worth_showing(teacher: Floats, student: Floats, count: int = _SHOWN) -> NDArray[np.int64]:
    """Rows of logits[N, classes] to look at, at most `count`, in order.

    Two thirds are images on which the two differ, taken evenly from all of these; the rest are those of which the
    teacher is least certain.
    """
    differ = np.flatnonzero(teacher.argmax(1) != student.argmax(1))
    most = min(len(differ), count * _SHOWN_DIFFERENT // _SHOWN)
    chosen = differ[np.linspace(0, len(differ) - 1, most).round().astype(int)] if most else differ
    shares = np.exp(teacher - teacher.max(1, keepdims=True))
    certainty = 1 / shares.sum(1)
    rest = [row for row in np.argsort(certainty, kind="stable") if row not in set(chosen.tolist())]
    return np.sort(np.concatenate([chosen, np.asarray(rest[: count - len(chosen)], np.int64)])).astype(np.int64)
