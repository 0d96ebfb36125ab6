"""An artifact is its source network in every engine; one layer made wrong in its file is found by its name."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.bundle import ModelBundle, Precision
from core.data import Floats
from core.devices import find_device
from core.divergence import Divergence
from core.errors import Unavailable
from core.progress import Progress, result_of
from experiments.divergence import find_divergence, first_divergence, source_trace
from optimizers.quantization.folding import folded
from optimizers.quantization.nncf_static import NncfStatic
from optimizers.quantization.ort_static import OrtStatic
from optimizers.quantization.pt2e import Pt2e
from optimizers.quantization.quantizer import Quantizer, Source, StaticGrid
from optimizers.quantization.selection import layers_of
from profiling.fidelity import TOLERANCES, Fidelity, measure_fidelity, source_logits
from runtimes import RUNTIMES, Artifact
from tests.experiments.planting import spoil, spoil_values
from tests.optimizers.conftest import CLASSES, TinyTransformer, bundle_of, events_and_result

CPU = find_device("cpu")
QUANTIZERS: dict[str, Quantizer] = {
    "onnxruntime": OrtStatic(StaticGrid()),
    "openvino": NncfStatic(StaticGrid()),
    "torch_compile": Pt2e(StaticGrid()),
}


class Branching(nn.Module):
    """A stem, a residual block whose shortcut has a layer of its own, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)
        )
        self.shortcut = nn.Sequential(nn.Conv2d(16, 16, 1, stride=2), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = self.stem(x)
        return self.head((self.block(features) + self.shortcut(features)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def cnn() -> ModelBundle:
    torch.manual_seed(0)
    network = Branching()
    for _ in range(5):
        network(torch.randn(16, 1, 12, 12) * 2 + 1)
    return bundle_of(network.eval())


@pytest.fixture(scope="module")
def transformer() -> ModelBundle:
    torch.manual_seed(0)
    return bundle_of(TinyTransformer().eval(), "transformer")


def exported(bundle: ModelBundle, key: str, folder: Path) -> Artifact:
    if reason := RUNTIMES[key].why_unavailable(CPU):
        pytest.skip(reason)
    return RUNTIMES[key].export(bundle, folder)


def quantized(bundle: ModelBundle, key: str, folder: Path) -> ModelBundle:
    x = bundle.contract.prepare(bundle.data.calibrate.pixels)
    network, _ = folded(bundle.module, torch.from_numpy(x[:2]))
    layers = tuple(layers_of(network, torch.from_numpy(x[:2])))
    source = Source(network, layers, bundle.contract, x, bundle.family, folder, 1)
    made = result_of(QUANTIZERS[key].observe(source)).quantize(dict.fromkeys(layers, 8))
    return replace(bundle, network=made.network, precision=made.precision)


def divergence(bundle: ModelBundle, artifact: Artifact) -> Divergence:
    # Compiling for each tensor would take minutes; eager PyTorch computes the same program.
    runtime = RUNTIMES["pytorch" if artifact.runtime == "torch_compile" else artifact.runtime]
    tolerance = TOLERANCES[artifact.precision]
    return result_of(find_divergence(bundle, artifact, runtime, CPU, threads=1, tolerance=tolerance))


def fidelity(bundle: ModelBundle, artifact: Artifact) -> Fidelity:
    pixels = bundle.data.test.pixels
    expected = result_of(source_logits(bundle.module, pixels, bundle.contract))
    with RUNTIMES[artifact.runtime].open(artifact, CPU, threads=1) as session:
        found = result_of(measure_fidelity(session, expected, pixels, bundle.contract))
    return found.model_copy(update={"judged_as": artifact.precision})


@pytest.mark.parametrize("key", ["onnxruntime", "openvino", "pytorch", "torch_compile"])
@pytest.mark.parametrize("kind", ["cnn", "transformer"])
def test_in_fp32_every_engine_computes_the_source_network(
    key: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle: ModelBundle = request.getfixturevalue(kind)
    found = fidelity(bundle, exported(bundle, key, tmp_path))
    assert found.agreement == 1
    assert found.largest_difference < 1e-3
    assert not found.differs


@pytest.mark.parametrize("key", ["onnxruntime", "openvino", "pytorch"])
@pytest.mark.parametrize("module", ["stem.0", "block.3", "shortcut.0", "head"])
def test_a_layer_made_wrong_is_found_by_name(key: str, module: str, cnn: ModelBundle, tmp_path: Path) -> None:
    artifact = exported(cnn, key, tmp_path)
    spoil(artifact, module)
    assert fidelity(cnn, artifact).differs
    found = divergence(cnn, artifact)
    assert module in found.layers
    assert (
        len([name for name in found.layers if isinstance(cnn.module.get_submodule(name), nn.Conv2d | nn.Linear)]) == 1
    )
    assert not found.is_gradual
    assert module in found.verdict
    assert all(not each.diverges for each in found.probed if each.tensor in found.clean_before)


@pytest.mark.parametrize(
    ("key", "module"),
    [("onnxruntime", "blocks.1.attn.proj"), ("openvino", "blocks.0.mlp.fc1"), ("pytorch", "blocks.1.attn.qkv")],
)
def test_so_is_one_of_a_transformer(key: str, module: str, transformer: ModelBundle, tmp_path: Path) -> None:
    artifact = exported(transformer, key, tmp_path)
    if key == "pytorch":
        spoil(artifact, module)
    else:  # the exporter renames the weights of matrix products
        spoil_values(artifact, transformer.module.get_submodule(module).weight.detach().numpy())
    assert divergence(transformer, artifact).layers == (module,)


@pytest.mark.parametrize("key", QUANTIZERS)
@pytest.mark.parametrize("module", ["block.0", "shortcut.0"])
def test_a_layer_made_wrong_in_int8_is_told_from_rounding(
    key: str, module: str, cnn: ModelBundle, tmp_path: Path
) -> None:
    artifact = exported(quantized(cnn, key, tmp_path), key, tmp_path)
    assert artifact.precision == "int8"
    assert divergence(cnn, artifact).tensor == ""
    spoil(artifact, module)
    found = divergence(cnn, artifact)
    assert found.layers == (module,)
    assert found.relative is None or found.relative > 2 * found.tolerance


def test_a_scale_that_the_next_layer_undoes_is_no_divergence(transformer: ModelBundle, tmp_path: Path) -> None:
    """As SmoothQuant moves it from a LayerNorm into the layer behind; another layer is wrong, and is found."""
    smooth = copy.deepcopy(transformer.module)
    with torch.no_grad():
        for block in smooth.blocks:
            block.norm1.weight.mul_(4), block.norm1.bias.mul_(4)
            block.attn.qkv.weight.div_(4)
    artifact = exported(replace(transformer, network=smooth), "pytorch", tmp_path)
    assert not fidelity(transformer, artifact).differs
    assert divergence(transformer, artifact).tensor == ""
    spoil(artifact, "blocks.1.mlp.fc2")
    assert divergence(transformer, artifact).layers == ("blocks.1.mlp.fc2",)


def test_values_that_are_not_finite_diverge(cnn: ModelBundle, tmp_path: Path) -> None:
    broken = copy.deepcopy(cnn.module)
    with torch.no_grad():
        broken.block[3].bias[0] = float("nan")
    found = divergence(cnn, exported(replace(cnn, network=broken), "pytorch", tmp_path))
    assert found.layers == ("block.3",)
    assert found.relative is None


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_16_bits_are_compared_with_the_source_in_fp32(precision: Precision, cnn: ModelBundle, tmp_path: Path) -> None:
    artifact = exported(replace(cnn, precision=precision), "pytorch", tmp_path)
    clean = divergence(cnn, artifact)
    assert clean.tensor == ""
    assert 0 < clean.relative < TOLERANCES[precision]
    spoil(artifact, "network.shortcut.0")
    assert divergence(cnn, artifact).layers == ("shortcut.0",)


def test_the_search_says_what_it_is_doing(cnn: ModelBundle, tmp_path: Path) -> None:
    artifact = exported(cnn, "pytorch", tmp_path)
    spoil(artifact, "shortcut.0")
    steps = find_divergence(cnn, artifact, RUNTIMES["pytorch"], CPU, threads=1, tolerance=1e-3)
    events, found = events_and_result(steps)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[0].doing == "tracing the source network"
    assert [event.done for event in progress[1:]] == list(range(len(found.probed)))
    assert all(event.done < event.total for event in progress)
    assert found.tensor in {event.doing.rpartition(" ")[2] for event in progress}


def test_tensors_that_the_engine_fails_to_show_are_left_out(cnn: ModelBundle, tmp_path: Path) -> None:
    trace = source_trace(cnn, exported(cnn, "pytorch", tmp_path))
    x = cnn.contract.prepare(cnn.data.test.pixels[:2])

    def probe(name: str) -> tuple[Floats, Floats]:
        if name.startswith("conv2d"):
            raise RuntimeError("no such output")
        wanted = trace.compute(name, x)
        return wanted + (name == trace.output), wanted

    shown = trace.shown_by(trace.values)
    found = result_of(first_divergence(trace, shown, probe, images=2, tolerance=1e-3))
    assert found.layers == ("head",)
    assert found.comparable < len(shown)
    assert not any(each.tensor.startswith("conv2d") for each in found.probed)


def test_an_engine_that_shows_nothing_comparable_is_refused(cnn: ModelBundle, tmp_path: Path) -> None:
    trace = source_trace(cnn, exported(cnn, "pytorch", tmp_path))
    settings = {"images": 1, "tolerance": 1e-3}
    with pytest.raises(Unavailable, match="none of the intermediate results"):
        result_of(first_divergence(trace, (), lambda _name: (np.zeros(1), np.zeros(1)), **settings))
    with pytest.raises(Unavailable, match="has the shape"):
        result_of(first_divergence(trace, ("relu",), lambda _name: (np.zeros(1), np.zeros(2)), **settings))
