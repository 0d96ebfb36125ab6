"""What PyTorch's two runtimes promise for networks in few bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sample_models
from core.bundle import ModelBundle, Situation
from core.devices import Device
from core.errors import CannotCompose
from core.macs import count_macs
from runtimes import RUNTIMES, Artifact
from tests.runtimes.quantized import module_logits, quantized

EAGER = ["w8", "w4", "dynamic int8"]
PAIRS = [("pytorch", scheme) for scheme in EAGER] + [("torch_compile", scheme) for scheme in ["static int8", *EAGER]]


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not looked at closely here."""
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.1)
    monkeypatch.setattr("runtimes.layers_shared.WARM_UP_SECONDS", 0.0)


def export(bundle: ModelBundle, key: str, folder: Path, cpu: Device) -> Artifact:
    if reason := RUNTIMES[key].why_unavailable(cpu):
        pytest.skip(reason)
    return RUNTIMES[key].export(bundle, folder)


@pytest.mark.parametrize(("key", "scheme"), PAIRS)
def test_logits_are_those_of_the_module_for_batches_of_any_size(
    key: str, scheme: str, bundle: ModelBundle, cpu: Device, tmp_path: Path
) -> None:
    made = quantized(bundle, scheme, tmp_path)
    artifact = export(made, key, tmp_path, cpu)
    x = bundle.contract.prepare(bundle.data.test.pixels)
    expected = module_logits(made, x)
    # A value in the middle between two integers can go either way.
    atol = (0.02 if made.precision == "int8" else 1e-5) * np.abs(expected).max()
    settings = dict(torch._inductor.config.get_config_copy())
    with RUNTIMES[key].open(artifact, cpu, threads=1) as session:
        for batch in (1, 7, 3):
            np.testing.assert_allclose(session.run(x[:batch]), expected[:batch], atol=atol)
            session.bind(x[:batch])()
    assert dict(torch._inductor.config.get_config_copy()) == settings


def test_int8_is_compiled_once_for_each_batch_size_that_is_timed_and_not_for_smaller_ones(
    bundle: ModelBundle, cpu: Device, tmp_path: Path
) -> None:
    artifact = export(quantized(bundle, "static int8", tmp_path), "torch_compile", tmp_path, cpu)
    x = bundle.contract.prepare(bundle.data.test.pixels)
    with RUNTIMES["torch_compile"].open(artifact, cpu, threads=1) as session:
        infer = session.bind(x)
        with torch._dynamo.config.patch(error_on_recompile=True):
            for batch in (1, 7, 2, 5):
                assert len(session.run(x[:batch])) == batch
            session.bind(x)()
            infer()


@pytest.mark.parametrize(
    ("scheme", "key", "share"),
    [("static int8", "resnet_fmnist", 0.27), ("w8", "vit_fmnist", 0.31), ("w4", "vit_fmnist", 0.21)],
)
def test_files_are_small_and_name_no_file_of_this_machine(
    scheme: str, key: str, share: float, cpu: Device, tmp_path: Path
) -> None:
    bundle = sample_models.load(key)
    runtime = "torch_compile" if scheme == "static int8" else "pytorch"
    sizes = []
    for each in (bundle, quantized(bundle, scheme, tmp_path)):
        artifact = export(each, runtime, tmp_path, cpu)
        program = torch.export.load(artifact.main_file)
        assert not any("stack_trace" in node.meta for node in program.graph_module.graph.nodes)
        sizes.append(artifact.size_bytes)
    assert sizes[1] < share * sizes[0]


def test_compiled_int8_shows_kernels_of_integers(cpu: Device, tmp_path: Path) -> None:
    bundle = sample_models.load("student_dw_fmnist")
    artifact = export(quantized(bundle, "static int8", tmp_path), "torch_compile", tmp_path, cpu)
    x = bundle.contract.prepare(bundle.data.test.pixels[:2])
    profile = RUNTIMES["torch_compile"].profile(artifact, cpu, threads=1, x=x)
    assert profile.macs == 2 * count_macs(bundle.module, bundle.contract)
    assert {layer.precision for layer in profile.of("compute")} == {"int8"}
    assert [layer.groups for layer in profile.of("compute")] == [1, 16, 1, 32, 1, 64, 1, 1]
    assert profile.of("compute")[-1].channels == (64, 10)


@pytest.mark.parametrize(("scheme", "precision"), [("w8", "fp32"), ("w4", "fp32"), ("dynamic int8", "int8")])
def test_eager_layers_show_what_they_multiply(scheme: str, precision: str, cpu: Device, tmp_path: Path) -> None:
    bundle = sample_models.load("vit_fmnist")
    artifact = export(quantized(bundle, scheme, tmp_path), "pytorch", tmp_path, cpu)
    x = bundle.contract.prepare(bundle.data.test.pixels[:2])
    profile = RUNTIMES["pytorch"].profile(artifact, cpu, threads=1, x=x)
    assert profile.macs == 2 * count_macs(bundle.module, bundle.contract)
    (layer,) = (layer for layer in profile.of("compute") if layer.name == "blocks.0.mlp.fc1")
    assert layer.precision == precision
    assert layer.channels == (96, 192)


def test_the_sample_code_of_an_int8_file_runs_alone(bundle: ModelBundle, cpu: Device, tmp_path: Path) -> None:
    made = quantized(bundle, "static int8", tmp_path)
    artifact = export(made, "torch_compile", tmp_path, cpu)
    code = RUNTIMES["torch_compile"].sample_code(artifact)
    assert len(code.splitlines()) <= 40
    assert "import torchao" in code
    pixels = bundle.data.test.pixels
    expected = module_logits(made, bundle.contract.prepare(pixels)).argmax(1)
    np.savez(tmp_path / "samples.npz", pixels=pixels, labels=expected)
    (tmp_path / "classify.py").write_text(code)
    contract = {"shape": bundle.contract.shape, "mean": bundle.contract.mean, "std": bundle.contract.std}
    (tmp_path / "contract.json").write_text(json.dumps({**contract, "labels": bundle.contract.labels}))
    command = [sys.executable, "-I", "classify.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"100.0% of {len(pixels)} images right"


@pytest.mark.parametrize(
    ("key", "situation", "reason"),
    [
        ("pytorch", {"form": "openvino", "precision": "int8"}, "OpenVINO's form"),
        ("torch_compile", {"form": "openvino", "precision": "int8"}, "OpenVINO's form"),
        ("pytorch", {"precision": "int8", "applied": ("int8",)}, "in float"),
        ("pytorch", {"precision": "int8", "applied": ("distillation", "qat")}, "in float"),
    ],
)
def test_refusals_give_the_reason(key: str, situation: dict[str, object], reason: str, cpu: Device) -> None:
    known = {"family": "cnn", "train_images": 1, "classes": 2, "device": cpu, "runtime": key}
    with pytest.raises(CannotCompose, match=reason):
        RUNTIMES[key].check(Situation(**{**known, **situation}))  # type: ignore[arg-type]


def test_weights_in_few_bits_fit_both(cpu: Device) -> None:
    for key in ("pytorch", "torch_compile"):
        for precision in ("w8", "w4", "int8"):
            RUNTIMES[key].check(Situation("cnn", 1, 2, cpu, key, precision=precision, applied=("weight_only",)))
