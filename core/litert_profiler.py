"""Times the operators of a `.tflite` file by LiteRT's profiler, which its library has and Python's interface has not.

Run as a program of its own, `python -m core.litert_profiler REQUEST ANSWER`: it calls C functions by the signatures of
litert/c in the version of LiteRT that the studio is tested with, and whatever another version changed ends this process
alone. Source: https://github.com/google-ai-edge/LiteRT/tree/main/litert/c
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.layers import middle_mean

KERNELS = {"xnnpack": 0, "own": 2}
"""By the studio's names, `LiteRtCpuKernelMode`; the reference kernels cannot be had this way."""
WINDOWS = 3
WINDOW_SECONDS = 0.6
WARM_UP_SECONDS = 0.2
FEWEST_CALLS, MOST_CALLS = 3, 100
_ELEMENTS = {"float32": 1, "uint8": 3, "int16": 7, "int8": 9}
"""`LiteRtElementType` by numpy's names."""
_CPU = 1
_MOST_AXES = 8
_WRITE = 1
_HOST_MEMORY = 1
_OPERATOR, _DELEGATED = 1 << 1, 1 << 3
"""Kinds of events: an operator of the graph, whose number they tell, and one within a delegate."""
_DELEGATE = "Delegate"
"""In the name of an operator of the graph that stands for all that a delegate computes at once."""
_MOST_EVENTS = 1_000_000


@dataclass(frozen=True)
class Request:
    """What is to be profiled, as the program reads it."""

    file: str
    images: str
    """An .npy with x as the file takes it."""
    is_resized: bool
    """Whether x has other sides than the file was made for."""
    answer_shape: tuple[int, ...]
    answer_type: str
    """As numpy calls it."""
    threads: int
    kernels: str
    """A key of `KERNELS`."""


@dataclass(frozen=True)
class Row:
    """One operator as it was executed."""

    type: str
    """`CONV_2D`, or what XNNPACK calls it: `Convolution (NHWC, F32) IGEMM`."""
    is_delegated: bool
    """Whether XNNPACK computed it."""
    place: int
    """In the graph; of what XNNPACK computed, in the part that it was given."""
    time_us: float
    """A call."""


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * _MOST_AXES),
        ("strides", ctypes.c_uint32 * _MOST_AXES),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element", ctypes.c_int), ("layout", _Layout))


