"""Techniques one after another, carried out: each report is there at the end, no step undoes an earlier one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from core.bundle import ModelBundle
from core.progress import result_of
from optimizers import TECHNIQUES
from optimizers.technique import Context
from tests.optimizers.conftest import bundle_of

TAUGHT = {"student": "itself", "epochs": 1, "control_seeds": 0}


def carried_out(bundle: ModelBundle, context: Context, *steps: tuple[str, dict[str, Any]]) -> list[ModelBundle]:
    """What each step gives, the bundle itself first."""
    done = [bundle]
    for number, (key, settings) in enumerate(steps):
        (folder := context.folder / f"{number}-{key}").mkdir()
        place = replace(context, folder=folder, original=lambda: bundle)
        done.append(result_of(TECHNIQUES[key](**settings).apply(done[-1], place)))
    return done


def zeros(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight == 0 for name, weight in network.named_parameters() if weight.ndim > 1}


@pytest.mark.parametrize("hints", ["none", "attention"])
def test_a_pruned_network_learns_from_the_original_and_is_quantized(
    bundle: ModelBundle, context: Context, hints: str
) -> None:
    steps = [
        ("structured_pruning", {"ratio": 0.5, "epochs": 0}),
        ("distillation", TAUGHT | {"hints": hints}),
        ("int8", {"calibration_images": 16}),
    ]
    _, pruned, taught, quantized = carried_out(bundle, context, *steps)
    shapes = {name: weight.shape for name, weight in pruned.module.state_dict().items()}
    assert {name: weight.shape for name, weight in taught.module.state_dict().items()} == shapes
    assert not torch.equal(pruned.module.state_dict()["head.weight"], taught.module.state_dict()["head.weight"])
    assert quantized.applied == ("structured_pruning", "distillation", "int8")
    assert quantized.pruning is pruned.pruning
    assert quantized.distillation is taught.distillation
    assert quantized.distillation.teacher_parameters == sum(each.numel() for each in bundle.module.parameters())
    assert quantized.quantization
    assert len(quantized.quantization.quantized) == len(quantized.quantization.layers)


@pytest.mark.parametrize(
    "sparse",
    [("two_four", {"epochs": 0, "calibration_images": 16}), ("magnitude_pruning", {"sparsity": 0.6, "epochs": 0})],
    ids=lambda step: step[0],
)
def test_zeros_outlive_teaching(bundle: ModelBundle, context: Context, sparse: tuple[str, dict[str, Any]]) -> None:
    _, before, after = carried_out(bundle, context, sparse, ("distillation", TAUGHT))
    held = zeros(after.module)
    assert sum(int(each.sum()) for each in held.values()) > 100
    assert all(bool(held[name][each].all()) for name, each in zeros(before.module).items())
    assert after.sparsity is before.sparsity


def test_a_transformer_is_pruned_factorised_and_quantized(transformer: ModelBundle, context: Context) -> None:
    torch.manual_seed(1)
    steps = [
        ("structured_pruning", {"ratio": 0.5, "epochs": 0, "attention": "heads", "round_to": 1}),
        ("low_rank", {"energy": 0.6, "epochs": 0}),
        ("distillation", TAUGHT),
        ("int8", {"calibration_images": 16}),
    ]
    *_, quantized = carried_out(bundle_of(transformer.module, "transformer"), context, *steps)
    assert quantized.family == "transformer"
    assert quantized.pruning
    assert quantized.low_rank
    names = {layer.name for layer in quantized.quantization.quantized} if quantized.quantization else set()
    assert {f"{layer.name}.{part}" for layer in quantized.low_rank.factorised for part in (0, 1)} <= names
