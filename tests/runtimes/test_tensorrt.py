"""The runtime around the builder: its settings, what it takes, and what lies beside an engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import runtimes.tensorrt_module
from core.bundle import ModelBundle, Situation
from core.devices import Device, find_device
from core.errors import CannotCompose, Unavailable
from core.progress import Event, Progress
from optimizers.sparsity.fours import with_pattern
from optimizers.sparsity.report import report_of
from runtimes import RUNTIMES
from runtimes.extras import EXTRAS
from runtimes.runtime import Aids, Artifact
from runtimes.tensorrt_ import TensorRt, TensorRtSettings
from runtimes.tensorrt_build import Order, build_engine
from runtimes.tensorrt_facts import read_facts
from tests.optimizers.conftest import bundle_of
from tests.runtimes.test_tensorrt_build import ADA, Wide, needs_builder


@needs_builder
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_an_engine_is_built_for_a_named_gpu_without_one(bundle: ModelBundle, precision: Any, tmp_path: Path) -> None:
    events: list[Event] = []
    runtime = TensorRt(TensorRtSettings(build_for="SM86", usual_batch=4, largest_batch=32, workspace_mib=512, effort=1))
    artifact = runtime.export(replace(bundle, precision=precision), tmp_path, Aids(report=events.append))
    assert artifact.files == ("model.engine", "engine.json")
    assert artifact.main_file.stat().st_size > 1000
    facts = read_facts(tmp_path)
    assert facts is not None
    assert (facts.module, facts.compute_capability, facts.is_ahead) == ("tensorrt_rtx", (8, 6), True)
    assert (facts.precision, facts.batches, facts.workspace_mib, facts.effort) == (precision, (1, 4, 32), 512, 1)
    assert isinstance(events[-1], Progress)
    assert events[-1].done == events[-1].total > 0
    assert json.loads((tmp_path / "engine.json").read_text())["version"] == facts.version


@needs_builder
def test_settings_reach_the_builder(bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it makes of them it does not say; that it was told can be seen."""
    asked: list[Order] = []

    def build_and_note(order: Order, aids: Aids) -> Any:
        asked.append(order)
        return build_engine(order, aids)

    monkeypatch.setattr("runtimes.tensorrt_.build_engine", build_and_note)
    torch.manual_seed(0)
    dense = bundle_of(Wide().eval())
    sparse = with_pattern(dense.module, ("second", "head"), torch.zeros(1, 1, 12, 12), by_error=False)
    report = report_of(sparse, "2:4", "by hand")
    for number, each in enumerate((dense, replace(dense, network=sparse, sparsity=report, precision="fp16"))):
        (tmp_path / str(number)).mkdir()
        TensorRt(ADA).export(each, tmp_path / str(number))
    assert [order.skips_fours for order in asked] == [False, True]
    assert [order.target.compute_capability for order in asked] == [(8, 9), (8, 9)]


def test_the_usual_batch_is_not_larger_than_the_largest() -> None:
    with pytest.raises(ValueError, match="usual batch of 32 images is larger than the largest of 8"):
        TensorRtSettings(usual_batch=32, largest_batch=8)


@pytest.mark.parametrize(
    ("installed", "settings", "capability", "expected"),
    [
        ((), "here", None, EXTRAS["tensorrt"].command),
        ((), "SM89", None, EXTRAS["tensorrt-rtx"].command),
        (("tensorrt",), "SM89", None, EXTRAS["tensorrt-rtx"].command),
        (("tensorrt_rtx",), "SM89", None, ""),
        (("tensorrt", "tensorrt_rtx"), "SM89", None, ""),
        (("tensorrt_rtx",), "here", None, "Build for"),
        (("tensorrt_rtx",), "here", (8, 9), ""),
        (("tensorrt_rtx",), "here", (9, 0), f"does not build for a GPU. Install: `{EXTRAS['tensorrt'].command}`"),
        (("tensorrt", "tensorrt_rtx"), "here", (9, 0), ""),
    ],
)
def test_what_is_missing_is_named(
    installed: tuple[str, ...], settings: Any, capability: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes.tensorrt_module, "find_spec", lambda name: name in installed or None)
    device = replace(GPU, compute_capability=capability) if capability else find_device("cpu")
    reason = TensorRt(TensorRtSettings(build_for=settings)).why_unavailable(device)
    assert reason is None if not expected else expected in (reason or "")


GPU = Device("cuda:0", "cuda", "a GPU", 2**34, compute_capability=(8, 6))
SITUATION = Situation("cnn", 0, 10, GPU, "tensorrt")


@pytest.mark.parametrize(
    ("form", "precision", "capability"),
    [
        ("torch", "fp32", (8, 6)),
        ("torch", "fp16", (8, 6)),
        ("torch", "bf16", (8, 0)),
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
        ("torch", "bf16", "bf16 on a GPU, whose compute capability is 7.5; expected 8.0"),
        ("torch", "int8", "zero points"),
        ("openvino", "int8", "zero points"),
        ("onnx", "fp8", "capability is 8.6; expected .* 8.9 .Ada, Hopper. or newer"),
        ("onnx", "nvfp4", "capability is 8.6; expected .* 10.0 .Blackwell. or newer"),
    ],
)
def test_the_rest_is_refused_with_the_reason(form: Any, precision: Any, reason: str) -> None:
    device = replace(GPU, compute_capability=(7, 5)) if precision == "bf16" else GPU
    with pytest.raises(CannotCompose, match=reason):
        RUNTIMES["tensorrt"].check(replace(SITUATION, form=form, precision=precision, device=device))


def test_bf16_needs_modelopt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimes.tensorrt_graph.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"ModelOpt.*python3 studio.py install"):
        RUNTIMES["tensorrt"].check(replace(SITUATION, precision="bf16"))


@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx"])
def test_the_sample_code_imports_what_built_the_engine(module: str, tmp_path: Path) -> None:
    facts = {
        "module": module, "version": "1", "compute_capability": [8, 9], "gpu": "a GPU", "is_ahead": True,
        "precision": "fp32", "batches": [1, 16, 256], "effort": 3, "workspace_mib": 0, "skips_fours": False,
    }  # fmt: skip
    (tmp_path / "engine.json").write_text(json.dumps(facts))
    source = RUNTIMES["tensorrt"].sample_code(Artifact("tensorrt", "fp32", tmp_path, ("model.engine", "engine.json")))
    compile(source, "run.py", "exec")
    assert f"import {module}" in source.splitlines() or f"import {module} as tensorrt" in source.splitlines()
    assert len(source.splitlines()) <= 40
