"""What every runtime's profile promises: the network's arithmetic, the precision that ran, times that add up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import sample_models
from core.bundle import ModelBundle, Precision, Situation
from core.data import DataSplits, InputContract, Split
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.layers import BITS, LayerProfile
from core.macs import count_macs
from core.progress import result_of
from optimizers import TECHNIQUES, Context
from runtimes import RUNTIMES, Artifact
from runtimes.lowering import lowered

BATCH = 2
GPU = Device("cuda:0", "cuda", "Test GPU", 1 << 34, compute_capability=(8, 0))
ON_CPU = ["pytorch", "onnxruntime", "openvino"]
IN_ONNX = ["onnxruntime", "openvino"]


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not looked at closely here."""
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.1)
    monkeypatch.setattr("runtimes.layers_shared.WARM_UP_SECONDS", 0.0)


def profile_of(bundle: ModelBundle, runtime: str, cpu: Device, folder: Path) -> LayerProfile:
    if reason := RUNTIMES[runtime].why_unavailable(cpu):
        pytest.skip(reason)
    (folder := folder / runtime).mkdir()
    artifact = RUNTIMES[runtime].export(bundle, folder)
    x = bundle.contract.prepare(bundle.data.test.pixels[:BATCH])
    return RUNTIMES[runtime].profile(artifact, cpu, threads=1, x=x)


@pytest.fixture(scope="module")
def of_sample(cpu: Device, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], LayerProfile]:
    """The profile of a sample in a runtime, once for all tests: exporting takes longest."""

    @cache
    def profile(key: str, runtime: str) -> LayerProfile:
        return profile_of(sample_models.load(key), runtime, cpu, tmp_path_factory.mktemp(key))

    return profile


def quantized(bundle: ModelBundle, runtime: str, cpu: Device, folder: Path) -> ModelBundle:
    (folder := folder / "scratch").mkdir()
    context = Context(cpu, 1, 0, folder, sample_models.build_student, runtime=runtime)
    return result_of(TECHNIQUES["int8"](calibration_images=16).apply(bundle, context))


def pruned(bundle: ModelBundle, cpu: Device, folder: Path, **settings: object) -> ModelBundle:
    (folder := folder / "cut").mkdir()
    context = Context(cpu, 1, 0, folder, sample_models.build_student)
    return result_of(TECHNIQUES["structured_pruning"](epochs=0, **settings).apply(bundle, context))


def assert_adds_up(profile: LayerProfile) -> None:
    assert profile.batch_size == BATCH
    assert profile.calls >= 5
    assert 0 < profile.layers_ms < 3 * profile.call_ms
    assert all(layer.time_ms >= 0 for layer in profile.layers)
    assert LayerProfile.model_validate_json(profile.model_dump_json()) == profile


@pytest.mark.parametrize("runtime", ON_CPU)
@pytest.mark.parametrize("key", ["student_dw_fmnist", "student_cnn_fmnist", "vit_fmnist"])
def test_macs_are_those_of_the_network(key: str, runtime: str, of_sample: Callable[[str, str], LayerProfile]) -> None:
    bundle, profile = sample_models.load(key), of_sample(key, runtime)
    assert profile.macs == BATCH * count_macs(bundle.module, bundle.contract)
    assert {layer.precision for layer in profile.of("compute")} == {"fp32"}
    assert_adds_up(profile)


@pytest.mark.parametrize("runtime", IN_ONNX)
@pytest.mark.parametrize("key", ["student_dw_fmnist", "vit_fmnist"])
def test_an_int8_graph_multiplies_as_often_and_says_what_ran_in_8_bits(
    key: str, runtime: str, cpu: Device, tmp_path: Path
) -> None:
    bundle = sample_models.load(key)
    profile = profile_of(quantized(bundle, runtime, cpu, tmp_path), runtime, cpu, tmp_path)
    assert profile.macs == BATCH * count_macs(bundle.module, bundle.contract)
    layers = profile.of("compute")
    in_8_bits = [layer for layer in layers if layer.precision == "int8"]
    assert sum(layer.macs for layer in in_8_bits) > 0.5 * profile.macs
    if runtime == "onnxruntime":
        assert len(in_8_bits) == len(layers)
        assert {layer.op for layer in layers} <= {"QLinearConv", "QLinearMatMul", "QGemm"}
        assert {"QuantizeLinear", "DequantizeLinear"} <= {layer.op for layer in profile.of("conversion")}
        assert any(layer.precision == "fp32" for layer in profile.of("other"))
    assert_adds_up(profile)


