"""Profiles with known causes, for tests that only explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.layers import Layer, LayerProfile, sum_ms
from experiments.explanation import Measured
from experiments.peaks import Peaks

MACS = 1_000_000


def peaks(
    *, int8: float = 4.0, bandwidth: float = 1e15, lanes: tuple[int, int] = (1, 1), runtime: str = "ort"
) -> Peaks:
    """INT8 that many times as fast as FP32, far above any rate in these tests."""
    rates = {"fp32": 1e15, "int8": int8 * 1e15}
    return Peaks(
        runtime=runtime, device="a CPU", threads=1, libraries={}, macs_per_s=rates,
        bandwidth=((1, bandwidth), (2**30, bandwidth)), lanes=lanes,
    )  # fmt: skip


def product(name: str, time_ms: float, **facts: Any) -> Layer:
    """A layer that multiplies."""
    return Layer(**{"name": name, "op": "Conv", "kind": "compute", "time_ms": time_ms, "precision": "fp32",
                    "macs": MACS, **facts})  # fmt: skip


def conversion(name: str, time_ms: float) -> Layer:
    """A layer that changes the format."""
    return Layer(name=name, op="QuantizeLinear", kind="conversion", time_ms=time_ms, precision="fp32")


def other(name: str, time_ms: float, op: str = "Add") -> Layer:
    """A layer that does neither."""
    return Layer(name=name, op=op, kind="other", time_ms=time_ms, precision="fp32")


def measured(layers: Sequence[Layer], *, overhead_ms: float = 0.0, residual_ms: float = 0.0, **facts: Any) -> Measured:
    """A variant in ONNX Runtime in fp32, unless the facts say otherwise."""
    call_ms = sum_ms(layers) + overhead_ms
    profile = LayerProfile(batch_size=1, calls=30, call_ms=call_ms, layers=tuple(layers))
    macs = max(1, sum(layer.macs for layer in layers))
    known = {"title": "FP32", "runtime": "ONNX Runtime", "precision": "fp32", "macs": macs, "peaks": peaks()}
    return Measured(**{**known, "p50_ms": call_ms + residual_ms, "profile": profile, **facts})


def int8(layers: Sequence[Layer], **facts: Any) -> Measured:
    """The same, meant to run in 8 bits."""
    return measured(layers, **{"title": "INT8", "precision": "int8", "techniques": ("int8",), **facts})
