from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

import sample_models
from core.bundle import ModelBundle
from core.data import DataSplits, Split
from core.errors import CannotCompose
from core.progress import Note, Progress, result_of
from optimizers.distillation import Distillation
from optimizers.technique import Context
from optimizers.training import Plan, evaluate, train
from tests.optimizers.conftest import CONTRACT, DATA, TinyNet, bundle_of, events_and_result, images


@pytest.fixture
def teacher(context: Context) -> ModelBundle:
    """A teacher that knows the classes, with training images whose labels are all wrong."""
    data = DataSplits(images(512, seed=3), DATA.calibrate, DATA.test)
    torch.manual_seed(0)
    bundle = bundle_of(TinyNet(), data=data)
    trained = result_of(train(bundle.module, bundle, context, Plan(12, 0.02, batch_size=32)))
    wrong = Split(data.train.pixels, (data.train.labels + 1) % 4)
    return bundle_of(trained, data=DataSplits(wrong, data.calibrate, data.test))


def test_alpha_1_learns_from_the_teacher_and_alpha_0_from_the_labels(teacher: ModelBundle, context: Context) -> None:
    accuracies = {
        alpha: evaluate(result_of(Distillation(alpha=alpha, epochs=20).apply(teacher, context)).module, teacher)
        for alpha in (0.0, 1.0)
    }
    assert accuracies[1.0] > 0.7
    assert accuracies[0.0] < 0.1


def test_the_student_takes_the_teachers_place(teacher: ModelBundle, context: Context) -> None:
    events, result = events_and_result(Distillation(epochs=1).apply(teacher, context))
    assert isinstance(result.module, TinyNet)
    assert len(result.module.head.weight[0]) == 8
    (note,) = [event for event in events if isinstance(event, Note)]
    counts = [sum(p.numel() for p in TinyNet(width).parameters()) for width in (16, 8)]
    assert note.text == f"The teacher has {counts[0]:,} parameters, the student {counts[1]:,}."
    assert not note.warning


def test_every_student_on_offer_can_be_built() -> None:
    offered = get_args(Distillation.model_fields["student"].annotation)
    assert offered == sample_models.STUDENTS
    for key in offered:
        assert sample_models.build_student(key)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_control_asks_no_teacher(teacher: ModelBundle, context: Context) -> None:
    def asks(alpha: float) -> bool:
        events, _ = events_and_result(Distillation(alpha=alpha, epochs=1).apply(teacher, context))
        return any(isinstance(event, Progress) and event.unit == "images" for event in events)

    assert (asks(0.0), asks(0.5)) == (False, True)


def test_the_same_seed_gives_the_same_student_whatever_was_drawn_before(teacher: ModelBundle, context: Context) -> None:
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        weights.append(result_of(Distillation(epochs=1).apply(teacher, context)).module.head.weight.detach().numpy())
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("student", [nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(144, 9))])
def test_a_student_for_other_images_or_classes_is_refused(
    bundle: ModelBundle, context: Context, student: nn.Module
) -> None:
    other = Context(context.device, 1, 0, context.folder, lambda key: student)
    with pytest.raises(CannotCompose, match=f"to {len(CONTRACT.labels)} classes"):
        result_of(Distillation().apply(bundle, other))
