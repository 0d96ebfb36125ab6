"""What ModelOpt wrote, read back from its graphs; TensorRT reads the same graphs in tests/runtimes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization import calibrate
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from torch import nn

from core.bundle import Family, OnnxGraph
from core.progress import Progress, result_of
from optimizers.quantization.minifloat import FloatGrid
from optimizers.quantization.modelopt_ import ModelOpt, ModelOptObserved, why_refused
from optimizers.quantization.quantizer import LayerGrid, Quantized, Source, StaticGrid, TensorGrid
from optimizers.quantization.selection import layers_of
from tests.optimizers.conftest import CONTRACT, DATA, TinyTransformer, events_and_result

X = CONTRACT.prepare(DATA.calibrate.pixels)
WIDTH = 32
"""Below 17 channels ModelOpt leaves convolutions out of FP8."""


class Convolutions(nn.Module):
    """Two convolutions whose channels differ widely in size, a shortcut, and a head too narrow for tensor cores."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.wide, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)
        with torch.no_grad():
            self.second.weight *= torch.logspace(-2, 1, WIDTH).view(-1, 1, 1, 1)
            self.second.weight[3] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x).relu()
        return self.head(self.wide((first + self.second(first).relu()).mean((2, 3))).relu())


Observe = Callable[..., ModelOptObserved]


@pytest.fixture(scope="module")
def network() -> Convolutions:
    return Convolutions().eval()


