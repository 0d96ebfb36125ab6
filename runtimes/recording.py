"""A few inferences as the engine's own profiler records them, in Chrome's trace format."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.data import Inputs
from core.devices import Device
from runtimes.layers_shared import warm_up
from runtimes.runtime import Artifact, Runtime

CALLS = 5
_BY_TORCH = ("pytorch", "torch_compile")
_PRIVATE = ("traceName", "host_name", "trace_id")
"""What torch writes about the machine and the folder, which a file to pass on has no need of."""


def record(
    runtime: Runtime, artifact: Artifact, device: Device, *, threads: int, x: Inputs, file: Path, title: str
) -> bool:
    """Write what the engine's profiler tells of five calls on x[N, C, H, W], after it has warmed up.

    False, and no file, for an engine that records none.
    """
    if runtime.key in _BY_TORCH:
        with runtime.open(artifact, device, threads=threads) as session:
            content = _recorded_by_torch(session.bind(x), on_gpu=device.kind == "cuda")
    elif runtime.key == "onnxruntime" and device.kind == "cpu":
        content = _recorded_by_onnxruntime(artifact, threads, x)
    else:
        return False
    content["otherData"] = {
        "what": f"{CALLS} calls in a row as the engine's own profiler recorded them; it slows each of them down.",
        "of": title,
        "batch_size": len(x),
    }
    file.write_text(json.dumps(content))
    return True


def _recorded_by_torch(infer: Callable[[], None], *, on_gpu: bool) -> dict[str, Any]:
    from torch.profiler import ProfilerActivity, profile, record_function

    warm_up(infer)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, record_shapes=True) as profiler:
        for _ in range(CALLS):
            with record_function("inference"):
                infer()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recorded.json"
        profiler.export_chrome_trace(str(path))
        content: dict[str, Any] = json.loads(path.read_text())
    return {name: value for name, value in content.items() if name not in _PRIVATE}


def _recorded_by_onnxruntime(artifact: Artifact, threads: int, x: Inputs) -> dict[str, Any]:
    """Its warm-up is left out, its loading is not."""
    from runtimes.layers_onnxruntime import recorded_calls

    level = getattr(artifact.engine, "level", "ORT_ENABLE_ALL")
    return {"traceEvents": recorded_calls(artifact.main_file, threads=threads, x=x, level=level, calls=CALLS)}
