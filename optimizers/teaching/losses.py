"""What a student's answers cost, each as its paper writes it. Imports torch: import it inside functions only.

Logits are [N, classes] and targets [N]; -1 is the target of an image without a label.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, cross_entropy, kl_div, log_softmax, normalize

from optimizers.distillation import LossName

UNLABELLED = -1


@dataclass(frozen=True)
class Objective:
    """How a teacher's answers and the labels count."""

    alpha: float
    """0 learns from labels alone, 1 from the teacher alone."""
    temperature: float
    loss: LossName = "soft"
    beta: float = 1.0
    """Of decoupled distillation: weight of what the teacher says about the other classes."""

    def __call__(self, student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        """alpha T^2 (divergence from the teacher) + (1 - alpha) CE(student, targets), batch mean.

        T^2 keeps the gradients of both parts comparable.
        """
        if self.loss == "dkd":
            targets_for_teacher = torch.where(targets == UNLABELLED, teacher.argmax(1), targets)
            told = decoupled(student, teacher, targets_for_teacher, temperature=self.temperature, beta=self.beta)
        else:
            told = soft_targets(student, teacher, temperature=self.temperature)
        return self.alpha * self.temperature**2 * told + (1 - self.alpha) * from_labels(student, targets)


def from_labels(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, mean over the labelled images; 0 where there are none."""
    labelled = (targets != UNLABELLED).sum().clamp(min=1)
    return cross_entropy(logits, targets, ignore_index=UNLABELLED, reduction="sum") / labelled


def soft_targets(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """KL(softmax(teacher / T) || softmax(student / T)), batch mean.

    Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531.
    """
    soft_student, soft_teacher = (log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True)


def decoupled(student: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float, beta: float) -> Tensor:
    """TCKD + beta NCKD, batch mean; every image has a target.

    TCKD compares how sure both are of the target class, NCKD how they share out the rest among the other classes.
    Soft targets are TCKD + (1 - p) NCKD with the teacher's probability p of the target: the surer the teacher, the less
    they tell about other classes, and that is what beta sets free. Zhao et al. 2022, https://arxiv.org/abs/2203.08679.
    """
    is_target = torch.zeros_like(teacher, dtype=torch.bool).scatter_(1, targets[:, None], True)
    ours, theirs = (_split(log_softmax(logits / temperature, dim=1), is_target) for logits in (student, teacher))
    tckd, nckd = (
        kl_div(one, other, reduction="batchmean", log_target=True) for one, other in zip(ours, theirs, strict=True)
    )
    return tckd + beta * nckd


def _split(shares: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities [N, classes] as those of the target and of all others [N, 2], and those among others."""
    others = shares[~is_target].view(len(shares), -1)
    return torch.stack([shares[is_target], others.logsumexp(1)], dim=1), log_softmax(others, dim=1)


def feature_hint(student: Tensor, teacher: Tensor, regressor: nn.Module) -> Tensor:
    """||u(regressor(student)) - u(teacher)||^2 / 2, batch mean, where u scales an image's whole map to length 1.

    Feature maps are [N, C, H, W] or [N, C, tokens]; the regressor, a 1x1 convolution, takes the student's channels to
    the teacher's. Unit length keeps the two networks' scales out of it. Romero et al. 2014 (FitNets),
    https://arxiv.org/abs/1412.6550.
    """
    student, teacher = at_same_size(student, teacher)
    return _half_distance(regressor(student).flatten(1), teacher.flatten(1))


def attention_hint(student: Tensor, teacher: Tensor) -> Tensor:
    """||u(Q(student)) - u(Q(teacher))||^2 / 2, batch mean: Q sums squares over channels, u scales to length 1.

    Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1612.03928, whose code squares the distance too.
    """
    student, teacher = at_same_size(student, teacher)
    return _half_distance(student.square().sum(1).flatten(1), teacher.square().sum(1).flatten(1))


def at_same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller size of the two in each direction, the larger averaged down."""
    size = [min(pair) for pair in zip(first.shape[2:], second.shape[2:], strict=True)]
    return _pooled(first, size), _pooled(second, size)


def _pooled(one: Tensor, size: list[int]) -> Tensor:
    if list(one.shape[2:]) == size:
        return one
    return adaptive_avg_pool1d(one, size) if len(size) == 1 else adaptive_avg_pool2d(one, (size[0], size[1]))


def _half_distance(first: Tensor, second: Tensor) -> Tensor:
    return (normalize(first) - normalize(second)).square().sum(1).mean() / 2
