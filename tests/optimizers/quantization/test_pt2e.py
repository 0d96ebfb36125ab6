"""torchao's PT2E, read back from its graphs; what its compiler makes of them is tested in tests/runtimes."""

from __future__ import annotations

import copy
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.devices import Device
from core.progress import Progress, result_of
from optimizers.quantization.folding import folded
from optimizers.quantization.pt2e import Pt2e, why_refused
from optimizers.quantization.quantizer import Method, Observed, Quantized, Source, StaticGrid
from optimizers.quantization.selection import layers_of
from optimizers.quantization.twin import rounded, twin
from tests.optimizers.conftest import BF16_CPU, CLASSES, CONTRACT, TinyTransformer, events_and_result
from tests.optimizers.quantization.sources import X, float_logits, source_of

GPU = Device("cuda:0", "cuda", "Test GPU", 1 << 34, compute_capability=(8, 0))


class Residual(nn.Module):
    """A depthwise convolution and two branches that are added, as the compiler likes to fuse them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.left = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.right = nn.Conv2d(8, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.stem(x))
        features = torch.relu(self.norm(self.left(features)) + self.right(features))
        return self.head(features.mean((2, 3)))


METHODS: tuple[Method, ...] = ("minmax", "mse")
LAYERS = ("stem", "left", "right", "head")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return folded(Residual().eval(), torch.from_numpy(X[:2]))[0]


def observed(network: nn.Module, folder: Path, **grid: Any) -> Observed:
    return result_of(Pt2e(StaticGrid(**grid)).observe(source_of(network, folder)))


def logits_of(quantized: Quantized) -> np.ndarray:
    assert isinstance(quantized.network, nn.Module)
    return float_logits(copy.deepcopy(quantized.network))


def inputs_of(network: nn.Module, layer: str) -> np.ndarray:
    seen: list[torch.Tensor] = []
    handle = network.get_submodule(layer).register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.inference_mode():
        network(torch.from_numpy(X))
    handle.remove()
    return seen[0].numpy()


def test_scales_zero_points_and_integers_are_those_of_the_formula(network: nn.Module, tmp_path: Path) -> None:
    quantized = observed(network, tmp_path).quantize(dict.fromkeys(LAYERS, 8))
    state = dict(quantized.network.named_buffers())  # type: ignore[union-attr]
    assert set(quantized.grids) == set(LAYERS)
    for layer in LAYERS:
        weight = network.get_submodule(layer).weight.detach().numpy()  # type: ignore[union-attr,operator]
        scale = np.abs(weight).reshape(len(weight), -1).max(1) / 127
        grid = quantized.grids[layer]
        np.testing.assert_allclose(grid.weight.scale, scale, rtol=1e-5)
        assert not grid.weight.zero_point.any()
        integers = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
        assert np.mean(integers != state[f"{layer}.weight_int8"].numpy()) < 1e-2, "but for ties"
        x = inputs_of(network, layer)
        low, high = min(0.0, x.min()), max(0.0, x.max())
        assert grid.input is not None
        np.testing.assert_allclose(grid.input.scale, (high - low) / 255, rtol=1e-5)
        assert grid.input.zero_point == np.rint(-low / grid.input.scale)
        assert (grid.input.low, grid.input.high) == (0, 255)


def test_what_computes_is_what_the_grids_say(network: nn.Module, tmp_path: Path) -> None:
    """Beyond the layers' own inputs the sum of the branches is rounded, which the twin does not know."""
    quantized = observed(network, tmp_path).quantize(dict.fromkeys(LAYERS, 8))
    expected = float_logits(network)
    answer = logits_of(quantized)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(answer, float_logits(twin(network, quantized.grids)), atol=0.01 * largest)
    np.testing.assert_allclose(answer, expected, atol=0.03 * largest)
    assert np.abs(answer - expected).max() > 1e-4 * largest


def test_a_scale_for_the_whole_tensor_is_repeated_for_each_channel(network: nn.Module, tmp_path: Path) -> None:
    quantized = observed(network, tmp_path, per_channel=False).quantize(dict.fromkeys(LAYERS, 8))
    for layer in LAYERS:
        weight = network.get_submodule(layer).weight.detach().numpy()  # type: ignore[union-attr,operator]
        scale = quantized.grids[layer].weight.scale
        assert scale.shape == (len(weight),)
        np.testing.assert_allclose(scale, np.abs(weight).max() / 127, rtol=1e-5)


def test_seven_bit_weights_stay_within_63(network: nn.Module, tmp_path: Path) -> None:
    quantized = observed(network, tmp_path, seven_bit_weights=True).quantize({"left": 8})
    weight, grid = network.get_submodule("left").weight, quantized.grids["left"].weight
    assert (grid.low, grid.high) == (-63, 63)
    np.testing.assert_allclose(grid.scale, np.abs(weight.detach().numpy()).reshape(8, -1).max(1) / 63, rtol=1e-5)  # type: ignore[union-attr,operator]
    integers = dict(quantized.network.named_buffers())["left.weight_int8"]  # type: ignore[union-attr]
    assert integers.abs().max() == 63


