"""What every engine that works on torch's current CUDA stream can do: time its stages, and be replayed as a graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from core.data import Inputs
from core.errors import Unavailable

if TYPE_CHECKING:
    import torch

WARM_UPS = 3
"""Calls before a graph is recorded: first calls allocate, choose kernels and compile, which cannot be recorded."""

Infer = Callable[["torch.Tensor"], "torch.Tensor"]


def staged(infer: Infer, x: Inputs, device: torch.device) -> Callable[[], tuple[float, float, float, float]]:
    """One inference on x[N, C, H, W] from pinned memory and back.

    Returns ms: to the device, computing and back, each between two CUDA events, and what the host took to launch the
    computing.
    """
    import torch

    with torch.inference_mode(), torch.cuda.device(device):
        given = torch.from_numpy(x).pin_memory()
        inside = given.to(device)
        logits = infer(inside)
        received = torch.empty_like(logits, device="cpu", pin_memory=True)
        event: Callable[..., torch.cuda.Event] = torch.cuda.Event  # untyped in torch
        marks = [event(enable_timing=True) for _ in range(4)]

    def run() -> tuple[float, float, float, float]:
        with torch.inference_mode(), torch.cuda.device(device):
            marks[0].record()
            inside.copy_(given, non_blocking=True)
            marks[1].record()
            began = time.perf_counter()
            logits = infer(inside)
            launch_ms = 1000 * (time.perf_counter() - began)
            marks[2].record()
            received.copy_(logits, non_blocking=True)
            marks[3].record()
            marks[3].synchronize()
        to_device, compute, back = (a.elapsed_time(b) for a, b in pairwise(marks))
        return to_device, compute, back, launch_ms

    return run


def graphed(infer: Infer, x: Inputs, device: torch.device) -> Callable[[], None]:
    """One inference on x[N, C, H, W], which lies on the device already, recorded as a CUDA graph and replayed.

    After torch's own recipe: warm up on a side stream, record there, replay. Raises `Unavailable` for a network that
    cannot be recorded, because it waits for the GPU or computes on the host in between.
    """
    import torch

    side_stream: Callable[..., torch.cuda.Stream] = torch.cuda.Stream  # untyped in torch
    graph, stream = torch.cuda.CUDAGraph(), side_stream(device)
    with torch.inference_mode(), torch.cuda.device(device):
        bound = torch.tensor(x, device=device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # restores the stream that was current, which a failed recording does not
            for _ in range(WARM_UPS):
                infer(bound)
            try:
                with torch.cuda.graph(graph, stream=stream):
                    infer(bound)
            except RuntimeError as error:
                raise _not_recorded(error) from error

    def replay(_kept_for_the_graph: torch.Tensor = bound) -> None:
        graph.replay()
        torch.cuda.synchronize(device)

    return replay


def no_graph_on_cpu() -> Unavailable:
    """What to raise where a CUDA graph is asked of a CPU."""
    return Unavailable("A CPU has no CUDA graphs", expected="an NVIDIA GPU", action="Measure without one")


def _not_recorded(error: RuntimeError) -> Unavailable:
    first_line = str(error).partition("\n")[0]
    return Unavailable(f"This network cannot be recorded as a CUDA graph: {first_line}", action="Measure without one")
