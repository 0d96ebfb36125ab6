"""The module that TensorRT comes in, `tensorrt` or else `tensorrt_rtx`, and what it says when something is wrong.

Both have the same interface. Only `tensorrt_rtx`, TensorRT for RTX, builds for a GPU that is not here.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from core.devices import Device
from core.errors import RunFailed, Unavailable
from runtimes.extras import EXTRAS

FULL, RTX = "tensorrt", "tensorrt_rtx"
EXTRA_OF = {FULL: EXTRAS["tensorrt"], RTX: EXTRAS["tensorrt-rtx"]}
"""What brings each."""
RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
"""Compute capabilities that TensorRT for RTX 1.7 builds for; data-centre GPUs since Hopper are not among them."""

_OUTLINES = ("[checkMacros", "Output shape can not be computed", "Invalid Node")
"""Lines that follow from another error, or from there being no driver."""
_INSIDE = re.compile(r"\((?P<words>.+?)\.? In \w+ at \S+\)?$")
_BEFORE = re.compile(r"^(\[[^\]]+\] )?(\w+::\w+: )?(Error Code \d+: )?")
_AFTER = re.compile(r"; \[[^\]]+\] .*$")
_ASSERTED = re.compile(r"^Assertion failed: .+?: (?=[A-Z])")


def module_name(*, ahead: bool = False) -> str | None:
    """Which of the two builds: the first that is installed, for a GPU elsewhere the second or None without it."""
    names = (RTX,) if ahead else EXTRAS["tensorrt"].modules
    return next((name for name in names if find_spec(name)), None)


def load(name: str | None) -> Any:
    """The module of that name. Raises `Unavailable` where it is not installed."""
    if name is None or find_spec(name) is None:
        missing = name or FULL
        raise Unavailable(f"The module {missing} is not installed", action=f"Install: {EXTRA_OF[missing].command}")
    return importlib.import_module(name)


def keeping_log(trt: Any) -> Any:
    """A logger whose `errors` are the messages of errors, in order; nothing is printed."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

    return Log()


@contextmanager
def on_gpu(device: Device | None) -> Iterator[None]:
    """Inside, that GPU is the current one, on which TensorRT builds, opens and runs; None leaves it as it is."""
    if device is None:
        yield
        return
    import torch

    with torch.cuda.device(device.index):
        yield


def words(message: str) -> str:
    """What an error message says, without where in TensorRT's own source it was noticed.

    >>> words('Assertion failed: zero(z): Non-zero zero point is not supported.')
    'Non-zero zero point is not supported'
    >>> words('conv: Error Code 4: API Usage Error (types differ. In validateTypes at /_src/a.cpp:88)')
    'types differ'
    """
    lines = [line for line in message.splitlines() if line.strip()]
    telling = next((line for line in lines if not any(outline in line for outline in _OUTLINES)), message)
    if inside := _INSIDE.search(telling):
        telling = inside["words"]
    telling = _ASSERTED.sub("", _BEFORE.sub("", _AFTER.sub("", telling))).strip().rstrip(".")
    return "Plugin not found: it knows no such operator" if "Plugin not found" in telling else telling


def refusal(parser: Any) -> RunFailed:
    """Why the parser took no graph: operator, node and words of its first error, and how many more there are."""
    first, more = parser.get_error(0), parser.num_errors - 1
    if first.node() < 0:
        return RunFailed(f"TensorRT cannot read the graph: {words(first.desc())}")
    others = f", and {more} other {'nodes' if more > 1 else 'node'}" if more else ""
    return RunFailed(
        f"TensorRT cannot read the operator {first.node_operator()} (node {first.node_name()}){others}: "
        f"{words(first.desc())}",
        action="Choose ONNX Runtime as the runtime",
    )
