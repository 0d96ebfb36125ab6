"""The trace that torch.profiler exports (Chrome's format), as the operations of each call. Imports nothing heavy.

On a GPU an operation's time is that of the kernels it launched: launch and kernel carry one correlation number.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]

_KERNELS = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
_LAUNCHES = frozenset({"cuda_runtime", "cuda_driver"})
_ON_THE_HOST = frozenset({"cpu_op", "user_annotation"})


@dataclass(frozen=True)
class Operation:
    """One operation of one call."""

    name: str
    took_us: float
    """On the host, or of its kernels on a GPU."""
    events: int = 1
    """That the profiler recorded in it on the host, itself included: each takes a little time."""
    shapes: list[list[int]] = field(default_factory=list)
    """Of its arguments; empty for what is no tensor."""
    types: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    """Its arguments that are no tensors, as text."""


@dataclass(frozen=True)
class Call:
    """One inference."""

    took_us: float
    operations: list[Operation]
    events: int


def read_trace(profiler: Any) -> list[Event]:
    """The events of a finished torch.profiler."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events: list[Event] = json.loads(path.read_text())["traceEvents"]
    return [event for event in events if event.get("ph") == "X"]


def calls_in(events: Sequence[Event], *, call: str, holds: Callable[[str], bool], on_gpu: bool) -> list[Call]:
    """Each span named `call`, with the outermost operations inside the spans in it whose name `holds` accepts.

    Calls whose operations differ from those of most calls, as the first ones may, are left out.
    """
    host = sorted((event for event in events if event.get("cat") in _ON_THE_HOST), key=lambda event: event["ts"])
    kernels = _kernels(events) if on_gpu else None
    calls = [_call(span, host, holds, kernels) for span in host if span["name"] == call]
    if not calls:
        return []
    (usual, _), *_ = Counter(_names(each) for each in calls).most_common(1)
    return [each for each in calls if _names(each) == usual]


def _names(call: Call) -> tuple[str, ...]:
    return tuple(operation.name for operation in call.operations)


def _call(span: Event, host: Sequence[Event], holds: Callable[[str], bool], kernels: list[Event] | None) -> Call:
    inside = [event for event in host if event["tid"] == span["tid"] and _contains(span, event) and event is not span]
    outermost: list[Event] = []
    for holder in (event for event in [span, *inside] if holds(event["name"])):
        outermost += _outermost(event for event in inside if _contains(holder, event) and event is not holder)
    if kernels is None:
        counts = [sum(_contains(event, each) for each in inside) for event in outermost]
        operations = [_operation(event, event["dur"], count) for event, count in zip(outermost, counts, strict=True)]
    else:
        operations = _with_kernels(outermost, [kernel for kernel in kernels if _contains(span, kernel["launch"])])
    return Call(span["dur"], operations, len(inside) + 1)


def _outermost(events: Iterable[Event]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        if not found or event["ts"] >= found[-1]["ts"] + found[-1]["dur"]:
            found.append(event)
    return found


def _with_kernels(operations: Sequence[Event], kernels: Sequence[Event]) -> list[Operation]:
    """Operations with the time of their kernels; then the kernels that none of them launched, by name."""
    left, done = list(kernels), []
    for event in operations:
        own = sum(kernel["dur"] for kernel in left if _contains(event, kernel["launch"]))
        left = [kernel for kernel in left if not _contains(event, kernel["launch"])]
        done.append(_operation(event, own))
    return done + [Operation(kernel["name"], kernel["dur"]) for kernel in left]


def _kernels(events: Sequence[Event]) -> list[Event]:
    """What ran on the GPU, each with the event that launched it."""
    launches = {_correlation(event): event for event in events if event.get("cat") in _LAUNCHES}
    ran = [event for event in events if event.get("cat") in _KERNELS and _correlation(event) in launches]
    return [{**event, "launch": launches[_correlation(event)]} for event in ran]


def _correlation(event: Event) -> int | None:
    found: int | None = event.get("args", {}).get("correlation")
    return found


def _contains(outer: Event, inner: Event) -> bool:
    return bool(outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"])


def _operation(event: Event, took_us: float, events: int = 1) -> Operation:
    facts = event.get("args", {})
    return Operation(
        event["name"],
        took_us,
        events,
        facts.get("Input Dims", []),
        facts.get("Input type", []),
        [str(value) for value in facts.get("Concrete Inputs", [])],
    )
