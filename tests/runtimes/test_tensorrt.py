"""Building engines needs no GPU with `tensorrt_rtx`; running them is in tests/gpu."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sample_models
from core.bundle import ModelBundle, OnnxGraph, Situation
from core.data import InputContract
from core.devices import Device, find_device
from core.errors import CannotCompose, RunFailed
from core.progress import result_of
from optimizers.quantization.folding import folded
from optimizers.quantization.modelopt_ import ModelOpt
from optimizers.quantization.quantizer import Quantized, Quantizer, Source, StaticGrid, WeightGrid
from optimizers.quantization.selection import layers_of
from optimizers.quantization.tensorrt_weights import TensorRtWeights
from optimizers.sparsity.fours import with_pattern
from optimizers.sparsity.report import report_of
from runtimes import RUNTIMES
from runtimes.extras import EXTRAS
from runtimes.onnx_file import onnx_bytes
from runtimes.runtime import Artifact
from runtimes.tensorrt_ import TensorRt, TensorRtSettings, build_engine
from sample_models.architectures import VisionTransformer
from tests.optimizers.conftest import CLASSES, TinyNet, TinyTransformer, bundle_of

needs_builder = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None or importlib.util.find_spec("tensorrt") is not None,
    reason="building without a GPU needs tensorrt_rtx, and tensorrt would be taken first",
)


@needs_builder
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_is_built_for_a_named_gpu_without_one(bundle: ModelBundle, precision: str) -> None:
    engine = build_engine(onnx_bytes(bundle, precision), bundle.contract, capability="SM89")
    assert len(engine) > 1000


@needs_builder
def test_an_engine_may_be_built_to_skip_the_zeros_of_fours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which kernels it takes, the builder decides and does not say; that it was asked can be seen."""
    asked: list[bool] = []

    def build_and_note(onnx: bytes, contract: InputContract, *, capability: str, skips_fours: bool) -> bytes:
        asked.append(skips_fours)
        return build_engine(onnx, contract, capability=capability, skips_fours=skips_fours)

    monkeypatch.setattr("runtimes.tensorrt_.build_engine", build_and_note)
    runtime = TensorRt(TensorRtSettings(build_for="SM89"))
    torch.manual_seed(0)
    dense = bundle_of(Wide().eval())
    sparse = with_pattern(dense.module, ("second", "head"), torch.zeros(1, 1, 12, 12), by_error=False)
    report = report_of(sparse, "2:4", "by hand")
    bundles = (dense, replace(dense, network=sparse, sparsity=report, precision="fp16"))
    for number, bundle in enumerate(bundles):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert runtime.export(bundle, folder).size_bytes > 1000
    assert asked == [False, True]


@needs_builder
def test_what_the_parser_rejects_is_said_in_its_words(bundle: ModelBundle) -> None:
    import onnx

    graph = onnx.load_from_string(onnx_bytes(bundle, "fp32"))
    graph.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(RunFailed, match="NoSuchOperator"):
        build_engine(graph.SerializeToString(), bundle.contract, capability="SM89")


def test_on_a_cpu_it_is_unavailable_with_a_sentence() -> None:
    reason = RUNTIMES["tensorrt"].why_unavailable(find_device("cpu"))
    assert reason
    expected = "NVIDIA GPUs" if EXTRAS["tensorrt"].is_installed else EXTRAS["tensorrt"].command
    assert expected in reason


GPU = Device("cuda:0", "cuda", "a GPU", 2**34, compute_capability=(8, 6))
SITUATION = Situation("cnn", 0, 10, GPU, "tensorrt")


@pytest.mark.parametrize(
    ("form", "precision", "capability"),
    [
        ("torch", "fp32", (8, 6)),
        ("torch", "fp16", (8, 6)),
        ("onnx", "int8", (7, 5)),
        ("onnx", "w4", (8, 6)),
        ("onnx", "w8", (8, 6)),
        ("onnx", "fp8", (8, 9)),
        ("onnx", "nvfp4", (10, 0)),
    ],
)
def test_it_takes_what_its_own_quantizer_makes_and_the_gpu_multiplies(
    form: Any, precision: Any, capability: tuple[int, int]
) -> None:
    device = replace(GPU, compute_capability=capability)
    RUNTIMES["tensorrt"].check(replace(SITUATION, form=form, precision=precision, device=device))