def test_mse_cuts_off_an_outlier_for_a_smaller_error(network: nn.Module, tmp_path: Path) -> None:
    x = np.tile(X, (32, 1, 1, 1))
    x[0, 0, 0, 0] = 20  # one of half a million values that reach 2
    source = Source(network, LAYERS, CONTRACT, x, "cnn", tmp_path, 1)
    errors = []
    for method in METHODS:
        grid = result_of(Pt2e(StaticGrid(method=method)).observe(source)).quantize({"stem": 8}).grids["stem"].input
        assert grid is not None
        errors.append(np.mean((rounded(torch.from_numpy(x), grid).numpy() - x) ** 2))
    minmax, mse = errors
    assert mse < 0.85 * minmax


def test_every_layer_can_be_left_in_float(network: nn.Module, tmp_path: Path) -> None:
    calibrated = observed(network, tmp_path)
    everything = calibrated.quantize(dict.fromkeys(LAYERS, 8))
    before = logits_of(everything)
    for kept in LAYERS:
        some = calibrated.quantize({layer: 8 for layer in LAYERS if layer != kept})
        assert set(some.grids) == set(LAYERS) - {kept}
        state = dict(some.network.named_parameters())  # type: ignore[union-attr]
        assert torch.equal(state[f"{kept}.weight"], network.get_submodule(kept).weight)  # type: ignore[arg-type]
        for layer in some.grids:
            np.testing.assert_array_equal(some.grids[layer].weight.scale, everything.grids[layer].weight.scale)
            np.testing.assert_allclose(some.grids[layer].input.scale, everything.grids[layer].input.scale, rtol=1e-6)  # type: ignore[union-attr]
        assert np.abs(logits_of(some) - before).max() > 0
    np.testing.assert_array_equal(logits_of(calibrated.quantize(dict.fromkeys(LAYERS, 8))), before)
    np.testing.assert_array_equal(logits_of(everything), before)
    nothing = calibrated.quantize({})
    assert not nothing.grids
    np.testing.assert_allclose(logits_of(nothing), float_logits(network), atol=1e-5)


def test_no_float_copy_of_a_quantized_weight_is_left(network: nn.Module, tmp_path: Path) -> None:
    state = observed(network, tmp_path).quantize({"left": 8, "head": 8}).network.state_dict()  # type: ignore[union-attr]
    assert {name for name in state if name.endswith(".weight")} == {"stem.weight", "right.weight"}
    assert state["left.weight_int8"].dtype == torch.int8


def test_the_linear_layers_of_a_transformer_are_quantized(tmp_path: Path) -> None:
    network = TinyTransformer().eval()
    layers = tuple(layers_of(network, torch.from_numpy(X[:1])))
    source = Source(network, layers, CONTRACT, X, "transformer", tmp_path, 1)
    quantized = result_of(Pt2e(StaticGrid()).observe(source)).quantize(dict.fromkeys(layers, 8))
    assert set(quantized.grids) == set(layers)
    expected = float_logits(network)
    np.testing.assert_allclose(logits_of(quantized), expected, atol=0.1 * np.abs(expected).max())


class Twice(nn.Module):
    """One layer used at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.again(torch.relu(self.again(torch.relu(self.stem(x))))))
        return self.head(features.mean((2, 3)))


def test_a_layer_that_is_used_twice_is_quantized_at_both_places(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Twice().eval()
    quantized = observed(network, tmp_path).quantize({"stem": 8, "again": 8, "head": 8})
    assert set(quantized.grids) == {"stem", "again", "head"}
    expected = float_logits(network)
    np.testing.assert_allclose(logits_of(quantized), expected, atol=0.05 * np.abs(expected).max())


def test_calibration_tells_how_far_it_is_and_leaves_the_network_alone(network: nn.Module, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    events, _ = events_and_result(Pt2e(StaticGrid()).observe(source_of(network, tmp_path)))
    progress = [event.done for event in events if isinstance(event, Progress)]
    assert progress[0] == 0
    assert progress[-1] == len(X)
    assert progress == sorted(progress)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_refusals_give_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert why_refused(StaticGrid(), BF16_CPU) is None
    assert why_refused(StaticGrid(method="mse", per_channel=False, seven_bit_weights=True), BF16_CPU) is None
    assert "min-max or by MSE" in (why_refused(StaticGrid(method="entropy"), BF16_CPU) or "")
    assert "unsigned" in (why_refused(StaticGrid(symmetric=True), BF16_CPU) or "")
    assert "x86" in (why_refused(StaticGrid(), GPU) or "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "x86" in (why_refused(StaticGrid(), BF16_CPU) or "")


def test_nothing_is_printed_and_the_compilers_settings_stay(tmp_path: Path) -> None:
    code = f"""
import torch._inductor.config as compiler
before = compiler.pre_grad_custom_pass
from pathlib import Path
from tests.optimizers.quantization.test_pt2e import Residual, observed
observed(Residual().eval(), Path({str(tmp_path)!r})).quantize({{"stem": 8}})
assert compiler.pre_grad_custom_pass is before
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
