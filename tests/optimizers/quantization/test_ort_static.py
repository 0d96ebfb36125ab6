from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from core.progress import Progress, result_of
from optimizers.quantization.clipping import least_error_range, squared_errors
from optimizers.quantization.folding import folded
from optimizers.quantization.ort_static import OrtStatic
from optimizers.quantization.quantizer import Observed, Quantized, StaticGrid
from optimizers.quantization.twin import outputs_of, rounded
from tests.optimizers.conftest import CLASSES, TinyNet, TinyTransformer, events_and_result
from tests.optimizers.quantization.sources import X, exported_once, float_logits, graph_of, logits_of, source_of


class OneConvolution(nn.Module):
    """Nothing that a graph optimiser could fold into the weights, whose channels differ widely in size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, CLASSES, 3)
        with torch.no_grad():
            self.conv.weight *= torch.tensor([0.01, 0.1, 1.0, 10.0]).view(-1, 1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).amax((2, 3))


class Mixture(nn.Module):
    """Convolutions, a normalisation that stays on its own, a product without a bias and a sum behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(1, 8, 3)
        self.norm = nn.GroupNorm(1, 8)
        self.b = nn.Conv2d(8, 8, 3)
        self.pool = nn.MaxPool2d(2)
        self.c = nn.Linear(128, CLASSES, bias=False)
        self.shift = nn.Parameter(torch.randn(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.b(torch.relu(self.norm(self.a(x))))))
        return self.c(x.flatten(1)) + self.shift


@pytest.fixture(autouse=True)
def export_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.onnx_export.export_onnx", exported_once)


@cache
def a_network(kind: Callable[[], nn.Module]) -> nn.Module:
    """Always the same of each kind; not to be changed."""
    torch.manual_seed(0)
    return kind().eval()


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    """The residual net with plausible statistics, BatchNorm folded."""
    torch.manual_seed(0)
    network = TinyNet()
    for _ in range(5):
        network(torch.randn(16, 1, 12, 12) * 2 + 1)
    return folded(network.eval(), torch.from_numpy(X[:2]))[0]


@pytest.fixture(scope="module")
def seen(tiny: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Observed]:
    """The residual net as observed with some settings; each is exported and looked at once."""

    @cache
    def once(**grid: Any) -> Observed:
        return observe(tiny, tmp_path_factory.mktemp("seen"), **grid)

    return once


TINY_LAYERS = dict.fromkeys(("stem.0", "block.0", "head"), 8)


def observe(network: nn.Module, folder: Path, family: str = "cnn", **grid: Any) -> Observed:
    return result_of(OrtStatic(StaticGrid(**grid)).observe(source_of(network, folder, family)))


def everywhere(network: nn.Module, folder: Path, family: str = "cnn", **grid: Any) -> Quantized:
    source = source_of(network, folder, family)
    return result_of(OrtStatic(StaticGrid(**grid)).observe(source)).quantize(dict.fromkeys(source.layers, 8))


def integers_of(quantized: Quantized, layer: str) -> NDArray[np.int8]:
    """A layer's stored weights [outputs, ...]."""
    graph = graph_of(quantized)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    (node,) = (node for node in graph.node if node.name == layer)
    stored = constants[makers[node.input[1]].input[0]]
    return stored.T if node.op_type == "MatMul" else stored


