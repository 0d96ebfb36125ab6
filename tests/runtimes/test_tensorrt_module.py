"""What TensorRT says, made fit to be read; the messages are its own, of version 1.7.1 of TensorRT for RTX."""

from __future__ import annotations

import pytest

from core.errors import Unavailable
from runtimes.tensorrt_module import load, words

UNKNOWN = 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
ZERO_POINT = (
    "Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported. Please set "
    "kENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA to enable asymmetric quantization if it is on DLA."
)
TYPES = """Invalid Node - bias_dq
ITensor::getDimensions: Error Code 4: API Usage Error (bias_dq: input has type Int32 but must have type FP8, FP4, \
Int4, Int8, or UInt8. In checkType at /_src/optimizer/common/nodeBase.cpp:456)
[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at /_src/common/dispatch/\
checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime version))"""
MEMORY = "[localCheckMacros.cpp::getErrorStr::132] Error Code 2: OutOfMemory (Requested size was 118792864 bytes.)"
TACTICS = (
    "[tactic.cpp:1676: enumerate_tactics] Tactic Selection: no tactics to implement the operation within workspace "
    "limit.; [tactic.cpp:264: run] Error during tactic selection"
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (UNKNOWN, "Plugin not found: it knows no such operator"),
        (ZERO_POINT, ZERO_POINT.removeprefix("Assertion failed: shiftIsAllZeros(zeroPoint): ").rstrip(".")),
        (TYPES, "bias_dq: input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8"),
        (MEMORY, "OutOfMemory (Requested size was 118792864 bytes.)"),
        (TACTICS, "Tactic Selection: no tactics to implement the operation within workspace limit"),
        ("something else", "something else"),
        ("", ""),
    ],
)
def test_words_come_without_where_they_were_said(message: str, expected: str) -> None:
    assert words(message) == expected


@pytest.mark.parametrize(("name", "extra"), [(None, "tensorrt"), ("tensorrt_rtx", "tensorrt-rtx")])
def test_what_is_not_installed_is_said_with_its_command(
    name: str | None, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtimes.tensorrt_module.find_spec", lambda _name: None)
    with pytest.raises(Unavailable, match=f"studio.py install {extra}.$"):
        load(name)