@pytest.mark.parametrize("runtime", IN_ONNX)
def test_an_int8_weight_takes_a_quarter_of_the_bytes(
    runtime: str, of_sample: Callable[[str, str], LayerProfile], cpu: Device, tmp_path: Path
) -> None:
    bundle = sample_models.load("student_cnn_fmnist")
    before = of_sample("student_cnn_fmnist", runtime)
    after = profile_of(quantized(bundle, runtime, cpu, tmp_path), runtime, cpu, tmp_path)
    wide, narrow = ({layer.name: layer for layer in each.of("compute")}["features.6"] for each in (before, after))
    assert wide.weight_bytes == pytest.approx(4 * 48 * 32 * 9, rel=0.01)
    assert narrow.weight_bytes == pytest.approx(48 * 32 * 9, rel=0.1)
    assert narrow.input_bytes == wide.input_bytes / 4


@pytest.mark.parametrize("runtime", ON_CPU)
def test_layers_carry_the_names_and_widths_of_the_modules(
    runtime: str, of_sample: Callable[[str, str], LayerProfile]
) -> None:
    bundle, profile = sample_models.load("student_dw_fmnist"), of_sample("student_dw_fmnist", runtime)
    found = {layer.name: (layer.channels, layer.groups) for layer in profile.of("compute")}
    expected = {
        name: ((part.in_channels, part.out_channels), part.groups)
        for name, part in bundle.module.named_modules()
        if isinstance(part, nn.Conv2d)
    }
    assert found == {**expected, "head": ((64, 10), 1)}
    shapes = shapes_of(bundle.module, np.zeros((BATCH, *bundle.contract.shape), np.float32))
    assert {layer.name: layer.output_shape for layer in profile.of("compute")} == {name: shapes[name] for name in found}


def shapes_of(network: nn.Module, x: np.ndarray[Any, Any]) -> dict[str, tuple[int, ...]]:
    """What each module's output has, by its name, as PyTorch's own hooks see it."""
    shapes: dict[str, tuple[int, ...]] = {}
    names = {part: name for name, part in network.named_modules()}
    hook = nn.modules.module.register_module_forward_hook(
        lambda part, _, output: shapes.update({names[part]: tuple(output.shape)})
    )
    with torch.no_grad(), hook:
        network(torch.from_numpy(x))
    return shapes


@pytest.mark.parametrize("runtime", ON_CPU)
def test_padded_channels_are_not_counted_as_multiplications(runtime: str, cpu: Device, tmp_path: Path) -> None:
    bundle = pruned(sample_models.load("student_cnn_fmnist"), cpu, tmp_path, ratio=0.3, round_to=1)
    profile = profile_of(bundle, runtime, cpu, tmp_path)
    assert profile.macs == BATCH * count_macs(bundle.module, bundle.contract)
    assert {layer.channels for layer in profile.of("compute")} == {(1, 11), (11, 22), (22, 33), (33, 10)}
    assert [layer.output_shape[1] for layer in profile.of("compute") if layer.output_shape] == [11, 22, 33, 10]


def test_onnxruntime_shows_the_padding_of_its_blocked_convolutions(
    of_sample: Callable[[str, str], LayerProfile], cpu: Device, tmp_path: Path
) -> None:
    whole = of_sample("student_cnn_fmnist", "onnxruntime")
    assert [layer.padding for layer in whole.of("compute")] == [0.0] * 4
    if "avx2" not in cpu.cpu_flags:
        pytest.skip("ONNX Runtime blocks channels on x86 CPUs only")
    bundle = pruned(sample_models.load("student_cnn_fmnist"), cpu, tmp_path, ratio=0.3, round_to=4)
    profile = profile_of(bundle, "onnxruntime", cpu, tmp_path)
    blocked = [layer for layer in profile.of("compute") if layer.op == "Conv" and layer.channels[1] % 8]
    assert blocked
    assert all(0 < layer.padding < 0.8 for layer in blocked)


