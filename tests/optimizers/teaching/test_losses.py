"""Each loss against its paper's formula in numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from optimizers.teaching.losses import Objective, attention_hint, decoupled, feature_hint, from_labels, soft_targets

Array = NDArray[np.float64]


def drawn(*, images: int = 8, classes: int = 5) -> tuple[Array, Array, NDArray[np.int64]]:
    """Logits of a student and of a teacher, and targets."""
    random = np.random.default_rng(0)
    student, teacher = random.normal(0, 3, (2, images, classes))
    return student, teacher, random.integers(0, classes, images)


def tensors(*arrays: NDArray[np.generic]) -> Iterator[torch.Tensor]:
    return map(torch.tensor, arrays)


def unit(maps: Array) -> Array:
    """Each image's numbers, scaled to length 1."""
    flat = maps.reshape(len(maps), -1)
    return flat / np.sqrt((flat**2).sum(1, keepdims=True))


@pytest.mark.parametrize(("alpha", "temperature"), [(0.0, 4.0), (0.9, 4.0), (1.0, 1.0), (0.3, 7.5)])
def test_soft_targets_are_hintons_formula(alpha: float, temperature: float) -> None:
    student, teacher, targets = drawn()
    divergence = rel_entr(softmax(teacher / temperature, 1), softmax(student / temperature, 1)).sum(1).mean()
    cross_entropy = -log_softmax(student, 1)[np.arange(8), targets].mean()
    expected = alpha * temperature**2 * divergence + (1 - alpha) * cross_entropy
    loss = Objective(alpha, temperature)(*tensors(student, teacher, targets))
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def zhao(student: Array, teacher: Array, targets: NDArray[np.int64], temperature: float) -> tuple[Array, Array]:
    """TCKD and NCKD of each image, as equations 2 to 6 of the paper have them."""
    found = []
    for ours, theirs, target in zip(student, teacher, targets, strict=True):
        ps, pt = softmax(ours / temperature), softmax(theirs / temperature)
        tckd = rel_entr([pt[target], 1 - pt[target]], [ps[target], 1 - ps[target]]).sum()
        others = np.arange(len(ps)) != target
        nckd = rel_entr(pt[others] / pt[others].sum(), ps[others] / ps[others].sum()).sum()
        found.append((tckd, nckd))
    return tuple(np.asarray(found).T)


@pytest.mark.parametrize(("beta", "temperature"), [(1.0, 1.0), (8.0, 4.0)])
def test_the_decoupled_loss_is_zhaos_formula(beta: float, temperature: float) -> None:
    student, teacher, targets = drawn()
    tckd, nckd = zhao(student, teacher, targets, temperature)
    loss = decoupled(*tensors(student, teacher, targets), temperature=temperature, beta=beta)
    assert float(loss) == pytest.approx((tckd + beta * nckd).mean(), rel=1e-12)
    cross_entropy = -log_softmax(student, 1)[np.arange(8), targets].mean()
    whole = Objective(0.7, temperature, "dkd", beta)(*tensors(student, teacher, targets))
    assert float(whole) == pytest.approx(
        0.7 * temperature**2 * (tckd + beta * nckd).mean() + 0.3 * cross_entropy, rel=1e-12
    )


def test_its_parts_put_together_again_are_soft_targets() -> None:
    """KD = TCKD + (1 - p) NCKD, image by image, with the teacher's probability p of the target."""
    for number in range(4):
        student, teacher, targets = (each[number : number + 1] for each in drawn(classes=7))
        others = 1 - softmax(teacher / 3, 1)[0, targets[0]]
        together = decoupled(*tensors(student, teacher, targets), temperature=3, beta=others)
        plain = soft_targets(*tensors(student, teacher), temperature=3)
        assert float(together) == pytest.approx(float(plain), rel=1e-12)


def test_images_without_a_label_learn_from_the_teacher_alone() -> None:
    student, teacher, targets = drawn()
    targets[::2] = -1
    labelled = np.flatnonzero(targets >= 0)
    cross_entropy = -log_softmax(student, 1)[labelled, targets[labelled]].mean()
    divergence = rel_entr(softmax(teacher, 1), softmax(student, 1)).sum(1).mean()
    loss = Objective(0.4, 1.0)(*tensors(student, teacher, targets))
    assert float(loss) == pytest.approx(0.4 * divergence + 0.6 * cross_entropy, rel=1e-12)
    filled = np.where(targets < 0, teacher.argmax(1), targets)
    tckd, nckd = zhao(student, teacher, filled, 1.0)
    whole = Objective(1.0, 1.0, "dkd", 2.0)(*tensors(student, teacher, targets))
    assert float(whole) == pytest.approx((tckd + 2 * nckd).mean(), rel=1e-12)


def test_a_batch_without_any_label_has_no_gradient_from_labels() -> None:
    student = torch.randn(4, 3, requires_grad=True)
    loss = from_labels(student, torch.full((4,), -1))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_the_feature_hint_is_the_distance_of_maps_of_length_one() -> None:
    random = np.random.default_rng(1)
    student, teacher = random.normal(size=(3, 2, 4, 4)), random.normal(size=(3, 5, 4, 4))
    regressor = nn.Conv2d(2, 5, 1).double()
    weight, bias = (each.detach().numpy() for each in (regressor.weight, regressor.bias))  # type: ignore[union-attr]
    regressed = np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], student) + bias[None, :, None, None]
    expected = 0.5 * ((unit(regressed) - unit(teacher)) ** 2).sum(1).mean()
    loss = feature_hint(*tensors(student, teacher), regressor).detach()
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_the_attention_hint_is_zagoruykos_formula_at_the_smaller_size() -> None:
    random = np.random.default_rng(2)
    student, teacher = random.normal(size=(3, 2, 8, 8)), random.normal(size=(3, 5, 4, 4))
    pooled = student.reshape(3, 2, 4, 2, 4, 2).mean((3, 5))
    expected = 0.5 * ((unit((pooled**2).sum(1)) - unit((teacher**2).sum(1))) ** 2).sum(1).mean()
    assert float(attention_hint(*tensors(student, teacher))) == pytest.approx(expected, rel=1e-12)
    tokens = random.normal(size=(2, 3, 6, 9))
    expected = 0.5 * ((unit((tokens[0] ** 2).sum(1)) - unit((tokens[1] ** 2).sum(1))) ** 2).sum(1).mean()
    assert float(attention_hint(*tensors(*tokens))) == pytest.approx(expected, rel=1e-12)
