"""A teacher's answers as a training target. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from core.bundle import ModelBundle
from core.progress import Progress, Steps
from optimizers.images import Batch, TrainingImages, mirror
from optimizers.state import on_device, torch_state
from optimizers.technique import Context

_BATCH = 250


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


@dataclass(frozen=True, eq=False)
class Guidance:
    """What a teacher answers to every training image, and how much that counts."""

    logits: Tensor
    """float32 [2, N, classes]: for each image as stored, and for its mirror image."""
    weight: float
    """0 learns from labels alone, 1 from the teacher alone."""
    temperature: float

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The distillation loss of logits[N, classes] on a batch."""
        teacher = self.logits[batch.mirrored, batch.rows]
        return distillation_loss(logits, teacher, batch.targets, weight=self.weight, temperature=self.temperature)


def distillation_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, *, weight: float, temperature: float
) -> Tensor:
    """weight T^2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - weight) CE(student, targets), batch mean.

    Logits are [N, classes], targets [N]. T^2 keeps the gradients of both parts comparable: Hinton, Vinyals and Dean
    2015, https://arxiv.org/abs/1503.02531.
    """
    soft_student, soft_teacher = (log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    soft = kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True)
    return weight * temperature**2 * soft + (1 - weight) * cross_entropy(student, targets)


def ask_teacher(
    teacher: nn.Module, bundle: ModelBundle, context: Context, *, weight: float, temperature: float
) -> Steps[Guidance]:
    """The teacher's answers to the training images and their mirror images, on the context's device.

    Training shows no other views, so that each has to be asked about only once.
    """
    with torch_state(context):
        network = on_device(teacher, context).eval()
        images = TrainingImages(bundle.data.train, bundle.contract, torch.device(context.device.id))
        answers: list[list[Tensor]] = [[], []]
        for start in range(0, len(images), _BATCH):
            pixels = images.pixels[start : start + _BATCH]
            for flip in (0, 1):
                flips = torch.full((len(pixels),), flip, device=pixels.device)
                with torch.no_grad():
                    answers[flip].append(network(images.normalised(mirror(pixels, flips))))
            done = min(start + _BATCH, len(images))
            yield Progress(done=done, total=len(images), unit="images", doing="asking the teacher")
    return Guidance(torch.stack([torch.cat(each) for each in answers]), weight, temperature)
