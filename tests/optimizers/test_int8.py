from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from core.bundle import ModelBundle, OnnxGraph
from core.data import DataSplits
from core.devices import Device
from core.errors import BadInput, NothingDone
from core.progress import Note, Progress, result_of
from optimizers.int8 import Int8
from optimizers.technique import Context
from tests.optimizers.conftest import CLASSES, DATA, bundle_of, events_and_result

CALIBRATION = DATA.calibrate.take(48)


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


class Quantized:
    """The 8-bit tensors and grids of a graph with one convolution."""

    def __init__(self, bundle: ModelBundle) -> None:
        assert isinstance(bundle.network, OnnxGraph)
        graph = onnx.load_from_string(bundle.network.content).graph
        self.values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        makers = {name: node for node in graph.node for name in node.output}
        (convolution,) = (node for node in graph.node if node.op_type == "Conv")
        self.x, self.weight = (makers[name] for name in convolution.input[:2])

    def read(self, node: onnx.NodeProto, index: int) -> np.ndarray[Any, Any]:
        return self.values[node.input[index]]


def quantize(network: nn.Module, context: Context, family: str = "cnn", **settings: Any) -> ModelBundle:
    return result_of(Int8(calibration_images=48, **settings).apply(bundle_of(network, family), context))


@pytest.mark.parametrize(("weight_range", "most"), [("full", 127), ("reduced", 64)])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_lie_on_the_symmetric_grid_of_their_largest_value(
    context: Context, per_channel: bool, weight_range: str, most: int
) -> None:
    network = OneConvolution()
    quantized = Quantized(quantize(network, context, per_channel=per_channel, weight_range=weight_range))
    weights = network.conv.weight.detach().numpy()
    largest = np.abs(weights).max((1, 2, 3)) if per_channel else np.abs(weights).max()
    scale, zero_point = quantized.read(quantized.weight, 1), quantized.read(quantized.weight, 2)
    np.testing.assert_allclose(scale, largest / most, rtol=1e-5)
    assert not zero_point.any()
    stored = quantized.read(quantized.weight, 0)
    assert stored.dtype == np.int8
    expected = np.clip(np.rint(weights / scale.reshape(-1, 1, 1, 1)), -most, most)
    np.testing.assert_allclose(stored, expected, atol=1)
    assert np.mean(stored == expected) > 0.95


def test_min_max_activations_lie_on_the_grid_of_what_was_observed(context: Context) -> None:
    bundle = bundle_of(OneConvolution())
    quantized = Quantized(quantize(bundle.module, context))
    x = bundle.contract.prepare(CALIBRATION.pixels)
    low, high = min(x.min(), 0), max(x.max(), 0)
    scale = quantized.read(quantized.x, 1)
    assert scale == pytest.approx((high - low) / 255, rel=1e-5)
    assert quantized.read(quantized.x, 2) == np.rint(-low / scale)
    assert quantized.read(quantized.x, 2).dtype == np.uint8


def test_symmetric_activations_have_zero_points_of_zero_and_float_biases(context: Context) -> None:
    result = quantize(OneConvolution(), context, symmetric=True)
    quantized = Quantized(result)
    assert quantized.read(quantized.x, 2) == 0
    assert quantized.read(quantized.x, 2).dtype == np.int8
    assert np.int32 not in {value.dtype for value in quantized.values.values()}


def test_percentile_cuts_off_what_min_max_covers(context: Context, tmp_path: Any) -> None:
    pixels = DATA.calibrate.pixels.copy()
    pixels[0, 0, 0, 0] = 255
    data = DataSplits(DATA.train, type(DATA.calibrate)(np.zeros_like(pixels) + 60, DATA.calibrate.labels), DATA.test)
    data.calibrate.pixels[0, 0, 0, 0] = 255
    bundle = bundle_of(OneConvolution(), data=data)
    scales = {}
    for method in ("minmax", "percentile"):
        folder = tmp_path / method
        folder.mkdir()
        here = Context(context.device, 1, 0, folder, context.build_network)
        quantized = Quantized(result_of(Int8(calibration_images=64, method=method).apply(bundle, here)))
        scales[method] = float(quantized.read(quantized.x, 1))
    assert scales["percentile"] < scales["minmax"]


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_the_graph_answers_nearly_as_the_network_did_for_any_batch(
    bundle: ModelBundle, context: Context, method: str
) -> None:
    result = result_of(Int8(calibration_images=48, method=method).apply(bundle, context))
    assert isinstance(result.network, OnnxGraph)
    session = onnxruntime.InferenceSession(result.network.content, providers=["CPUExecutionProvider"])
    x = bundle.contract.prepare(bundle.data.test.pixels)
    expected = bundle.module.eval()(torch.from_numpy(x)).detach().numpy()
    logits = session.run(["logits"], {"input": x})[0]
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(session.run(["logits"], {"input": x[:1]})[0], logits[:1], atol=1e-5)


def test_only_the_layers_of_a_transformer_are_quantized(transformer: ModelBundle, context: Context) -> None:
    events, result = events_and_result(Int8(calibration_images=48).apply(transformer, context))
    assert isinstance(result.network, OnnxGraph)
    graph = onnx.load_from_string(result.network.content).graph
    producers = {name: node.op_type for node in graph.node for name in node.output}
    sums = [producers[node.input[0]] for node in graph.node if node.op_type == "LayerNormalization"]
    assert sums == ["Add"] * 5, "the sum of a block and its shortcut stays in float"
    (note,) = [event for event in events if isinstance(event, Note)]
    layers = sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in graph.node)
    assert note.text.startswith(f"{layers} of {layers} layers quantized")
    observed = [event.done for event in events if isinstance(event, Progress)]
    assert observed == [0, 16, 32, 48]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"avx2"}, True), ({"avx2", "avx512_vnni"}, False), ({"avx2", "avx_vnni"}, False), ((), False)],
)
def test_seven_bits_are_for_cpus_that_could_overflow(flags: set[str], expected: bool) -> None:
    device = Device("cpu", "cpu", "some CPU", 2**30, cpu_flags=frozenset(flags))
    assert Int8()._uses_seven_bits(device) is expected
    assert Int8(weight_range="reduced")._uses_seven_bits(device)
    assert not Int8(weight_range="full")._uses_seven_bits(device)


def test_a_network_without_layers_is_not_called_quantized(context: Context) -> None:
    class NoLayers(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)).expand(-1, CLASSES) + torch.arange(CLASSES)

    with pytest.raises(NothingDone, match="0 of 0 layers"):
        quantize(NoLayers(), context)


def test_calibration_images_are_needed(context: Context) -> None:
    bundle = bundle_of(OneConvolution(), data=DataSplits(DATA.train, DATA.calibrate.take(0), DATA.test))
    with pytest.raises(BadInput, match="no calibration images"):
        result_of(Int8().apply(bundle, context))


def test_nothing_is_printed_or_logged(
    bundle: ModelBundle, context: Context, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    result_of(Int8(calibration_images=16, method="entropy").apply(bundle, context))
    assert capsys.readouterr().out == ""
    assert not [record for record in caplog.records if record.name == "root"]