@pytest.mark.parametrize(("seven", "most"), [(False, 127), (True, 64)])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_lie_on_the_symmetric_grid_of_their_largest_value(
    tmp_path: Path, per_channel: bool, symmetric: bool, seven: bool, most: int
) -> None:
    network = a_network(OneConvolution)
    quantized = everywhere(network, tmp_path, per_channel=per_channel, symmetric=symmetric, seven_bit_weights=seven)
    grid = quantized.grids["conv"].weight
    weights = network.conv.weight.detach().numpy()
    largest = np.abs(weights).max((1, 2, 3)) if per_channel else np.abs(weights).max()
    np.testing.assert_allclose(grid.scale, largest / most, rtol=1e-5)
    assert (grid.bits, grid.low, grid.high) == (8, -most, most)
    assert grid.zero_point.shape == grid.scale.shape == ((CLASSES,) if per_channel else ())
    assert not grid.zero_point.any()
    stored = integers_of(quantized, "conv")
    assert stored.dtype == np.int8
    expected = np.clip(np.rint(weights / grid.scale.reshape(-1, 1, 1, 1)), -most, most)
    np.testing.assert_allclose(stored, expected, atol=1)
    assert np.mean(stored == expected) > 0.95


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("family", ["cnn", "transformer"])
def test_every_layers_stored_weights_are_what_its_grid_says(tmp_path: Path, family: str, per_channel: bool) -> None:
    network = a_network(TinyTransformer) if family == "transformer" else a_network(Mixture)
    quantized = everywhere(network, tmp_path, family, per_channel=per_channel)
    assert set(quantized.grids) == set(source_of(network, tmp_path, family).layers)
    for name, grid in quantized.grids.items():
        weight = network.get_submodule(name).weight.detach()
        scale = grid.weight.scale.reshape(-1, *[1] * (weight.ndim - 1)) if grid.weight.scale.ndim else grid.weight.scale
        stored = integers_of(quantized, name) * scale
        moved = np.abs(rounded(weight, grid.weight).numpy() - stored) > 1e-6
        assert moved.mean() < 0.02, name


@pytest.mark.parametrize("symmetric", [False, True])
def test_min_max_activations_lie_on_the_grid_of_what_hooks_see(
    tiny: nn.Module, seen: Callable[..., Observed], symmetric: bool
) -> None:
    quantized = seen(symmetric=symmetric).quantize(TINY_LAYERS)
    inputs, _ = outputs_of(tiny, tuple(quantized.grids), torch.from_numpy(X))
    assert len(quantized.grids) == 3
    for name, grid in quantized.grids.items():
        assert grid.input is not None
        low, high = min(float(inputs[name].min()), 0), max(float(inputs[name].max()), 0)
        scale = max(-low, high) / 127 if symmetric else (high - low) / 255
        assert grid.input.scale == pytest.approx(scale, rel=1e-4), name
        assert grid.input.zero_point == (0 if symmetric else np.rint(-low / scale))
        assert (grid.input.low, grid.input.high) == ((-128, 127) if symmetric else (0, 255))


def test_symmetric_activations_leave_biases_in_float(seen: Callable[..., Observed]) -> None:
    kinds = {
        symmetric: {each.data_type for each in graph_of(seen(symmetric=symmetric).quantize(TINY_LAYERS)).initializer}
        for symmetric in (False, True)
    }
    assert onnx.TensorProto.INT32 in kinds[False]
    assert onnx.TensorProto.INT32 not in kinds[True]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("method", ["entropy", "percentile", "mse"])
def test_other_methods_stay_within_the_min_max_range(
    seen: Callable[..., Observed], method: str, symmetric: bool
) -> None:
    widest = seen(symmetric=symmetric).quantize(TINY_LAYERS).grids
    grids = seen(method=method, symmetric=symmetric).quantize(TINY_LAYERS).grids
    for name, grid in grids.items():
        assert grid.input is not None
        assert widest[name].input is not None
        for end in (grid.input.low, grid.input.high):
            reach = float((end - grid.input.zero_point) * grid.input.scale)
            limit = float((end - widest[name].input.zero_point) * widest[name].input.scale)  # type: ignore[union-attr]
            assert abs(reach) <= abs(limit) + float(widest[name].input.scale), (name, end)  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse"])
def test_one_bright_pixel_is_cut_off(tmp_path: Path, method: str) -> None:
    x = np.random.default_rng(0).normal(size=(2048, *X.shape[1:])).astype(np.float32)
    x[0, 0, 0, 0] = 10
    scales = {}
    for each in ("minmax", method):
        source = source_of(a_network(OneConvolution), tmp_path, x=x)
        grids = result_of(OrtStatic(StaticGrid(method=each)).observe(source)).quantize({"conv": 8}).grids  # type: ignore[arg-type]
        assert grids["conv"].input is not None
        scales[each] = float(grids["conv"].input.scale)
    assert scales[method] < 0.9 * scales["minmax"]


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_mse_range_is_as_good_as_the_best_found_by_trying_all_on_the_raw_values(
    tiny: nn.Module, seen: Callable[..., Observed], symmetric: bool
) -> None:
    quantized = seen(method="mse", symmetric=symmetric).quantize(TINY_LAYERS)
    inputs, _ = outputs_of(tiny, tuple(quantized.grids), torch.from_numpy(X))
    for name, grid in quantized.grids.items():
        values = inputs[name].numpy().astype(np.float64).ravel()
        best = min(
            _error_on(values, low, high, symmetric)
            for low in values.min() * np.linspace(0.05, 1, 40) * (values.min() < 0)
            for high in values.max() * np.linspace(0.05, 1, 40)
        )
        assert grid.input is not None
        scale, zero = float(grid.input.scale), float(grid.input.zero_point)
        integers = np.clip(np.rint(values / scale) + zero, grid.input.low, grid.input.high)
        assert np.sum(((integers - zero) * scale - values) ** 2) < 1.05 * best, name