@pytest.mark.parametrize("runtime", ["pytorch", "openvino"])
def test_bf16_is_seen_in_the_layers_that_ran_in_it(runtime: str, cpu: Device, tmp_path: Path) -> None:
    bundle = sample_models.load("student_cnn_fmnist")
    context = Context(cpu, 1, 0, tmp_path, sample_models.build_student)
    try:
        RUNTIMES[runtime].check(TECHNIQUES["mixed_precision"]().check(situation_of(bundle, cpu, runtime)))
    except CannotCompose as refusal:
        pytest.skip(str(refusal))
    bundle = result_of(TECHNIQUES["mixed_precision"]().apply(bundle, context))
    profile = profile_of(bundle, runtime, cpu, tmp_path)
    assert "bf16" in {layer.precision for layer in profile.of("compute")}
    if runtime == "pytorch":
        assert {layer.precision for layer in profile.of("compute")} == {"bf16"}
        assert [layer.op for layer in profile.of("conversion")] == ["aten.to.dtype"] * 2


def situation_of(bundle: ModelBundle, cpu: Device, runtime: str) -> Situation:
    return Situation(bundle.family, 1, 10, cpu, runtime)


class Mixture(nn.Module):
    """What the samples lack: dilation, a transposed convolution, a product of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.dilated = nn.Conv2d(3, 6, 3, dilation=2, groups=3)
        self.wider = nn.ConvTranspose2d(6, 4, 2, stride=2, bias=False)
        self.head = nn.Linear(4 * 16, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.wider(self.dilated(x)).flatten(2)
        mixed = torch.matmul(features, features.transpose(1, 2))
        return self.head(nn.functional.adaptive_avg_pool1d(features, 16).flatten(1)) + mixed.mean((1, 2))[:, None]


@pytest.mark.parametrize("runtime", ON_CPU)
def test_less_common_layers_are_counted_too(runtime: str, cpu: Device, tmp_path: Path) -> None:
    torch.manual_seed(0)
    contract = InputContract(3, 12, 12, (120.0,) * 3, (60.0,) * 3, tuple("abcde"))
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, 12, 12), np.uint8)
    split = Split(pixels, np.zeros((BATCH, 1), np.int64))
    bundle = ModelBundle("mixture", "cnn", Mixture().eval(), contract, DataSplits(split, split, split))
    profile = profile_of(bundle, runtime, cpu, tmp_path)
    positions, widened = 8 * 8, 16 * 16
    expected = 6 * 1 * 9 * positions + positions * 6 * 4 * 4 + 4 * 4 * widened + 4 * 16 * 5
    assert profile.macs == BATCH * expected == BATCH * count_macs(bundle.module, contract)


class Views(nn.Module):
    """Two views, a copy, and what is written where it is read."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turned = x.flatten(1).unsqueeze(2).transpose(1, 2)
        return nn.functional.relu(turned.squeeze(1)[:, :5].contiguous(), inplace=True)


def test_what_only_views_its_input_moves_no_bytes(cpu: Device, tmp_path: Path) -> None:
    contract = InputContract(3, 4, 4, (120.0,) * 3, (60.0,) * 3, tuple("abcde"))
    split = Split(np.zeros((BATCH, 3, 4, 4), np.uint8), np.zeros((BATCH, 1), np.int64))
    bundle = ModelBundle("views", "cnn", Views().eval(), contract, DataSplits(split, split, split))
    profile = profile_of(bundle, "pytorch", cpu, tmp_path)
    moved = {layer.op.removeprefix("aten.").split(".")[0]: layer.moved_bytes for layer in profile.layers}
    logits = BATCH * 5 * 4
    assert moved == {
        "flatten": 0, "unsqueeze": 0, "transpose": 0, "squeeze": 0, "slice": 0, "contiguous": 2 * logits,
        "relu_": 2 * logits,
    }  # fmt: skip