@pytest.fixture(scope="module")
def observe(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Observe:
    """Observed once for all tests that ask for the same."""
    known: dict[tuple[str, ...], ModelOptObserved] = {}

    def observed(number_format: str = "int8", rest: str = "fp32", method: str = "minmax") -> ModelOptObserved:
        key = (number_format, rest, method)
        if key not in known:
            quantizer = ModelOpt(StaticGrid(method=method), rest=rest, number_format=number_format)  # type: ignore[arg-type]
            known[key] = result_of(quantizer.observe(source(network, tmp_path_factory.mktemp("modelopt"))))
        return known[key]

    return observed


def source(network: nn.Module, folder: Path, family: Family = "cnn") -> Source:
    layers = tuple(layers_of(network, torch.from_numpy(X[:2])))
    return Source(network, layers, CONTRACT, X, family, folder, 1)


class Graph:
    """The nodes and constants of a quantized graph."""

    def __init__(self, quantized: Quantized) -> None:
        assert isinstance(quantized.network, OnnxGraph)
        graph = onnx.load_from_string(quantized.network.content).graph
        self.nodes = {node.name: node for node in graph.node}
        self.values = {each.name: each for each in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}

    def maker(self, layer: str, index: int) -> Any:
        return self.makers.get(self.nodes[layer].input[index])

    def constant(self, node: Any, index: int) -> np.ndarray[Any, Any]:
        return np.asarray(numpy_helper.to_array(self.values[node.input[index]]))

    def is_float(self, layer: str) -> bool:
        return self.nodes[layer].input[1] in self.values


def logits(quantized: Quantized) -> np.ndarray[Any, Any]:
    assert isinstance(quantized.network, OnnxGraph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # In FP8 its optimiser takes the smallest code for 0 and drops a ReLU before it, which TensorRT does not.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(quantized.network.content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"input": X})[0])


def inputs_of(network: nn.Module, layer: str) -> np.ndarray[Any, Any]:
    seen: list[torch.Tensor] = []
    handle = network.get_submodule(layer).register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.inference_mode():
        network(torch.from_numpy(X))
    handle.remove()
    return seen[0].numpy()


ALL = {"first": 8, "second": 8, "wide": 8, "head": 8}


@pytest.mark.parametrize(("number_format", "top"), [("int8", 127), ("fp8", 448)])
def test_scales_make_the_largest_value_the_largest_number(
    number_format: str, top: float, network: Convolutions, observe: Observe
) -> None:
    quantized = observe(number_format).quantize(ALL)
    graph, grid = Graph(quantized), quantized.grids["second"]
    largest = np.abs(network.second.weight.detach().numpy()).max((1, 2, 3))
    expected = np.where(largest > 0, largest / top, 1)
    np.testing.assert_allclose(grid.weight.scale, expected, rtol=1e-5)
    np.testing.assert_array_equal(graph.constant(graph.maker("second", 1), 1), grid.weight.scale)
    assert grid.input
    assert grid.input.scale == pytest.approx(np.abs(inputs_of(network, "second")).max() / top, rel=1e-5)
    assert graph.constant(graph.maker("second", 0), 1) == grid.input.scale
    zero_points = [graph.constant(graph.maker("second", index), 2).astype(np.float32) for index in (0, 1)]
    assert not any(each.any() for each in (*zero_points, grid.weight.zero_point, grid.input.zero_point))


def test_int8_weights_are_the_nearest_integers(network: Convolutions, observe: Observe) -> None:
    quantized = observe().quantize(ALL)
    graph, scale = Graph(quantized), quantized.grids["second"].weight.scale.reshape(-1, 1, 1, 1)
    stored = graph.constant(graph.maker("second", 1), 0)
    assert stored.dtype == np.int8
    np.testing.assert_array_equal(stored, np.rint(network.second.weight.detach().numpy() / scale))
    assert (np.abs(stored.astype(int)).max((1, 2, 3)) == np.where(np.arange(WIDTH) == 3, 0, 127)).all()


def test_fp8_weights_are_the_nearest_numbers_of_e4m3(network: Convolutions, observe: Observe) -> None:
    quantized = observe("fp8").quantize(ALL)
    graph, grid = Graph(quantized), quantized.grids["second"].weight
    assert isinstance(grid, FloatGrid)
    stored = graph.constant(graph.maker("second", 1), 0).astype(np.float32)
    scaled = network.second.weight.detach() / torch.from_numpy(grid.scale).view(-1, 1, 1, 1)
    np.testing.assert_array_equal(stored, scaled.to(torch.float8_e4m3fn).float().numpy())
    assert np.abs(stored).max() == 448
    assert quantized.precision == "fp8"


def test_what_is_too_small_for_tensor_cores_is_not_called_quantized(observe: Observe) -> None:
    for number_format, expected in (("int8", ["first", "second", "wide"]), ("fp8", ["second", "wide"])):
        quantized = observe(number_format).quantize(ALL)
        graph = Graph(quantized)
        assert list(quantized.grids) == expected
        assert [name for name in ALL if not graph.is_float(name)] == expected


@pytest.mark.parametrize("number_format", ["int8", "fp8"])
def test_layers_that_are_left_out_stay_in_float_and_others_keep_their_scales(
    number_format: str, observe: Observe
) -> None:
    observed = observe(number_format)
    everything, one = observed.quantize(ALL), observed.quantize({"second": 8})
    graph = Graph(one)
    assert list(one.grids) == ["second"]
    assert [name for name in ALL if not graph.is_float(name)] == ["second"]
    for part in ("weight", "input"):
        np.testing.assert_array_equal(
            getattr(one.grids["second"], part).scale, getattr(everything.grids["second"], part).scale
        )
    again = observed.quantize(ALL)
    np.testing.assert_array_equal(logits(again), logits(everything))


def test_where_nothing_can_be_quantized_there_are_no_grids(observe: Observe) -> None:
    quantized = observe().quantize({"head": 8})
    assert not quantized.grids
    assert Graph(quantized).is_float("head")


@pytest.mark.parametrize("number_format", ["int8", "fp8"])
def test_the_rest_computes_in_fp16_where_asked(number_format: str, observe: Observe) -> None:
    graph = Graph(observe(number_format, "fp16").quantize(ALL))
    assert graph.values[graph.nodes["head"].input[1]].data_type == onnx.TensorProto.FLOAT16
    scales = {graph.constant(graph.maker("second", index), 1).dtype for index in (0, 1)}
    assert scales == {np.dtype(np.float16)}
    assert all(graph.constant(graph.maker("second", index), 1).all() for index in (0, 1)), "nothing is divided by 0"


def rounded(values: torch.Tensor, grid: TensorGrid | None) -> torch.Tensor:
    assert grid
    scale = torch.from_numpy(np.asarray(grid.scale)).reshape(-1, *[1] * (values.ndim - 1))
    if isinstance(grid, FloatGrid):
        return (values / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
    return (values / scale).round().clamp(grid.low, grid.high) * scale


def simulated(network: Convolutions, grids: Mapping[str, LayerGrid]) -> np.ndarray[Any, Any]:
    """What rounding on these grids gives, in float; the shortcut takes the rounded values that the layer takes."""
    copied, x = copy.deepcopy(network), torch.from_numpy(X)
    with torch.inference_mode():
        for name, grid in grids.items():
            layer: Any = copied.get_submodule(name)
            layer.weight.copy_(rounded(layer.weight, grid.weight))
        if "first" in grids:
            x = rounded(x, grids["first"].input)
        first = rounded(copied.first(x).relu(), grids["second"].input)
        mean = (first + copied.second(first).relu()).mean((2, 3))
        return np.asarray(copied.head(copied.wide(rounded(mean, grids["wide"].input)).relu()).numpy())


@pytest.mark.parametrize(("rest", "most"), [("fp32", 1e-5), ("fp16", 0.005)])
@pytest.mark.parametrize("number_format", ["int8", "fp8"])
def test_the_graph_answers_as_rounding_in_float_does(
    number_format: str, rest: str, most: float, network: Convolutions, observe: Observe
) -> None:
    quantized = observe(number_format, rest).quantize(ALL)
    given, expected = logits(quantized), simulated(network, quantized.grids)
    with torch.inference_mode():
        exact = network(torch.from_numpy(X)).numpy()
    assert given.dtype == np.float32
    # The median, because a value halfway between two numbers may go either way.
    assert np.median(np.abs(given - expected)) < most * np.abs(expected).max()
    assert np.median(np.abs(given - exact)) > 2 * np.median(np.abs(given - expected))


def test_entropy_may_cut_off_what_min_max_covers(observe: Observe) -> None:
    scales = {}
    for method in ("minmax", "entropy"):
        grid = observe(method=method).quantize(ALL).grids["wide"].input
        assert grid
        scales[method] = float(grid.scale)
    assert 0 < scales["entropy"] <= scales["minmax"]


def test_in_a_transformer_only_layers_and_products_are_rounded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = TinyTransformer().eval()
    given = source(network, tmp_path, "transformer")
    observed = result_of(ModelOpt(StaticGrid()).observe(given))
    quantized = observed.quantize(dict.fromkeys(given.layers, 8))
    graph = Graph(quantized)
    assert set(given.layers) - set(quantized.grids) == {"head"}
    rounded = [node for node in graph.nodes.values() if node.op_type == "QuantizeLinear"]
    readers = [
        node.op_type
        for node in graph.nodes.values()
        for name in node.input
        if (maker := graph.makers.get(name)) is not None and maker.op_type == "DequantizeLinear"
    ]
    assert rounded
    assert set(readers) <= {"Conv", "MatMul", "Gemm", "Transpose", "Reshape", "Mul"}
    with torch.inference_mode():
        expected = network(torch.from_numpy(X)).numpy()
    assert np.abs(logits(quantized) - expected).max() < 0.1 * np.abs(expected).max()


def test_onnx_runtimes_own_quantizer_stays_what_it_was_and_nothing_is_said(
    network: Convolutions, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = dict(QDQRegistry), dict(QLinearOpsRegistry), dict(vars(calibrate)), dict(vars(calibrate.MinMaxCalibrater))
    events, observed = events_and_result(ModelOpt(StaticGrid()).observe(source(copy.deepcopy(network), tmp_path)))
    observed.quantize(ALL)
    after = dict(QDQRegistry), dict(QLinearOpsRegistry), dict(vars(calibrate)), dict(vars(calibrate.MinMaxCalibrater))
    assert after == before
    assert capfd.readouterr().out == ""
    assert not [each for each in caplog.records if each.name == "root" or each.name.startswith("modelopt")]
    assert [event.done for event in events if isinstance(event, Progress)][-1] == len(X)


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        (StaticGrid(), None),
        (StaticGrid(method="entropy", symmetric=True), None),
        (StaticGrid(method="percentile"), "min-max or entropy"),
        (StaticGrid(method="mse"), "min-max or entropy"),
        (StaticGrid(per_channel=False), "scale per channel"),
        (StaticGrid(seven_bit_weights=True), "8 bits"),
    ],
)
def test_what_it_does_not_offer_is_refused_with_the_reason(grid: StaticGrid, reason: str | None) -> None:
    refused = why_refused(grid)
    assert refused is None if reason is None else reason in str(refused)