def _error_on(values: NDArray[np.float64], low: float, high: float, symmetric: bool) -> float:
    """By the formulas, one value after the other."""
    if symmetric:
        scale, zero, first, last = max(-low, high) / 127, 0.0, -128, 127
    else:
        scale, first, last = (high - low) / 255, 0, 255
        zero = np.rint(-low / scale)
    integers = np.clip(np.rint(values / scale) + zero, first, last)
    return float(np.sum(((integers - zero) * scale - values) ** 2))


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_least_error_on_a_histogram_is_that_on_its_values(symmetric: bool) -> None:
    values = np.random.default_rng(1).standard_t(3, 20_000)
    end = np.abs(values).max()
    counts, edges = np.histogram(values, 8192, range=(-end, end))
    observed = (float(values.min()), float(values.max()))
    low, high = least_error_range(counts.astype(float), (edges[1:] + edges[:-1]) / 2, observed, symmetric=symmetric)
    found = _error_on(values, low, high, symmetric)
    shares = np.linspace(0.02, 1, 50)
    best = min(_error_on(values, a * observed[0], b * observed[1], symmetric) for a in shares for b in shares)
    assert found < 1.05 * best
    assert found < 0.97 * _error_on(values, *observed, symmetric)
    end = max(-low, high)
    ends = (-end, end) if symmetric else (low, high)
    errors = squared_errors(np.ones(len(values)), values, *np.array(ends)[:, None, None], symmetric=symmetric)
    assert errors == pytest.approx([found])


def test_evenly_spread_values_are_not_clipped() -> None:
    centres = np.linspace(0, 4, 5001)
    assert least_error_range(np.ones(5001), centres, (0.0, 4.0), symmetric=False) == (0.0, 4.0)


def test_a_tensor_of_zeros_has_some_range() -> None:
    assert least_error_range(np.array([9.0]), np.array([0.0]), (0.0, 0.0), symmetric=False) == (0.0, 0.0)


def test_a_kept_layer_is_float_in_the_graph(tiny: nn.Module, seen: Callable[..., Observed]) -> None:
    quantized = seen(symmetric=False).quantize({"stem.0": 8, "head": 8})
    graph = graph_of(quantized)
    assert set(quantized.grids) == {"stem.0", "head"}
    (node,) = (node for node in graph.node if node.name == "block.0")
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    weight = constants[node.input[1]]
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, tiny.get_submodule("block.0").weight.detach().numpy())


def test_quantizing_again_leaves_nothing_of_the_first_time(seen: Callable[..., Observed]) -> None:
    observed = seen(symmetric=False)
    first, second, third = (observed.quantize(bits) for bits in (TINY_LAYERS, {"head": 8}, TINY_LAYERS))
    assert set(second.grids) == {"head"}
    assert graph_of(first) == graph_of(third)
    np.testing.assert_array_equal(logits_of(first), logits_of(third))
    np.testing.assert_array_equal(first.grids["head"].weight.scale, second.grids["head"].weight.scale)
    assert np.abs(logits_of(first) - logits_of(second)).max() > 0


def test_observing_another_network_in_the_same_folder_changes_nothing_seen_before(tmp_path: Path) -> None:
    first, second = OneConvolution(), OneConvolution()
    with torch.no_grad():
        second.conv.weight += 1
    observed = observe(first, tmp_path)
    before = logits_of(observed.quantize({"conv": 8}))
    observe(second, tmp_path)
    np.testing.assert_array_equal(logits_of(observed.quantize({"conv": 8})), before)


