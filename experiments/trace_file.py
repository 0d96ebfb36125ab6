"""The layers of a profile as a trace for chrome://tracing, Perfetto or the browser's own tools.

Written in the Trace Event Format (https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from core.layers import Layer, LayerProfile

FILE = "trace.json"
WHAT_IT_IS = "The typical time of each layer, laid end to end in the order of execution; not a recording."
_PROCESS = 1
_LAYERS, _MODULES = 1, 2
"""Rows of the picture."""
ModulePath = tuple[str, ...]
Event = dict[str, Any]


def write_trace(
    path: Path, profile: LayerProfile, modules: Sequence[ModulePath], *, title: str, facts: Mapping[str, Any]
) -> None:
    """Write one event a layer and, in a second row, one for each of its modules, the outer ones around the inner.

    `modules` has the module of each layer, empty for none. `title` says whose trace it is; `facts` are its conditions.
    """
    ends = list(accumulate((_us(layer.time_ms) for layer in profile.layers), initial=0.0))
    spans = [*_layers(profile, ends), *_modules(modules, ends)]
    # What holds others has to come before them.
    spans.sort(key=lambda event: (event["ts"], event["tid"], -event["dur"]))
    content = {
        "traceEvents": [*_names(title), *spans],
        "displayTimeUnit": "ms",
        "otherData": {
            "what": WHAT_IT_IS, "batch_size": profile.batch_size, "calls_behind_each_time": profile.calls,
            "call_ms": profile.call_ms, "layers_ms": profile.layers_ms, **facts,
        },
    }  # fmt: skip
    path.write_text(json.dumps(content))


def _names(title: str) -> Iterator[Event]:
    yield {"ph": "M", "name": "process_name", "pid": _PROCESS, "tid": 0, "args": {"name": title}}
    for row, name in ((_LAYERS, "Layers, typical time"), (_MODULES, "Modules")):
        yield {"ph": "M", "name": "thread_name", "pid": _PROCESS, "tid": row, "args": {"name": name}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": _PROCESS, "tid": row, "args": {"sort_index": row}}


def _layers(profile: LayerProfile, ends: Sequence[float]) -> Iterator[Event]:
    total_ms = profile.layers_ms
    for layer, began in zip(profile.layers, ends, strict=False):
        share = layer.time_ms / total_ms if total_ms else 0.0
        yield _span(layer.name, layer.kind, began, _us(layer.time_ms), _LAYERS, _facts(layer, share))


def _facts(layer: Layer, share: float) -> dict[str, Any]:
    return {
        "operation": layer.op,
        "precision": layer.precision,
        "share_of_layers": round(share, 6),
        "multiply_accumulates": layer.macs,
        "weight_bytes": layer.weight_bytes,
        "input_bytes": layer.input_bytes,
        "output_bytes": layer.output_bytes,
        "output_shape": list(layer.output_shape) if layer.output_shape else None,
    }


def _modules(modules: Sequence[ModulePath], ends: Sequence[float]) -> Iterator[Event]:
    """Each module as often as it is entered."""
    for depth in range(1, 1 + max(map(len, modules), default=0)):
        for path, group in groupby(range(len(modules)), key=lambda place: modules[place][:depth]):
            places = list(group)
            if len(path) == depth:
                began = ends[places[0]]
                facts = {"layers": len(places)}
                yield _span(".".join(path), "module", began, ends[places[-1] + 1] - began, _MODULES, facts)


def _span(name: str, kind: str, began_us: float, took_us: float, row: int, facts: Mapping[str, Any]) -> Event:
    return {
        "ph": "X", "name": name, "cat": kind, "ts": began_us, "dur": took_us, "pid": _PROCESS, "tid": row,
        "args": dict(facts),
    }  # fmt: skip


def _us(ms: float) -> float:
    """Without the digits that only binary fractions bring."""
    return round(1000 * ms, 6)
