from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sample_models
from core.bundle import ModelBundle
from core.devices import Device, find_device
from core.progress import result_of
from core.sparsity import skips_fours
from optimizers import TECHNIQUES, Context
from optimizers.sparsity.fours import with_pattern
from runtimes import RUNTIMES
from runtimes.pytorch import _load
from runtimes.semi_structured import FILE
from tests.optimizers.conftest import TinyNet, build_network, bundle_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.fixture
def gpu() -> Device:
    return find_device("cuda:0")


@pytest.fixture
def context(gpu: Device, tmp_path: Path) -> Context:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return Context(gpu, 1, 0, folder, build_network)


def two_four(bundle: ModelBundle, context: Context, **settings: Any) -> ModelBundle:
    return result_of(TECHNIQUES["two_four"](**{"epochs": 0} | settings).apply(bundle, context))  # type: ignore[arg-type]


def test_sparsegpt_gives_the_weights_of_the_cpu(context: Context) -> None:
    torch.manual_seed(0)
    network, x = TinyNet().eval(), torch.randn(32, 1, 12, 12)
    names = ("block.0", "head")
    here = with_pattern(network, names, x, by_error=True)
    there = with_pattern(network.cuda(), names, x.cuda(), by_error=True).cpu()
    for name in names:
        ours, theirs = here.get_submodule(name).weight, there.get_submodule(name).weight
        assert ((ours == 0) == (theirs == 0)).float().mean() > 0.99
        assert (ours - theirs).abs().mean() < 0.02 * ours.abs().mean()


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("two_four", {}),
        ("magnitude_pruning", {"schedule_of_zeros": "gradual"}),
        ("magnitude_pruning", {"criterion": "movement", "train_in": "fp16"}),
    ],
)
def test_zeros_are_held_in_training(context: Context, key: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    made = result_of(TECHNIQUES[key](epochs=3, **settings).apply(bundle_of(TinyNet().eval()), context))  # type: ignore[arg-type]
    assert made.sparsity
    weights = [made.module.get_submodule(layer.name).weight for layer in made.sparsity.layers]
    assert {weight.device.type for weight in weights} == {"cpu"}
    assert [int((weight == 0).sum()) for weight in weights] == [layer.zeros for layer in made.sparsity.layers]
    assert made.sparsity.sparsity > 0.4


@pytest.mark.parametrize("key", ["pytorch", "torch_compile"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_packed_layers_give_the_logits_of_the_dense_program(
    key: str, precision: Any, gpu: Device, context: Context, tmp_path: Path
) -> None:
    if not skips_fours(gpu) or not torch.backends.cusparselt.is_available():
        pytest.skip("this GPU has no sparse tensor cores, or PyTorch no cuSPARSELt")
    runtime = RUNTIMES[key]
    if reason := runtime.why_unavailable(gpu):
        pytest.skip(reason)
    bundle = replace(two_four(sample_models.load("vit_fmnist"), context), precision=precision)
    artifact = runtime.export(bundle, tmp_path)
    _, network = _load(artifact, gpu)
    names = json.loads((tmp_path / FILE).read_text())
    assert len(names) == 24
    packed = [type(network.get_submodule(name).weight.data).__name__ for name in names]
    assert set(packed) == {"SparseSemiStructuredTensorCUSPARSELT"}
    x = bundle.contract.prepare(bundle.data.test.pixels[:64])
    logits = []
    for given in (artifact, replace(artifact, files=("model.pt2",))):
        with runtime.open(given, gpu, threads=1) as session:
            logits.append(np.concatenate([session.run(x[:1]), session.run(x)]))
    np.testing.assert_allclose(logits[0], logits[1], atol=0.05 * np.abs(logits[1]).max())


def test_tensorrt_serves_a_two_four_network(gpu: Device, context: Context, tmp_path: Path) -> None:
    runtime = RUNTIMES["tensorrt"]
    if reason := runtime.why_unavailable(gpu):
        pytest.skip(reason)
    bundle = replace(two_four(sample_models.load("resnet_fmnist"), context), precision="fp16")
    x = bundle.contract.prepare(bundle.data.test.pixels[:64])
    with torch.inference_mode():
        expected = bundle.module(torch.from_numpy(x)).numpy()
    with runtime.open(runtime.export(bundle, tmp_path), gpu, threads=1) as session:
        np.testing.assert_allclose(session.run(x), expected, atol=0.02 * np.abs(expected).max())