def test_with_every_layer_in_float_nothing_is_converted(tmp_path: Path) -> None:
    for network, family in ((a_network(Mixture), "cnn"), (a_network(TinyTransformer), "transformer")):
        quantized = observe(network, tmp_path, family).quantize({})
        kinds = {node.op_type for node in graph_of(quantized).node}
        assert not kinds & {"QuantizeLinear", "DequantizeLinear"}
        assert not quantized.grids
        np.testing.assert_allclose(logits_of(quantized), float_logits(network), atol=1e-5)


def test_what_touches_only_kept_layers_is_not_converted_there_and_back(tmp_path: Path) -> None:
    quantized = observe(a_network(Mixture), tmp_path).quantize({"c": 8})
    graph = graph_of(quantized)
    makers = {name: node for node in graph.node for name in node.output}
    before = next(node for node in graph.node if node.name == "b")
    while before.input and before.input[0] in makers:
        before = makers[before.input[0]]
        assert before.op_type not in {"QuantizeLinear", "DequantizeLinear"}


def test_layers_keep_the_names_of_their_modules_whatever_is_fused(tmp_path: Path) -> None:
    network = a_network(Mixture)
    names = {node.name for node in graph_of(everywhere(network, tmp_path)).node}
    assert {"a", "b", "c"} <= names
    unfolded = a_network(TinyNet)
    assert set(everywhere(unfolded, tmp_path).grids) == {"stem.0", "block.0", "head"}


def test_a_product_of_activations_goes_with_the_layers_around_it(tmp_path: Path) -> None:
    network = a_network(TinyTransformer)
    observed = observe(network, tmp_path, "transformer")

    def products_in_8_bits(bits: dict[str, int]) -> set[str]:
        graph = graph_of(observed.quantize(bits))
        makers = {name: node.op_type for node in graph.node for name in node.output}
        return {
            node.name
            for node in graph.node
            if "/" in node.name and node.op_type == "MatMul" and makers[node.input[0]] == "DequantizeLinear"
        }

    assert products_in_8_bits({"blocks.0.attn.proj": 8, "head": 8}) == {"blocks.0.attn/0", "blocks.0.attn/1"}
    assert products_in_8_bits({"blocks.0.mlp.fc1": 8}) == set()


def test_only_the_layers_of_a_transformer_are_quantized(tmp_path: Path) -> None:
    graph = graph_of(everywhere(a_network(TinyTransformer), tmp_path, "transformer"))
    producers = {name: node.op_type for node in graph.node for name in node.output}
    sums = [producers[node.input[0]] for node in graph.node if node.op_type == "LayerNormalization"]
    assert sums == ["Add"] * 5, "the sum of a block and its shortcut stays in float"


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile", "mse"])
def test_the_graph_answers_nearly_as_the_network_did_for_any_batch(
    tiny: nn.Module, seen: Callable[..., Observed], method: str
) -> None:
    quantized = seen(method=method, symmetric=False).quantize(TINY_LAYERS)
    assert quantized.precision == "int8"
    logits, expected = logits_of(quantized), float_logits(tiny)
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
    assert np.abs(logits - expected).max() > 1e-6
    np.testing.assert_allclose(logits_of(quantized, X[:1]), logits_of(quantized, X)[:1], atol=1e-5)


def test_progress_counts_the_images(tiny: nn.Module, tmp_path: Path) -> None:
    source = source_of(tiny, tmp_path, x=X[:40])
    events, _ = events_and_result(OrtStatic(StaticGrid()).observe(source))
    assert [event.done for event in events if isinstance(event, Progress)] == [0, 16, 32, 40]


def test_nothing_is_printed_or_logged(
    tiny: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    everywhere(tiny, tmp_path, method="entropy")
    assert capsys.readouterr().out == ""
    assert not [record for record in caplog.records if record.name == "root"]


class Normalised(nn.Module):
    """Divides by a norm, whose shape ONNX Runtime's own inference does not find."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.normalize(self.conv(x).flatten(2), dim=-1).sum(2))


def test_shapes_that_onnxruntime_does_not_find_are_no_obstacle(tmp_path: Path) -> None:
    network = a_network(Normalised)
    done = result_of(OrtStatic(StaticGrid()).observe(source_of(network, tmp_path))).quantize({"conv": 8, "head": 8})
    assert done.grids.keys() == {"conv", "head"}
    wanted = float_logits(network)
    assert np.abs(logits_of(done) - wanted).max() < 0.05 * np.abs(wanted).max()
