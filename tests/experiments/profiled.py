"""Profiles and scans of a small network with round numbers, and studies as a worker would have left them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from core.anatomy import Anatomy, MemoryStep, ModuleFacts
from core.layers import FUSED, Layer, LayerProfile
from core.progress import Finished, PhaseStarted, Planned
from core.scan import Scan
from experiments import profile, scan
from experiments.peaks import Peaks
from experiments.profile import ProfileResult
from experiments.recipe import Recipe
from experiments.result_kinds import Result
from experiments.scan import ScanResult
from experiments.store import Store
from experiments.study import ProfileStudy, ScanStudy, Study
from profiling.latency import Latency
from profiling.machine import Conditions

KIB = 2**10
MACS = 1_000_000
CONDITIONS = Conditions(
    device="cpu", device_name="A CPU", cpu_name="A CPU", cores=2, threads=1, seed=0, os="Linux", python="3.11.2",
    libraries={"onnxruntime": "1.32.0"}, gpu_driver=None, tf32=None, commit=None,
    date=datetime(2026, 11, 1, 12, tzinfo=UTC),
)  # fmt: skip
PEAKS = Peaks(
    runtime="onnxruntime", device="A CPU", threads=1, libraries={}, macs_per_s={"fp32": 100e9},
    bandwidth=((256 * KIB, 100e9), (64 * KIB**2, 10e9)),
)  # fmt: skip
"""Per ms 100 million multiply-accumulates, and 100 MB in the cache or 10 MB in memory."""


def layer(name: str, time_ms: float, **facts: Any) -> Layer:
    """A convolution of a million multiply-accumulates that moves 30 KiB."""
    usual = {
        "op": "Conv", "kind": "compute", "precision": "fp32", "macs": MACS, "weight_bytes": 10 * KIB,
        "input_bytes": 10 * KIB, "output_bytes": 10 * KIB, "output_shape": (1, 10, 16, 16),
    }  # fmt: skip
    return Layer(name=name, time_ms=time_ms, **{**usual, **facts})


def other(name: str, time_ms: float, op: str, **facts: Any) -> Layer:
    """A layer that multiplies nothing and moves 20 KiB."""
    return layer(name, time_ms, **{"op": op, "kind": "other", "macs": 0, "weight_bytes": 0, **facts})


LAYERS = (
    layer("stem", 0.015),
    layer("body.0.conv1", 0.1, macs=8 * MACS),
    layer("body.0.conv2", 0.2, macs=16 * MACS),
    other("body.0", 0.02, "Add"),
    layer(f"head.0{FUSED}head.1", 0.165, op="Gemm", macs=MACS, weight_bytes=1600 * KIB, output_shape=(1, 10)),
)
"""0.5 ms together: body 0.32, head 0.165, stem 0.015."""


def module(name: str, **facts: Any) -> ModuleFacts:
    """A convolution without its histograms."""
    usual = {
        "kind": "Conv2d", "parameters": 2_560, "nonzero": 2_560, "macs": MACS, "output_shape": (1, 10, 16, 16),
        "output_bytes": 10 * KIB,
    }  # fmt: skip
    return ModuleFacts(name=name, **{**usual, **facts})


ANATOMY = Anatomy(
    images=32,
    modules=(
        module("stem"),
        module("body.0.conv1", macs=8 * MACS),
        module("body.0.conv2", macs=16 * MACS),
        module("body.0", kind="Block", parameters=0, nonzero=0, macs=0),
        module("head.0", kind="Linear", parameters=400_000, nonzero=400_000, output_shape=(1, 10), output_bytes=40),
        module("head.1", kind="ReLU", parameters=0, nonzero=0, macs=0, output_shape=(1, 10), output_bytes=40),
    ),
    memory=(
        MemoryStep(module="stem", op="aten.convolution", live_bytes=20 * KIB),
        MemoryStep(module="body.0.conv1", op="aten.convolution", live_bytes=30 * KIB),
        MemoryStep(module="head.0", op="aten.addmm", live_bytes=10 * KIB),
    ),
)


def latency(p50_ms: float, *, batch_size: int = 1) -> Latency:
    """Calls of exactly that median, within 1 % of it."""
    block = tuple(p50_ms * factor for factor in (0.99, 1.0, 1.0, 1.0, 1.01))
    return Latency(
        batch_size=batch_size, blocks_ms=(block,) * 20, warmup_ms=300, first_call_ms=2 * p50_ms, contended_share=0.0
    )


def layer_profile(layers: Sequence[Layer] = LAYERS, *, batch_size: int = 1, beyond_ms: float = 0.05) -> LayerProfile:
    """As an engine tells it, with so much time around the layers."""
    call_ms = sum(each.time_ms for each in layers) + beyond_ms
    return LayerProfile(batch_size=batch_size, calls=100, call_ms=call_ms, layers=tuple(layers))


def profile_result(**overrides: Any) -> ProfileResult:
    """An untouched network whose call of 0.55 ms has 0.5 ms in its layers, unless the overrides say otherwise."""
    usual: dict[str, Any] = {
        "precision": "fp32", "conditions": CONDITIONS, "latency": latency(0.55), "layers": layer_profile(),
        "peaks": PEAKS, "anatomy": ANATOMY,
    }  # fmt: skip
    return ProfileResult(**{**usual, **overrides})


def profiled(store: Store, recipe: Recipe, result: ProfileResult | None = None, *, run: str = "") -> str:
    """Leave a finished profile of a recipe's network, or of the file of a finished run; its run id."""
    return _left(store, ProfileStudy(run=run), recipe, result or profile_result(), profile.PHASES)


def scanned(store: Store, model: str, found: Scan) -> str:
    """Leave a finished scan of a model's untouched network; its run id."""
    study = ScanStudy(changes=found.changes, images=found.images)
    return _left(store, study, Recipe(model=model), ScanResult(scan=found, conditions=CONDITIONS), scan.PHASES)


def _left(store: Store, study: Study, recipe: Recipe, result: Result, phases: tuple[str, ...]) -> str:
    run_id = store.enqueue_study(study, recipe)
    store.claim(run_id, os.getpid())
    store.append(run_id, [Planned(phases=phases), *(PhaseStarted(title=each) for each in phases), Finished(result={})])
    assert store.finish(run_id, result)
    return run_id
