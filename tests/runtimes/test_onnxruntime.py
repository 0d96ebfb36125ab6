"""What ONNX Runtime is not asked to do, with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.bundle import Situation
from core.devices import Device
from core.errors import CannotCompose
from runtimes.onnxruntime_ import OnnxRuntime

CPU = Device("cpu", "cpu", "some CPU", 1 << 34)
GPU = Device("cuda:0", "cuda", "some GPU", 1 << 34, compute_capability=(9, 0))
FLOAT = Situation("cnn", 100, 10, CPU, "onnxruntime")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"precision": "fp16", "device": GPU},
        {"form": "onnx", "precision": "int8"},
        {"form": "onnx", "precision": "w8"},
        {"form": "onnx", "precision": "w4"},
    ],
)
def test_what_it_serves_is_accepted(change: dict[str, Any]) -> None:
    OnnxRuntime().check(replace(FLOAT, **change))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"form": "openvino", "precision": "int8"}, "nothing turns it back"),
        ({"form": "onnx", "precision": "fp8"}, "no 8- or 4-bit floats"),
        ({"form": "onnx", "precision": "nvfp4", "device": GPU}, "no 8- or 4-bit floats"),
        ({"precision": "bf16"}, "no bf16 convolutions"),
        ({"precision": "fp16"}, "four times slower"),
        ({"form": "onnx", "precision": "int8", "device": GPU}, "compute these graphs in float"),
        ({"form": "onnx", "precision": "w4", "device": GPU}, "compute these graphs in float"),
    ],
)
def test_what_it_has_no_kernels_for_is_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(CannotCompose, match=reason):
        OnnxRuntime().check(replace(FLOAT, **change))
