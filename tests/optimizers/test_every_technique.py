"""What holds for every technique, and which orders of techniques are refused."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from annotated_types import Ge, Le
from pydantic import ValidationError

from bridges.environments import Environment
from core.bundle import ModelBundle, Situation
from core.devices import Device
from core.errors import CannotCompose
from core.progress import Note, parse_event
from optimizers import TECHNIQUES, Context, Technique
from tests.optimizers.conftest import TinyNet, bundle_of, events_and_result

QUICK: dict[str, dict[str, Any]] = {
    "distillation": {"epochs": 1},
    "structured_pruning": {"epochs": 1},
    "low_rank": {"energy": 0.7, "epochs": 1},
    "magnitude_pruning": {"epochs": 1},
    "two_four": {"epochs": 1, "calibration_images": 16},
    "mixed_precision": {"fine_tune_epochs": 1},
    "int8": {"calibration_images": 16},
    "qat": {"calibration_images": 16, "epochs": 1},
    "weight_only": {},
    "fp8": {"calibration_images": 16},
    "simulated": {"calibration_images": 16},
    "keras_fine_tuning": {"epochs": 1},
    "keras_pruning": {"epochs": 1},
    "keras_clustering": {"epochs": 1},
    "keras_qat": {"epochs": 1},
    "keras_quantization": {"calibration_images": 8},
    "litert_quantization": {"calibration_images": 8},
}
RUNTIME = {
    "int8": "onnxruntime",
    "qat": "onnxruntime",
    "weight_only": "onnxruntime",
    "fp8": "tensorrt",
    "simulated": "pytorch",
}
"""Where a technique is tried, if not in OpenVINO."""
GPU = Device("cuda:0", "cuda", "a GPU", 2**30, compute_capability=(8, 0))
ADA = replace(GPU, compute_capability=(8, 9))


def place(kind: type[Technique]) -> dict[str, Any]:
    """The runtime to try it in and, for what only a GPU multiplies, a GPU: quantizing for one needs none.

    What takes networks of Keras or `.tflite` files is tried on one.
    """
    if "keras" in kind.takes:
        return {"runtime": "litert", "form": "keras", "brought_as": "keras"}
    runtime = RUNTIME.get(kind.key, "openvino")
    return {"runtime": runtime, "device": ADA} if runtime == "tensorrt" else {"runtime": runtime}


def wide_enough(kind: type[Technique], bundle: ModelBundle) -> ModelBundle:
    """Tensor cores want 32 channels; the usual network of these tests has 16."""
    return bundle_of(TinyNet(width=32).train()) if kind.key == "fp8" else bundle


every_technique = pytest.mark.parametrize("kind", TECHNIQUES.values(), ids=TECHNIQUES)
OF_TORCH = {key: kind for key, kind in TECHNIQUES.items() if "keras" not in kind.takes}
"""What works on torch modules themselves; the others are tried on their own forms, each in its own file."""


def quick(kind: type[Technique]) -> Technique:
    """The technique with as little work as it can be given."""
    return kind(**QUICK[kind.key])


@pytest.mark.parametrize("kind", OF_TORCH.values(), ids=OF_TORCH)
def test_apply_does_what_check_foretells_and_leaves_all_else_as_it_was(
    kind: type[Technique], bundle: ModelBundle, context: Context, situation: Situation
) -> None:
    bundle = wide_enough(kind, bundle)
    before, fields = copy.deepcopy(bundle.module.state_dict()), dict(vars(bundle))
    state = torch.get_num_threads(), torch.get_rng_state(), torch.is_grad_enabled()
    foretold = quick(kind).check(replace(situation, **place(kind)))
    events, result = events_and_result(quick(kind).apply(bundle, replace(context, **place(kind))))
    after = bundle.module.state_dict()
    assert dict(vars(bundle)) == fields
    assert bundle.module.training
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in bundle.module.parameters())
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (state[0], state[2])
    assert torch.equal(torch.get_rng_state(), state[1])
    assert foretold.applied == result.applied == (kind.key,)
    assert (foretold.form, foretold.precision, foretold.family) == (result.form, result.precision, result.family)
    assert result.network is not bundle.network
    assert any(isinstance(event, Note) for event in events)
    assert [parse_event(event.model_dump()) for event in events] == events


@every_technique
def test_settings_survive_json(kind: type[Technique]) -> None:
    changed = quick(kind)
    assert kind.model_validate_json(changed.model_dump_json()) == changed
    assert kind.model_validate(changed.model_dump(mode="json")) == changed


@every_technique
def test_bad_values_are_refused(kind: type[Technique]) -> None:
    bounds = {name: field.metadata for name, field in kind.model_fields.items()}
    bad: list[tuple[str, Any]] = [("no_such_setting", 1)]
    for name, metadata in bounds.items():
        bad += [(name, limit.ge - 1) for limit in metadata if isinstance(limit, Ge)]  # type: ignore[operator]
        bad += [(name, limit.le + 1) for limit in metadata if isinstance(limit, Le)]  # type: ignore[operator]
        bad += [(name, "no sense"), (name, float("nan"))]
    assert len(bad) > 5
    for name, value in bad:
        with pytest.raises(ValidationError):
            kind.model_validate({name: value})


@every_technique
def test_every_setting_and_technique_explains_itself(kind: type[Technique]) -> None:
    for field in kind.model_fields.values():
        assert field.title
        assert field.description
        assert len(field.description) > 40
    assert "https://" in kind.learn
    assert kind.title
    assert kind.summary.endswith(".")
    for when in (kind.pays, kind.pays_not):
        assert len(when) > 40
        assert when.endswith(".")
    assert kind().label()


def test_the_registry_is_keyed_by_the_techniques_own_keys() -> None:
    assert {key: kind.key for key, kind in TECHNIQUES.items()} == {key: key for key in TECHNIQUES}
    assert set(QUICK) == set(TECHNIQUES)


def test_the_registry_needs_neither_torch_nor_onnx() -> None:
    code = "import sys, optimizers; print([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def check_all(situation: Situation, *techniques: Technique) -> Situation:
    for technique in techniques:
        situation = technique.check(situation)
    return situation


@pytest.mark.parametrize(
    "keys",
    [
        ("distillation", "structured_pruning", "int8"),
        ("structured_pruning", "int8"),
        ("distillation", "structured_pruning", "mixed_precision"),
        ("distillation", "int8"),
        ("structured_pruning", "qat"),
        ("distillation", "weight_only"),
        ("distillation", "structured_pruning", "magnitude_pruning", "int8"),
        ("magnitude_pruning", "mixed_precision"),
        ("distillation", "structured_pruning", "low_rank", "magnitude_pruning", "int8"),
        ("structured_pruning", "two_four", "int8"),
        ("distillation", "two_four", "mixed_precision"),
    ],
    ids=" > ".join,
)
def test_orders_that_make_sense_compose(keys: tuple[str, ...], situation: Situation) -> None:
    assert check_all(situation, *(TECHNIQUES[key]() for key in keys)).applied == keys


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (("int8", "structured_pruning"), "before quantization"),
        (("int8", "magnitude_pruning"), "before quantization"),
        (("int8", "two_four"), "before quantization"),
        (("int8", "distillation"), "before quantization"),
        (("int8", "mixed_precision"), "before quantization"),
        (("weight_only", "distillation"), "before quantization"),
        (("int8", "qat"), "quantized already"),
        (("qat", "weight_only"), "quantized already"),
        (("mixed_precision", "structured_pruning"), "before mixed precision"),
        (("mixed_precision", "magnitude_pruning"), "before mixed precision"),
        (("mixed_precision", "two_four"), "before mixed precision"),
        (("mixed_precision", "distillation"), "before mixed precision"),
        (("mixed_precision", "int8"), "Remove one of the two"),
        (("structured_pruning", "distillation"), "Move pruning after distillation"),
        (("magnitude_pruning", "distillation"), "Move pruning after distillation"),
        (("magnitude_pruning", "structured_pruning"), "Move structured pruning before"),
        (("low_rank", "structured_pruning"), "Move structured pruning before"),
        (("low_rank", "distillation"), "after distillation"),
        (("magnitude_pruning", "low_rank"), "factorised first"),
        (("two_four", "low_rank"), "factorised first"),
        (("int8", "low_rank"), "before quantization"),
        (("magnitude_pruning", "two_four"), "one of the two"),
        (("two_four", "magnitude_pruning"), "one of the two"),
    ],
    ids=lambda value: " > ".join(value) if isinstance(value, tuple) else None,
)
def test_orders_that_do_not_are_refused_with_the_reason(
    keys: tuple[str, ...], reason: str, situation: Situation
) -> None:
    with pytest.raises(CannotCompose, match=reason):
        check_all(situation, *(TECHNIQUES[key]() for key in keys))


@every_technique
def test_nothing_is_done_twice(kind: type[Technique], situation: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "why_missing", None)
    with pytest.raises(CannotCompose, match="a second time"):
        check_all(replace(situation, **place(kind)), kind(), kind())


@pytest.mark.parametrize(
    ("key", "settings", "fits"),
    [
        ("distillation", {}, False),
        ("structured_pruning", {}, False),
        ("structured_pruning", {"epochs": 0}, True),
        ("structured_pruning", {"epochs": 0, "importance": "taylor"}, False),
        ("low_rank", {}, False),
        ("low_rank", {"epochs": 0}, True),
        ("magnitude_pruning", {}, False),
        ("magnitude_pruning", {"epochs": 0}, True),
        ("magnitude_pruning", {"criterion": "movement"}, False),
        ("two_four", {}, False),
        ("two_four", {"epochs": 0}, True),
        ("mixed_precision", {"fine_tune_epochs": 1}, False),
        ("mixed_precision", {}, True),
        ("int8", {}, True),
        ("qat", {}, False),
        ("weight_only", {}, True),
    ],
)
def test_without_training_images_nothing_is_trained(
    key: str, settings: dict[str, Any], fits: bool, situation: Situation
) -> None:
    empty, technique = replace(situation, train_images=0), TECHNIQUES[key](**settings)
    if fits:
        assert technique.check(empty).applied == (key,)
    else:
        with pytest.raises(CannotCompose, match="without training images"):
            technique.check(empty)
        with pytest.raises(CannotCompose, match=r"Add it again with a share to train on, or [a-z]"):
            technique.check(replace(empty, is_own=True))


@pytest.mark.parametrize(
    ("key", "settings", "change", "reason"),
    [
        ("int8", {}, {"runtime": "pytorch"}, "ONNX Runtime or OpenVINO"),
        ("mixed_precision", {"precision": "fp16"}, {}, "4 to 21 times slower"),
        ("mixed_precision", {"fine_tune_epochs": 1, "training": "tf32"}, {}, "tf32 on"),
        ("magnitude_pruning", {"train_in": "fp16"}, {}, "4 to 21 times slower"),
        ("two_four", {"train_in": "tf32"}, {}, "tf32 on"),
        ("mixed_precision", {}, {"device": Device("cpu", "cpu", "old", 1, cpu_flags=frozenset({"avx2"}))}, "emulate"),
        ("mixed_precision", {}, {"device": replace(GPU, compute_capability=(7, 5))}, "compute capability is 7.5"),
        ("mixed_precision", {}, {"runtime": "onnxruntime"}, "ONNX Runtime lacks"),
        ("structured_pruning", {"importance": "bn_scale"}, {"family": "transformer"}, "BatchNorm"),
    ],
)
def test_what_the_place_of_work_cannot_do_is_refused_with_the_reason(
    key: str, settings: dict[str, Any], change: dict[str, Any], reason: str, situation: Situation
) -> None:
    with pytest.raises(CannotCompose, match=reason):
        TECHNIQUES[key](**settings).check(replace(situation, **change))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_gpu_takes_both_precisions(precision: str, situation: Situation) -> None:
    situation = replace(situation, device=GPU, runtime="pytorch")
    assert TECHNIQUES["mixed_precision"](precision=precision).check(situation).precision == precision
