from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax

from core.bundle import ModelBundle
from core.progress import result_of
from optimizers.guidance import ask_teacher, distillation_loss
from optimizers.technique import Context


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 4.0), (0.9, 4.0), (1.0, 1.0), (0.3, 7.5)])
def test_the_distillation_loss_is_hintons_formula(weight: float, temperature: float) -> None:
    random = np.random.default_rng(0)
    student, teacher = random.normal(0, 3, (2, 8, 5))
    targets = random.integers(0, 5, 8)
    divergence = rel_entr(softmax(teacher / temperature, 1), softmax(student / temperature, 1)).sum(1).mean()
    cross_entropy = -log_softmax(student, 1)[np.arange(8), targets].mean()
    expected = weight * temperature**2 * divergence + (1 - weight) * cross_entropy
    loss = distillation_loss(*map(torch.tensor, (student, teacher, targets)), weight=weight, temperature=temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_a_teacher_is_asked_about_every_image_and_its_mirror_image(bundle: ModelBundle, context: Context) -> None:
    guidance = result_of(ask_teacher(bundle.module, bundle, context, weight=1, temperature=1))
    x = torch.from_numpy(bundle.contract.prepare(bundle.data.train.pixels))
    network = bundle.module.eval()
    with torch.no_grad():
        expected = torch.stack([network(x), network(x.flip(3))])
    torch.testing.assert_close(guidance.logits, expected)
