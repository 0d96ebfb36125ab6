from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.data import InputContract
from core.progress import result_of
from optimizers.quantization.nncf_weights import NncfWeights, why_refused
from optimizers.quantization.quantizer import Quantized, Source, WeightGrid
from optimizers.quantization.twin import twin
from tests.optimizers.quantization.openvino_models import logits_of, stored_weights

SIDE, WIDTH = 8, 64
X = np.random.default_rng(0).normal(size=(32, 1, SIDE, SIDE)).astype(np.float32)


class Layers(nn.Module):
    """A table that is looked up, a convolution and three linear layers; 32 does not divide the inputs of the last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(4, WIDTH)
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.a, self.b, self.c = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 48), nn.Linear(48, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = (self.conv(x).flatten(1) + self.table((x[:, 0, 0, 0] > 0).long()))[:, None]
        return self.c(self.b(torch.tanh(self.a(tokens))))[:, 0]


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.flatten(1))


@cache
def quantized(kind: type[nn.Module], grid: WeightGrid, **bits: int) -> Quantized:
    contract = InputContract(1, SIDE, SIDE, (0.0,), (1.0,), tuple("abcd"))
    source = Source(kind().eval(), tuple(bits), contract, X, "transformer", Path(), 1)
    return result_of(NncfWeights(grid).observe(source)).quantize(bits)


def weight_of(name: str) -> np.ndarray:
    return Layers().get_submodule(name).weight.detach().numpy()  # type: ignore[union-attr,operator]


def in_groups(weight: np.ndarray, size: int) -> np.ndarray:
    return weight.reshape(len(weight), -1, size or weight.shape[1])


@pytest.mark.parametrize(("bits", "size"), [(8, 0), (4, 0), (4, 32)])
def test_symmetric_weights_reach_the_lowest_integer_with_a_scale_of_either_sign(bits: int, size: int) -> None:
    done = quantized(Layers, WeightGrid(size, True, False), a=bits)
    grid, weight = done.grids["a"].weight, in_groups(weight_of("a"), size)
    lowest = 2 ** (bits - 1)
    farthest = np.take_along_axis(weight, np.abs(weight).argmax(2)[..., None], 2)[..., 0]
    assert (grid.bits, grid.low, grid.high) == (bits, -lowest, lowest - 1)
    np.testing.assert_allclose(grid.scale.reshape(farthest.shape), -farthest / lowest, rtol=1e-3)
    assert not grid.zero_point.any()
    assert done.grids["a"].input is None


@pytest.mark.parametrize(("bits", "size"), [(8, 0), (4, 0), (4, 32)])
def test_asymmetric_weights_reach_from_the_smallest_to_the_largest(bits: int, size: int) -> None:
    grid = quantized(Layers, WeightGrid(size, False, False), a=bits).grids["a"].weight
    weight = in_groups(weight_of("a"), size)
    scale = (weight.max(2) - weight.min(2)) / (2**bits - 1)
    assert (grid.bits, grid.low, grid.high) == (bits, 0, 2**bits - 1)
    np.testing.assert_allclose(grid.scale.reshape(scale.shape), scale, rtol=1e-3)
    np.testing.assert_array_equal(grid.zero_point.reshape(scale.shape), np.round(-weight.min(2) / scale))


@pytest.mark.parametrize("is_symmetric", [True, False])
@pytest.mark.parametrize(("bits", "size"), [(8, 0), (4, 32)])
def test_stored_integers_are_the_nearest(bits: int, size: int, is_symmetric: bool) -> None:
    done = quantized(Layers, WeightGrid(size, is_symmetric, False), a=bits)
    kind, integers = stored_weights(done)["a"]
    assert kind == f"{'i' if is_symmetric else 'u'}{bits}"
    grid, weight = done.grids["a"].weight, in_groups(weight_of("a"), size)
    scale, zero_point = (each.reshape(*weight.shape[:2], 1) for each in (grid.scale, grid.zero_point))
    exact = weight / scale + zero_point
    expected = np.clip(np.round(exact), grid.low, grid.high)
    # Products of several dimensions are stored as [inputs, outputs], groups as [groups, inputs, outputs].
    stored = np.moveaxis(integers.reshape(*weight.shape[1:], -1), -1, 0)
    # The scale was rounded to float16 after the weights were.
    clear = np.abs(np.abs(exact - np.floor(exact)) - 0.5) > 0.1
    np.testing.assert_array_equal(stored[clear], expected[clear])
    assert clear.mean() > 0.7


def test_widths_are_mixed_in_one_network_and_everything_else_is_float() -> None:
    done = quantized(Layers, WeightGrid(32, True, False), a=8, b=4)
    kinds = {name: kind for name, (kind, _) in stored_weights(done).items()}
    assert kinds == {"conv": "f32", "a": "i8", "b": "i4", "c": "f32"}
    assert {name: grid.weight.bits for name, grid in done.grids.items()} == {"a": 8, "b": 4}
    assert done.precision == "w4"
    alone = quantized(Layers, WeightGrid(32, True, False), a=8)
    np.testing.assert_array_equal(stored_weights(done)["a"][1], stored_weights(alone)["a"][1])


def test_only_the_layers_asked_for_change() -> None:
    done = quantized(Layers, WeightGrid(0, True, False), b=8)
    assert b"Gather" in done.network.xml  # type: ignore[union-attr]
    assert {name for name, (kind, _) in stored_weights(done).items() if kind != "f32"} == {"b"}
    assert done.network.xml.count(b'precision="I8"') == 2  # type: ignore[union-attr]


def test_a_layer_whose_inputs_the_groups_do_not_divide_stays_in_float() -> None:
    assert set(quantized(Layers, WeightGrid(32, True, False), a=4, c=4).grids) == {"a"}
    assert set(quantized(Layers, WeightGrid(0, True, False), a=4, c=4).grids) == {"a", "c"}


def test_four_bits_are_for_linear_layers() -> None:
    assert set(quantized(Layers, WeightGrid(0, True, False), conv=4, a=4).grids) == {"a"}
    assert set(quantized(Layers, WeightGrid(0, True, False), conv=8, a=8).grids) == {"conv", "a"}


def answers(done: Quantized) -> np.ndarray:
    return logits_of(done, X)


def by_groups_of_32(x: np.ndarray) -> np.ndarray:
    rows = x.reshape(len(x), -1, 32)
    scale = np.abs(rows).max(2, keepdims=True) / 127
    return (np.round(rows / scale) * scale).reshape(len(x), -1)


@pytest.mark.parametrize("is_symmetric", [True, False])
def test_the_engine_leaves_activations_in_float_or_rounds_them_by_groups_as_the_file_says(is_symmetric: bool) -> None:
    plain = quantized(OneLayer, WeightGrid(0, is_symmetric, False), fc=8)
    dynamic = quantized(OneLayer, WeightGrid(0, is_symmetric, True), fc=8)
    assert (plain.precision, dynamic.precision) == ("w8", "int8")
    with torch.inference_mode():
        weight = twin(OneLayer(), plain.grids).fc.weight.numpy()  # type: ignore[union-attr,operator]
    rows = X.reshape(len(X), -1)
    in_float, rounded = rows @ weight.T, by_groups_of_32(rows) @ weight.T
    for done, near, far in ((plain, in_float, rounded), (dynamic, rounded, in_float)):
        assert np.abs(answers(done) - near).mean() < 0.5 * np.abs(answers(done) - far).mean()


@pytest.mark.parametrize(("bits", "size", "most"), [(8, 0, 0.03), (4, 32, 0.3)])
def test_answers_stay_close_to_the_float_network(bits: int, size: int, most: float) -> None:
    with torch.inference_mode():
        expected = Layers()(torch.from_numpy(X)).numpy()
    error = np.abs(answers(quantized(Layers, WeightGrid(size, True, False), a=bits, b=bits)) - expected).max()
    assert 0 < error < most * np.abs(expected).max()


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    quantized.__wrapped__(Layers, WeightGrid(32, True, False), a=8, b=4)
    assert capfd.readouterr() == ("", "")


def test_groups_of_8_bit_weights_are_refused_with_the_reason() -> None:
    assert why_refused(WeightGrid(32, True, False), bits=4) is None
    assert why_refused(WeightGrid(0, True, True), bits=8) is None
    assert "one scale a channel" in str(why_refused(WeightGrid(32, True, False), bits=8))
