"""Building engines needs no GPU with `tensorrt_rtx`; running them is in tests/gpu."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import sample_models
from core.bundle import ModelBundle, OnnxGraph
from core.data import InputContract
from core.devices import find_device
from core.errors import RunFailed
from core.onnx_export import export_onnx
from core.progress import result_of
from optimizers.quantization.folding import folded
from optimizers.quantization.modelopt_ import ModelOpt
from optimizers.quantization.modelopt_graph import Rounding
from optimizers.quantization.quantizer import Quantized, Quantizer, Source, StaticGrid, WeightGrid
from optimizers.quantization.selection import layers_of
from optimizers.quantization.tensorrt_weights import TensorRtWeights
from runtimes.onnx_file import onnx_bytes
from runtimes.tensorrt_ import TensorRtSettings
from runtimes.tensorrt_build import Order, build_engine
from runtimes.tensorrt_graph import graph_of
from sample_models.architectures import VisionTransformer
from tests.optimizers.conftest import CLASSES, TinyNet, TinyTransformer, bundle_of

needs_builder = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="building without a GPU needs tensorrt_rtx"
)
ADA = TensorRtSettings(build_for="SM89")


class Wide(nn.Module):
    """So many weights that kernels do not decide how large the engine is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 256, 3), nn.Conv2d(256, 256, 3)
        self.head = nn.Linear(256, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


def engine_bytes(graph: bytes, contract: InputContract, **wishes: Any) -> int:
    shape = (contract.channels, contract.height, contract.width)
    return len(build_engine(Order(graph, shape, ADA.target(find_device("cpu")), is_ahead=True, **wishes)).content)


@needs_builder
@pytest.mark.parametrize(("mib", "largest", "said"), [(1, 256, "no tactics"), (64, 1024, "OutOfMemory")])
def test_a_workspace_that_is_too_small_is_said_to_be(mib: int, largest: int, said: str) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(Wide().eval())
    graph = onnx_bytes(bundle, "fp32")
    with pytest.raises(RunFailed, match=rf"workspace of {mib} MiB: .*{said}.*Allow more workspace"):
        engine_bytes(graph, bundle.contract, workspace_mib=mib, batches=(1, 16, largest))
    assert engine_bytes(graph, bundle.contract, workspace_mib=512, batches=(1, 16, largest)) > 1000


@needs_builder
def test_what_the_parser_rejects_is_said_in_its_words_with_the_node(bundle: ModelBundle) -> None:
    graph = onnx.load_from_string(onnx_bytes(bundle, "fp32"))
    graph.graph.node[0].op_type = graph.graph.node[2].op_type = "NoSuchOperator"
    expected = rf"operator NoSuchOperator \(node {graph.graph.node[0].name}\), and 1 other node: .*no such operator"
    with pytest.raises(RunFailed, match=expected):
        engine_bytes(graph.SerializeToString(), bundle.contract)
    with pytest.raises(RunFailed, match="cannot read the graph: Failed to parse"):
        engine_bytes(b"no graph", bundle.contract)


@needs_builder
def test_what_the_gpu_cannot_compute_the_builder_refuses_by_name() -> None:
    """Turing has no bf16: https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/getting-started/support-matrix.html"""
    turing = TensorRtSettings(build_for="SM75").target(find_device("cpu"))
    graph = graph_of(replace(bundle_of(TinyNet().eval()), precision="bf16"))
    with pytest.raises(RunFailed, match=r"built no engine from the graph: .*sm75"):
        build_engine(Order(graph, (1, 12, 12), turing, is_ahead=True))


def quantized(quantizer: Quantizer, bundle: ModelBundle, folder: Path, *, bits: int = 8) -> Quantized:
    """What its quantizer makes of a bundle; ModelOpt's quantizer needs no GPU either."""
    module = bundle.module.eval()
    x = bundle.contract.prepare(bundle.data.calibrate.pixels[:16])
    network, _ = folded(module, torch.from_numpy(x))
    layers = tuple(layers_of(network, torch.from_numpy(x)))
    source = Source(network, layers, bundle.contract, x, bundle.family, folder, 1)
    return result_of(quantizer.observe(source)).quantize(dict.fromkeys(layers, bits))


def quantized_bytes(result: Quantized, bundle: ModelBundle) -> int:
    assert isinstance(result.network, OnnxGraph)
    return engine_bytes(result.network.content, bundle.contract)


@needs_builder
@pytest.mark.parametrize("rest", ["fp32", "fp16"])
@pytest.mark.parametrize("number_format", ["int8", "fp8"])
@pytest.mark.parametrize("family", ["cnn", "transformer"])
def test_engines_are_built_from_what_modelopt_writes(
    family: Any, number_format: Any, rest: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(TinyTransformer() if family == "transformer" else TinyNet(width=32), family)
    result = quantized(ModelOpt(StaticGrid(), rest=rest, number_format=number_format), bundle, tmp_path)
    assert result.grids
    assert quantized_bytes(result, bundle) > 1000


class Whole:
    """A whole network, exported once, as TensorRT is given it in every precision."""

    def __init__(self, network: nn.Module, contract: InputContract, family: Any, folder: Path) -> None:
        self.contract, self.network, self.float_graph = contract, network, folder / "exported.onnx"
        shape = (2, contract.channels, contract.height, contract.width)
        self.x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        merged, _ = folded(network.eval(), torch.from_numpy(self.x))
        layers = tuple(layers_of(merged, torch.from_numpy(self.x)))
        self.source = Source(merged, layers, contract, self.x, family, folder, 1)
        self.float_graph.write_bytes(export_onnx(merged, contract, name_layers=True))

    def graph(self, precision: Any) -> bytes:
        """What `graph_of` or ModelOpt's quantizer makes of it."""
        if precision == "fp16":
            return onnx_bytes(replace(bundle_of(self.network), contract=self.contract), precision)
        if precision == "fp32":
            return self.float_graph.read_bytes()
        bits = dict.fromkeys(self.source.layers, 8)
        rounding = Rounding(self.float_graph, self.source, precision, "max", "fp16")
        model, missing = rounding.rounded([self.x], bits, rounding.observed([self.x], bits))
        assert not missing
        assert rounding.grids(model, bits)
        content: bytes = model.SerializeToString()
        return content


OF_TORCH = [key for key, model in sample_models.MODELS.items() if model.form == "torch"]
STORED = {"fp32": 4, "fp16": 2, "int8": 1, "fp8": 1}
"""Bytes of a weight."""


@pytest.fixture(scope="module", params=[*OF_TORCH, "torchvision"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Bundled samples, and a ResNet of torchvision's bottlenecks, one a stage where ResNet-50 has more of the same.

    It has random weights and small images: its size proves nothing here.
    """
    folder = tmp_path_factory.mktemp(request.param)
    if request.param in OF_TORCH:
        bundle = sample_models.load(request.param)
        return Whole(bundle.module, bundle.contract, bundle.family, folder)
    from torchvision.models.resnet import Bottleneck, ResNet

    torch.manual_seed(0)
    classes = tuple(str(number) for number in range(1000))
    network = ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=16)
    return Whole(network, InputContract(3, 64, 64, (120.0,) * 3, (60.0,) * 3, classes), "cnn", folder)


@needs_builder
@pytest.mark.parametrize("precision", list(STORED))
def test_engines_of_whole_networks_are_built_in_every_precision(whole: Whole, precision: Any) -> None:
    """No engine can be smaller than its weights alone; kernels come on top."""
    weights = sum(parameter.numel() for parameter in whole.network.parameters() if parameter.ndim > 1)
    size = engine_bytes(whole.graph(precision), whole.contract, precision=precision)
    assert size >= STORED[precision] * weights


@needs_builder
@pytest.mark.parametrize("number_format", ["int8", "fp8"])
def test_weights_in_eight_bits_stay_so_in_the_engine(number_format: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(Wide())
    result = quantized(ModelOpt(StaticGrid(), rest="fp32", number_format=number_format), bundle, tmp_path)
    in_fp32 = engine_bytes(onnx_bytes(bundle, "fp32"), bundle.contract)
    weights = sum(parameter.numel() for parameter in bundle.module.parameters())
    assert in_fp32 - quantized_bytes(result, bundle) == pytest.approx(3 * weights, rel=0.2)


@needs_builder
@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, 0)])
def test_weights_in_few_bits_stay_so_in_the_engine(bits: int, group_size: int, tmp_path: Path) -> None:
    network = VisionTransformer(classes=CLASSES, dim=512, depth=1, num_heads=2)
    network.pos_embed = nn.Parameter(torch.randn(1, 9, 512))
    bundle = bundle_of(network, "transformer")
    grid = WeightGrid(group_size, symmetric=True, dynamic=False)
    in_few_bits = quantized_bytes(quantized(TensorRtWeights(grid), bundle, tmp_path, bits=bits), bundle)
    in_fp32 = engine_bytes(onnx_bytes(bundle, "fp32"), bundle.contract)
    weights = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear))
    scales = 4 * weights / group_size if group_size else 0
    assert in_fp32 - in_few_bits == pytest.approx((4 - bits / 8) * weights - scales, rel=0.1)