@pytest.mark.parametrize(
    ("form", "precision", "reason"),
    [
        ("torch", "bf16", "bf16 for TensorRT"),
        ("torch", "int8", "zero points"),
        ("openvino", "int8", "zero points"),
        ("onnx", "fp8", "capability is 8.6; expected .* 8.9 .Ada, Hopper. or newer"),
        ("onnx", "nvfp4", "capability is 8.6; expected .* 10.0 .Blackwell. or newer"),
    ],
)
def test_the_rest_is_refused_with_the_reason(form: Any, precision: Any, reason: str) -> None:
    with pytest.raises(CannotCompose, match=reason):
        RUNTIMES["tensorrt"].check(replace(SITUATION, form=form, precision=precision))


def quantized(quantizer: Quantizer, bundle: ModelBundle, folder: Path, *, bits: int = 8) -> Quantized:
    """What its quantizer makes of a bundle; ModelOpt's quantizer needs no GPU either."""
    module = bundle.module.eval()
    x = bundle.contract.prepare(bundle.data.calibrate.pixels[:16])
    network, _ = folded(module, torch.from_numpy(x))
    layers = tuple(layers_of(network, torch.from_numpy(x)))
    source = Source(network, layers, bundle.contract, x, bundle.family, folder, 1)
    return result_of(quantizer.observe(source)).quantize(dict.fromkeys(layers, bits))


def engine_bytes(result: Quantized, bundle: ModelBundle) -> int:
    assert isinstance(result.network, OnnxGraph)
    return len(build_engine(result.network.content, bundle.contract, capability="SM89"))


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
    assert engine_bytes(result, bundle) > 1000


@needs_builder
def test_an_engine_of_a_whole_sample_is_built_in_int8_beside_fp16(tmp_path: Path) -> None:
    bundle = sample_models.load("resnet_fmnist")
    result = quantized(ModelOpt(StaticGrid(), rest="fp16"), bundle, tmp_path)
    layers = {name for name, module in bundle.module.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert layers - set(result.grids) == {"head"}, "ten classes are too few for tensor cores"
    assert engine_bytes(result, bundle) > 1000


class Wide(nn.Module):
    """So many weights that kernels do not decide how large the engine is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 256, 3), nn.Conv2d(256, 256, 3)
        self.head = nn.Linear(256, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


@needs_builder
@pytest.mark.parametrize("number_format", ["int8", "fp8"])
def test_weights_in_eight_bits_stay_so_in_the_engine(number_format: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(Wide())
    result = quantized(ModelOpt(StaticGrid(), rest="fp32", number_format=number_format), bundle, tmp_path)
    in_fp32 = len(build_engine(onnx_bytes(bundle, "fp32"), bundle.contract, capability="SM89"))
    weights = sum(parameter.numel() for parameter in bundle.module.parameters())
    assert in_fp32 - engine_bytes(result, bundle) == pytest.approx(3 * weights, rel=0.2)


@needs_builder
@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, 0)])
def test_weights_in_few_bits_stay_so_in_the_engine(bits: int, group_size: int, tmp_path: Path) -> None:
    network = VisionTransformer(classes=CLASSES, dim=512, depth=1, num_heads=2)
    network.pos_embed = nn.Parameter(torch.randn(1, 9, 512))
    bundle = bundle_of(network, "transformer")
    grid = WeightGrid(group_size, symmetric=True, dynamic=False)
    in_few_bits = engine_bytes(quantized(TensorRtWeights(grid), bundle, tmp_path, bits=bits), bundle)
    in_fp32 = len(build_engine(onnx_bytes(bundle, "fp32"), bundle.contract, capability="SM89"))
    weights = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear))
    scales = 4 * weights / group_size if group_size else 0
    assert in_fp32 - in_few_bits == pytest.approx((4 - bits / 8) * weights - scales, rel=0.1)


@needs_builder
def test_the_sample_code_is_short_and_compiles(tmp_path: Path) -> None:
    source = RUNTIMES["tensorrt"].sample_code(Artifact("tensorrt", "fp32", tmp_path, ("model.engine",)))
    compile(source, "run.py", "exec")
    assert len(source.splitlines()) <= 45
