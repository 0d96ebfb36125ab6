"""Another model as the teacher: it answers as it does to images that are prepared for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.bundle import ModelBundle, OnnxGraph
from core.distillation import DistillationReport
from core.errors import CannotCompose, Unavailable
from core.onnx_export import export_onnx
from core.progress import result_of
from optimizers.distillation import Distillation
from optimizers.teaching.teachers import another_model, parameters_in
from optimizers.technique import Context
from tests.optimizers.conftest import CONTRACT, DATA, TinyNet, bundle_of

OTHERWISE = replace(CONTRACT, mean=(10.0,), std=(200.0,))


@pytest.fixture
def other() -> ModelBundle:
    torch.manual_seed(3)
    return replace(bundle_of(TinyNet().eval()), key="other", contract=OTHERWISE)


def in_onnx(other: ModelBundle) -> ModelBundle:
    return replace(other, network=OnnxGraph(export_onnx(other.module, other.contract)))


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_it_sees_images_in_its_own_normalisation(
    form: str, other: ModelBundle, bundle: ModelBundle, context: Context
) -> None:
    teacher = another_model("Other", in_onnx(other) if form == "onnx" else other, bundle, context)
    with torch.inference_mode():
        expected = other.module(torch.from_numpy(OTHERWISE.prepare(DATA.test.pixels)))
        given = teacher.ask(torch.from_numpy(CONTRACT.prepare(DATA.test.pixels)))
    np.testing.assert_allclose(given, expected, rtol=1e-3, atol=1e-4)
    assert not given.requires_grad


def test_what_changes_its_answers_changes_its_identity(
    other: ModelBundle, bundle: ModelBundle, context: Context
) -> None:
    first = another_model("Other", other, bundle, context).identity
    assert another_model("Called otherwise", other, bundle, context).identity == first
    assert another_model("Other", replace(other, contract=CONTRACT), bundle, context).identity != first


def test_other_classes_are_refused(other: ModelBundle, bundle: ModelBundle, context: Context) -> None:
    with pytest.raises(CannotCompose, match="and the 4 classes of the model that is taught"):
        another_model("Other", replace(other, contract=replace(CONTRACT, labels=tuple("wxyz"))), bundle, context)


def test_a_student_learns_from_an_onnx_graph(other: ModelBundle, bundle: ModelBundle, context: Context) -> None:
    teacher = in_onnx(other)
    settings = Distillation(student="width", teacher_model="other", epochs=1, control_seeds=0, alpha=1)
    done = result_of(settings.apply(bundle, replace(context, others=lambda key: (f"Model {key}", teacher))))
    report = done.distillation
    assert isinstance(report, DistillationReport)
    assert report.teacher == "Model other"
    assert report.teacher_parameters == parameters_in(teacher.network)
    x = torch.from_numpy(OTHERWISE.prepare(DATA.test.pixels))
    assert report.teacher_classes.array.tolist() == other.module(x).argmax(1).tolist()


def test_no_other_model_where_none_is_known(bundle: ModelBundle, context: Context) -> None:
    with pytest.raises(Unavailable, match="Choose no other model"):
        result_of(Distillation(teacher_model="other", epochs=1).apply(bundle, context))
