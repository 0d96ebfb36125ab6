"""FP8 for PyTorch. torchao asks for a GPU before it rounds; without one, that question is answered for it here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core.progress import result_of
from optimizers.quantization.minifloat import FloatGrid, e4m3, nearest
from optimizers.quantization.quantizer import Source
from optimizers.quantization.selection import layers_of
from optimizers.quantization.torchao_float import InBfloat16, TorchaoFloat, TorchaoFloatObserved
from tests.optimizers.conftest import CONTRACT, DATA, TinyTransformer

X = CONTRACT.prepare(DATA.calibrate.pixels)


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return TinyTransformer().eval()


@pytest.fixture
def observe(
    network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TorchaoFloatObserved]:
    if torch.cuda.is_available():
        pytest.skip("tests/gpu runs this on the GPU")
    monkeypatch.setattr("torchao.quantization.quant_api._check_hardware_support", lambda granularity: None)
    monkeypatch.setattr("torchao.prototype.mx_formats.inference_workflow.is_sm_at_least_100", lambda: True)
    layers = tuple(layers_of(network, torch.from_numpy(X[:2])))
    source = Source(network, layers, CONTRACT, X, "transformer", tmp_path, 1)
    return lambda number_format: result_of(TorchaoFloat(number_format, "cpu").observe(source))


@pytest.fixture
def observed(observe: Callable[..., TorchaoFloatObserved]) -> TorchaoFloatObserved:
    return observe("fp8")


def test_weights_have_the_scale_of_each_channels_largest(
    network: torch.nn.Module, observed: TorchaoFloatObserved
) -> None:
    quantized = observed.quantize({"blocks.0.attn.qkv": 8})
    grid = quantized.grids["blocks.0.attn.qkv"]
    weight = network.get_submodule("blocks.0.attn.qkv").weight.detach().bfloat16().float()  # type: ignore[operator,union-attr]
    np.testing.assert_allclose(grid.weight.scale, np.abs(weight.numpy()).max(1) / 448, rtol=2**-8)  # kept in bf16
    assert grid.input is None
    stored = quantized.network.network.get_submodule("blocks.0.attn.qkv").weight  # type: ignore[union-attr,operator]
    expected = nearest(weight / torch.from_numpy(grid.weight.scale)[:, None], e4m3(np.ones((), np.float32)))
    torch.testing.assert_close(stored.qdata.float(), expected, rtol=0, atol=0)


def test_layers_it_cannot_take_and_layers_left_out_stay_in_bfloat16(observed: TorchaoFloatObserved) -> None:
    asked = {"patch_embed": 8, "blocks.0.attn.qkv": 8, "blocks.1.mlp.fc2": 8, "head": 8}
    quantized = observed.quantize(asked)
    assert set(quantized.grids) == {"blocks.0.attn.qkv", "blocks.1.mlp.fc2"}, "a head of 4 classes is no multiple of 16"
    kinds = {name: type(value).__name__ for name, value in quantized.network.named_parameters()}  # type: ignore[union-attr]
    assert sum(kind == "Float8Tensor" for kind in kinds.values()) == 2
    assert kinds["network.head.weight"] == "Parameter"
    assert {value.dtype for value in quantized.network.parameters()} == {torch.bfloat16}  # type: ignore[union-attr]
    assert quantized.precision == "fp8"


def test_it_answers_nearly_as_the_network_did_and_leaves_it_as_it_was(
    network: torch.nn.Module, observed: TorchaoFloatObserved
) -> None:
    before = copy.deepcopy(network.state_dict())
    quantized = observed.quantize(dict.fromkeys(("blocks.0.attn.qkv", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"), 8))
    x = torch.from_numpy(X)
    with torch.inference_mode():
        expected, in_bf16, given = (
            each(x)
            for each in (network, InBfloat16(copy.deepcopy(network)), quantized.network)  # type: ignore[operator]
        )
    assert given.dtype == torch.float32
    assert (given - expected).abs().max() < 0.1 * expected.abs().max()
    assert not torch.equal(given, in_bf16)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_nvfp4_weights_lie_on_the_grid_that_is_read_back(
    network: torch.nn.Module, observe: Callable[..., TorchaoFloatObserved]
) -> None:
    quantized = observe("nvfp4").quantize({"blocks.0.mlp.fc2": 4, "head": 4})
    assert list(quantized.grids) == ["blocks.0.mlp.fc2"]
    grid = quantized.grids["blocks.0.mlp.fc2"].weight
    assert isinstance(grid, FloatGrid)
    weight = network.get_submodule("blocks.0.mlp.fc2").weight.detach().bfloat16().float()  # type: ignore[operator,union-attr]
    groups = weight.reshape(len(weight), -1, 16)
    assert grid.scale.shape == groups.shape[:2]
    # A scale in FP8 is at most a sixteenth off the one that makes the largest weight 6.
    np.testing.assert_allclose(grid.scale, groups.abs().amax(-1).numpy() / 6, rtol=1 / 16)
    stored = quantized.network.network.get_submodule("blocks.0.mlp.fc2").weight  # type: ignore[union-attr,operator]
    scale = torch.from_numpy(grid.scale)[..., None]
    expected = (nearest(groups / scale, grid) * scale).reshape(weight.shape)
    close = torch.isclose(stored.dequantize(torch.float32), expected, rtol=1e-5)
    assert close.float().mean() > 0.98
