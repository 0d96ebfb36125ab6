"""What becomes of a network that is an OpenVINO model already: it ships as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from PIL import Image

from core.bundle import ModelBundle, OpenVinoModel
from core.devices import Device
from core.macs import count_macs
from core.progress import result_of
from optimizers.quantization.nncf_static import NncfStatic
from optimizers.quantization.nncf_weights import NncfWeights
from optimizers.quantization.quantizer import Quantizer, Source, StaticGrid, WeightGrid
from optimizers.quantization.selection import layers_of
from runtimes import RUNTIMES
from runtimes.onnx_file import onnx_bytes
from tests.runtimes.conftest import make_bundle
from tests.runtimes.test_every_runtime import run_program

RUNTIME = RUNTIMES["openvino"]


@pytest.fixture(scope="module", autouse=True)
def only_where_it_runs() -> None:
    if reason := RUNTIME.why_unavailable(Device("cpu", "cpu", "A CPU", 1)):
        pytest.skip(reason)


def quantized(quantizer: Quantizer, bits: dict[str, int] | None = None) -> ModelBundle:
    bundle = make_bundle()
    x = bundle.contract.prepare(bundle.data.test.pixels)
    network = bundle.module.eval()
    layers = tuple(layers_of(network, torch.from_numpy(x)))
    source = Source(network, layers, bundle.contract, x, "cnn", Path(), 1)
    done = result_of(quantizer.observe(source)).quantize(bits or dict.fromkeys(layers, 8))
    return replace(bundle, network=done.network, precision=done.precision)


@pytest.fixture(scope="module")
def int8() -> ModelBundle:
    return quantized(NncfStatic(StaticGrid()))


@pytest.fixture(scope="module")
def small_head() -> ModelBundle:
    """Weights of the linear layer in 4 bits, asymmetric, groups of 32."""
    return quantized(NncfWeights(WeightGrid(32, False, False)), {"head": 4})


def test_both_files_are_written_as_they_are(int8: ModelBundle, tmp_path: Path) -> None:
    artifact = RUNTIME.export(int8, tmp_path)
    assert isinstance(int8.network, OpenVinoModel)
    assert (artifact.precision, artifact.files) == ("int8", ("model.xml", "model.bin"))
    assert (tmp_path / "model.xml").read_bytes() == int8.network.xml
    assert (tmp_path / "model.bin").read_bytes() == int8.network.weights


@pytest.mark.parametrize("precision", ["int8", "w8", "w4"])
def test_what_is_not_small_is_computed_in_fp32(
    precision: str, int8: ModelBundle, cpu: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = RUNTIME.export(replace(int8, precision=precision), tmp_path)  # type: ignore[arg-type]
    with RUNTIME.open(artifact, cpu, threads=1) as session:
        hint = session._model.get_property("INFERENCE_PRECISION_HINT")  # type: ignore[attr-defined]
    assert hint == openvino.Type.f32
    assert '"INFERENCE_PRECISION_HINT": "f32"' in RUNTIME.sample_code(artifact)


@pytest.mark.parametrize(("is_dynamic", "group"), [(True, 32), (False, 0)])
def test_the_artifact_says_whether_activations_are_rounded(
    is_dynamic: bool, group: int, cpu: Device, tmp_path: Path
) -> None:
    bundle = quantized(NncfWeights(WeightGrid(0, True, is_dynamic)), {"head": 8})
    artifact = RUNTIME.export(bundle, tmp_path)
    with RUNTIME.open(artifact, cpu, threads=1) as session:
        assert session._model.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == group  # type: ignore[attr-defined]
    profile = RUNTIME.profile(artifact, cpu, threads=1, x=np.zeros((2, *bundle.contract.shape), np.float32))
    precisions = {layer.name: layer.precision for layer in profile.of("compute")}
    assert precisions["head"] == ("int8" if is_dynamic else "w8")


def test_the_profile_knows_the_layers_of_a_quantized_model(int8: ModelBundle, cpu: Device, tmp_path: Path) -> None:
    artifact = RUNTIME.export(int8, tmp_path)
    profile = RUNTIME.profile(artifact, cpu, threads=1, x=np.zeros((2, *int8.contract.shape), np.float32))
    layers = {layer.name: (layer.precision, layer.channels, layer.groups) for layer in profile.of("compute")}
    assert layers == {
        "stem.0": ("int8", (3, 8), 1),
        "block.0": ("int8", (8, 8), 4),
        "head": ("int8", (128, 10), 1),
    }
    plain = make_bundle()
    assert profile.macs == 2 * count_macs(plain.module, plain.contract)


def test_weights_in_4_bits_take_half_a_byte_each(small_head: ModelBundle, cpu: Device, tmp_path: Path) -> None:
    artifact = RUNTIME.export(small_head, tmp_path)
    profile = RUNTIME.profile(artifact, cpu, threads=1, x=np.zeros((2, *small_head.contract.shape), np.float32))
    head = next(layer for layer in profile.of("compute") if layer.name == "head")
    assert head.precision == "w4"
    assert 10 * 128 / 2 < head.weight_bytes < 10 * 128


def test_sample_code_classifies_with_a_quantized_model(int8: ModelBundle, cpu: Device, tmp_path: Path) -> None:
    artifact = RUNTIME.export(int8, tmp_path)
    pixels, contract = int8.data.test.pixels, int8.contract
    with RUNTIME.open(artifact, cpu, threads=1) as session:
        best = session.run(contract.prepare(pixels[:1])).argmax(1)[0]
    (tmp_path / "classify.py").write_text(RUNTIME.sample_code(artifact))
    said = {"shape": contract.shape, "mean": contract.mean, "std": contract.std, "labels": contract.labels}
    (tmp_path / "contract.json").write_text(json.dumps(said))
    Image.fromarray(pixels[0].transpose(1, 2, 0)).save(tmp_path / "image.png")
    assert run_program(tmp_path, "image.png").startswith(f"0: {contract.labels[best]} (")


def test_it_has_no_onnx_form(int8: ModelBundle) -> None:
    with pytest.raises(TypeError, match="no ONNX form"):
        onnx_bytes(int8, "fp32")


def test_the_file_of_a_float_network_holds_nothing_that_can_be_computed_beforehand(tmp_path: Path) -> None:
    artifact = RUNTIME.export(make_bundle(), tmp_path)
    model = openvino.Core().read_model(artifact.main_file)
    constant = {each.get_friendly_name() for each in model.get_ordered_ops() if each.get_type_name() == "Constant"}
    for each in model.get_ordered_ops():
        makers = {value.get_node().get_friendly_name() for value in each.input_values()}
        assert not makers or not makers <= constant, each
    assert "block.0.weight" in constant
