"""Teachers and students on a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.devices import find_device
from core.progress import result_of
from optimizers.distillation import Distillation
from optimizers.technique import Context
from tests.optimizers.conftest import TinyNet, build_network, bundle_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.mark.parametrize(
    "settings",
    [
        {"hints": "features", "train_in": "fp16"},
        {"hints": "attention", "train_in": "bf16"},
        {"loss": "dkd", "augmentation": "shift"},
        {"student": "width", "alpha": 1},
    ],
)
def test_a_student_learns_on_the_gpu_and_comes_back_clean(settings: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = bundle_of(TinyNet().eval())
    context = Context(find_device("cuda:0"), 1, 0, tmp_path, build_network, cache=tmp_path)
    technique = Distillation(epochs=2, control_seeds=1, **settings)
    student = result_of(technique.apply(teacher, context))
    (tmp_path / "again").mkdir()
    again = result_of(technique.apply(teacher, replace(context, folder=tmp_path / "again")))
    assert student.distillation
    assert student.distillation.seeds == (again.distillation and again.distillation.seeds)
    assert all(parameter.device.type == "cpu" for parameter in student.module.parameters())
    assert not any(module._forward_hooks for module in student.module.modules())
    assert student.module(torch.zeros(2, 1, 12, 12)).isfinite().all()