class _Event(ctypes.Structure):
    """`ProfiledEventData`: the words between are what memory was in use before and after."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("number", ctypes.c_uint64),
        ("other_number", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class _Library:
    """Its C functions, each of which tells whether it could."""

    def __init__(self) -> None:
        import ai_edge_litert

        (file,) = Path(ai_edge_litert.__file__).parent.glob("*LiteRt.[sd]*")
        self._functions = ctypes.CDLL(str(file))
        self._c = ctypes.CDLL(None)
        self._c.strdup.restype = ctypes.c_void_p

    def call(self, name: str, *arguments: Any) -> None:
        """Raises `RuntimeError` where it could not."""
        if status := getattr(self._functions, name)(*arguments):
            raise RuntimeError(f"{name} answered {status}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a function gives by its last argument."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def option(self, identifier: bytes, toml: str) -> ctypes.c_void_p:
        """Settings of a part of the library, which come to it as text."""
        payload = ctypes.c_void_p(self._c.strdup(toml.encode()))
        return self.made("LiteRtCreateOpaqueOptions", identifier, payload, ctypes.cast(self._c.free, ctypes.c_void_p))


class _Model:
    """A compiled file with its input in place."""

    def __init__(self, library: _Library, request: Request, x: npt.NDArray[Any], *, profiled: bool) -> None:
        content = Path(request.file).read_bytes()
        self._library, self._kept = library, ctypes.create_string_buffer(content, len(content))
        environment = library.made("LiteRtCreateEnvironment", 0, None)
        size = ctypes.c_size_t(len(content))
        model = library.made("LiteRtCreateModelFromBuffer", environment, self._kept, size)
        options = library.made("LiteRtCreateOptions")
        cpu = f"num_threads = {request.threads}\nkernel_mode = {KERNELS[request.kernels]}\n"
        library.call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        library.call("LiteRtAddOpaqueOptions", options, library.option(b"xnnpack", cpu))
        if profiled:
            profiling = library.option(b"runtime_options_string", "enable_profiling = true\n")
            library.call("LiteRtAddOpaqueOptions", options, profiling)
        self._model = library.made("LiteRtCreateCompiledModel", environment, model, options)
        first, one = ctypes.c_size_t(0), ctypes.c_size_t(1)
        if request.is_resized:
            sides, axes = (ctypes.c_int * x.ndim)(*x.shape), ctypes.c_size_t(x.ndim)
            library.call("LiteRtCompiledModelResizeInputTensorNonStrict", self._model, first, first, sides, axes)
            layouts, now = (_Layout * 1)(), ctypes.c_bool(True)
            library.call("LiteRtGetCompiledModelOutputTensorLayouts", self._model, first, one, layouts, now)
        ends = ((x.dtype.name, x.shape), (request.answer_type, request.answer_shape))
        self._buffers = [self._buffer(environment, *end) for end in ends]
        place = ctypes.c_void_p()
        library.call("LiteRtLockTensorBuffer", self._buffers[0], ctypes.byref(place), _WRITE)
        ctypes.memmove(place, x.ctypes.data, x.nbytes)
        library.call("LiteRtUnlockTensorBuffer", self._buffers[0])
        self._arguments = (first, one, ctypes.byref(self._buffers[0]), one, ctypes.byref(self._buffers[1]))

    def _buffer(self, environment: ctypes.c_void_p, element: str, shape: Sequence[int]) -> ctypes.c_void_p:
        """Memory for a tensor."""
        kind, size = _type_of(element, shape), ctypes.c_size_t(np.dtype(element).itemsize * prod(shape))
        return self._library.made(
            "LiteRtCreateManagedTensorBuffer", environment, _HOST_MEMORY, ctypes.byref(kind), size
        )

    def infer(self) -> None:
        """One call."""
        self._library.call("LiteRtRunCompiledModel", self._model, *self._arguments)

    def profiler(self) -> ctypes.c_void_p:
        """That of a profiled one."""
        return self._library.made("LiteRtCompiledModelGetProfiler", self._model)


def _type_of(element: str, shape: Sequence[int]) -> _TensorType:
    dimensions = (ctypes.c_int32 * _MOST_AXES)(*shape)
    return _TensorType(_ELEMENTS[element], _Layout(len(shape), 0, dimensions))


@dataclass(frozen=True)
class Window:
    """Calls in a row."""

    calls: int
    call_ms: float
    """Without the profiler."""
    rows: list[Row]


def profile(request: Request) -> Window:
    """The calmest of three windows of calls, in which plain ones and profiled ones take turns.

    Raises `RuntimeError` where the library cannot, and `ValueError` where what it prints is not understood.
    """
    library, x = _Library(), np.ascontiguousarray(np.load(request.images))
    plain, profiled = (_Model(library, request, x, profiled=each) for each in (False, True))
    for each in (plain, profiled):
        _repeat(each.infer, WARM_UP_SECONDS / 2)
    return min((_window(library, plain, profiled) for _ in range(WINDOWS)), key=lambda window: window.call_ms)


def _window(library: _Library, plain: _Model, profiled: _Model) -> Window:
    profiler = profiled.profiler()
    times: list[float] = []

    def both() -> None:
        began = time.perf_counter_ns()
        plain.infer()
        times.append((time.perf_counter_ns() - began) / 1e6)
        profiled.infer()

    library.call("LiteRtResetProfiler", profiler)
    library.call("LiteRtStartProfiler", profiler)
    _repeat(both, WINDOW_SECONDS)
    library.call("LiteRtStopProfiler", profiler)
    return Window(len(times), middle_mean(times), _rows(_events(library, profiler), len(times)))


def _events(library: _Library, profiler: ctypes.c_void_p) -> list[Row]:
    """The operators of all calls, in the order of execution."""
    count = ctypes.c_int()
    library.call("LiteRtGetNumProfilerEvents", profiler, ctypes.byref(count))
    if not 0 < count.value <= _MOST_EVENTS:
        raise ValueError(f"it tells of {count.value} events")
    events = (_Event * count.value)()
    library.call("LiteRtGetProfilerEvents", profiler, count, events)
    found = [each for each in events if each.kind in (_OPERATOR, _DELEGATED)]
    rows = [
        Row((each.tag or b"").decode(errors="replace"), each.kind == _DELEGATED, each.number, each.elapsed_us)
        for each in found
    ]
    return [row for row in rows if row.is_delegated or _DELEGATE not in row.type]


def _rows(rows: Sequence[Row], calls: int) -> list[Row]:
    """The typical time of each operator. Raises `ValueError` where calls did not all execute the same ones."""
    many = len(rows) // calls
    of_each = [rows[start : start + many] for start in range(0, many * calls, many)] if many else []
    what = [[(row.type, row.is_delegated, row.place) for row in each] for each in of_each]
    if len(rows) % calls or not what or any(each != what[0] for each in what):
        raise ValueError(f"{len(rows)} operators in {calls} calls, which are not the same in each")
    typical = [middle_mean([row.time_us for row in column]) for column in zip(*of_each, strict=True)]
    return [Row(*each, time_us) for each, time_us in zip(what[0], typical, strict=True)]


def _repeat(infer: Callable[[], object], seconds: float) -> None:
    end, calls = time.perf_counter() + seconds, 0
    while calls < FEWEST_CALLS or (calls < MOST_CALLS and time.perf_counter() < end):
        infer()
        calls += 1


def main() -> int:
    """Profile what the request says, and write the answer."""
    request = Request(**json.loads(Path(sys.argv[1]).read_text()))
    try:
        window = profile(request)
    except (RuntimeError, ValueError, OSError, AttributeError) as error:
        answer: dict[str, Any] = {"refused": str(error)}
    else:
        answer = vars(window) | {"rows": [vars(row) for row in window.rows]}
    Path(sys.argv[2]).write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