def test_onnxruntime_profiles_a_file_whose_nodes_have_no_names(cpu: Device, tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "kernel")
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    values = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 6, 6]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4]),
    ]
    graph = helper.make_graph(nodes, "unnamed", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "a.onnx")
    x = np.ones((BATCH, 1, 6, 6), np.float32)
    artifact = Artifact("onnxruntime", "fp32", tmp_path, ("a.onnx",))
    assert RUNTIMES["onnxruntime"].profile(artifact, cpu, threads=1, x=x).macs == BATCH * 4 * 9 * 16


def test_a_profile_leaves_the_artifact_and_torchs_threads_as_they_were(cpu: Device, tmp_path: Path) -> None:
    bundle, before = sample_models.load("student_dw_fmnist"), torch.get_num_threads()
    artifact = RUNTIMES["pytorch"].export(bundle, tmp_path)
    content = artifact.main_file.read_bytes()
    x = np.zeros((1, *bundle.contract.shape), np.float32)
    RUNTIMES["pytorch"].profile(artifact, cpu, threads=before + 1, x=x)
    assert (torch.get_num_threads(), [path.name for path in tmp_path.iterdir()]) == (before, ["model.pt2"])
    assert artifact.main_file.read_bytes() == content


def test_torch_compile_shows_fused_kernels_between_pytorchs_products(cpu: Device, tmp_path: Path) -> None:
    bundle = sample_models.load("student_dw_fmnist")
    profile = profile_of(bundle, "torch_compile", cpu, tmp_path)
    assert profile.macs == BATCH * count_macs(bundle.module, bundle.contract)
    assert [layer.op for layer in profile.of("compute")] == ["convolution"] * 7 + ["addmm"]
    assert [layer.groups for layer in profile.of("compute")] == [1, 16, 1, 32, 1, 64, 1, 1]
    shapes = [layer.output_shape for layer in profile.of("compute")]
    assert (shapes[0], shapes[1], shapes[-1]) == ((BATCH, 16, 28, 28), (BATCH, 16, 14, 14), (BATCH, 10))
    assert any("relu" in layer.op for layer in profile.of("other"))
    assert_adds_up(profile)


def test_onnxruntime_has_no_times_of_layers_on_a_gpu(cpu: Device, tmp_path: Path) -> None:
    artifact = RUNTIMES["onnxruntime"].export(sample_models.load("student_dw_fmnist"), tmp_path)
    with pytest.raises(Unavailable, match="only the time that launching each kernel took"):
        RUNTIMES["onnxruntime"].profile(artifact, GPU, threads=1, x=np.zeros((1, 1, 28, 28), np.float32))


def test_a_slow_layer_is_found(cpu: Device, tmp_path: Path) -> None:
    """One layer with a hundred times the arithmetic of the others takes most of the time, in every engine."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 64, 3), nn.Conv2d(64, 256, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(256, 5),
    ).eval()  # fmt: skip
    contract = InputContract(3, 24, 24, (120.0,) * 3, (60.0,) * 3, tuple("abcde"))
    split = Split(np.zeros((BATCH, 3, 24, 24), np.uint8), np.zeros((BATCH, 1), np.int64))
    bundle = ModelBundle("slow", "cnn", lowered(network, "fp32"), contract, DataSplits(split, split, split))
    for runtime in ON_CPU:
        profile = profile_of(bundle, runtime, cpu, tmp_path)
        slowest = max(profile.layers, key=lambda layer: layer.time_ms)
        assert (slowest.name, slowest.channels) == ("2", (64, 256)), runtime
        assert slowest.time_ms > 0.5 * profile.layers_ms


def test_every_precision_of_a_bundle_is_known_to_the_profile() -> None:
    assert set(get_args(Precision)) <= BITS.keys()
