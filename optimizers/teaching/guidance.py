"""A teacher's answers as a training target. Imports torch: import it inside functions only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from core.bundle import ModelBundle
from core.progress import Steps
from optimizers.teaching.losses import Objective, from_labels
from optimizers.teaching.teachers import AS_STORED, BOTH_VIEWS, Teacher, answers, network_teacher
from optimizers.technique import Context
from optimizers.training.batches import Batch
from optimizers.training.settings import Augmentation

KNOWN_VIEWS: tuple[Augmentation, ...] = ("none", "mirror")
"""Augmentations under which a teacher can answer beforehand."""


class Teaching(Protocol):
    """What a network in training is told beside the labels."""

    def attach(self, student: nn.Module) -> Iterable[nn.Parameter]:
        """Take the network that learns, on its device; what has to be trained beside it."""

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss of its logits[N, classes] on a batch, after a forward pass of the attached network."""

    def fingerprint(self) -> str:
        """Changes with whatever would change what is learned."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on in the middle of a training."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another left off."""


class _Unchanging:
    """Teaching that trains nothing itself."""

    def attach(self, student: nn.Module) -> tuple[nn.Parameter, ...]:
        """Nothing is trained beside the student."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Nothing changes while the student learns."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go on with."""


@dataclass(frozen=True)
class LabelsAlone(_Unchanging):
    """No teacher: cross-entropy on the images that have a label."""

    def fingerprint(self) -> str:
        """Always the same."""
        return "labels alone"

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy of logits[N, classes] on a batch."""
        return from_labels(logits, batch.targets)


@dataclass(frozen=True, eq=False)
class Guidance(_Unchanging):
    """A teacher's answers to every training image, and how much they count."""

    teacher: Teacher
    objective: Objective
    logits: Tensor | None
    """float32 [views, N, classes]: for each example as stored, then mirrored; None to ask about every batch."""

    def fingerprint(self) -> str:
        """A hash of the teacher, or the answers that are known, and the settings."""
        known = b"" if self.logits is None else self.logits.cpu().numpy().tobytes()
        return hashlib.sha256(f"{self.teacher.identity} {self.objective}".encode() + known).hexdigest()

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The distillation loss of logits[N, classes] on a batch; the teacher is asked about views it does not know."""
        known = self.logits is not None and batch.mirrored is not None
        teacher = self.logits[batch.mirrored, batch.rows] if known else self.teacher.ask(batch.x)  # type: ignore[index]
        return self.objective(logits, teacher, batch.targets)


def ask_teacher(
    network: nn.Module,
    bundle: ModelBundle,
    context: Context,
    *,
    weight: float,
    temperature: float,
    augmentation: Augmentation = "mirror",
) -> Steps[Guidance]:
    """Soft targets of a network that teaches the share `weight` of the loss."""
    teacher = network_teacher(network, context, title="")
    return (yield from guide(teacher, bundle, context, Objective(weight, temperature), augmentation=augmentation))


def guide(
    teacher: Teacher, bundle: ModelBundle, context: Context, objective: Objective, *, augmentation: Augmentation
) -> Steps[Guidance]:
    """The teacher with its answers to all training images and their mirror images, where training shows no others.

    Texts have no mirror images, and are trained on as they are.
    """
    if bundle.task == "images" and augmentation not in KNOWN_VIEWS:
        return Guidance(teacher, objective, None)
    views = BOTH_VIEWS if bundle.task == "images" else AS_STORED
    logits = yield from answers(teacher, bundle.data.train, bundle, context, views=views, doing="asking the teacher")
    return Guidance(teacher, objective, logits)
