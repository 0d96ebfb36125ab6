"""What training steps take: time and memory. Imports torch: import it inside functions only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MEMORY_LABELS = {
    "cpu": "weights, gradients, optimizer state and all that is kept for the backward pass, counted at the first step",
    "cuda": "peak of torch's allocator during the steps, without the training images and the other run",
}


class Stopwatch:
    """Laps on a device; on a GPU between events in its stream, for which the host waits only when they are read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began: float | torch.cuda.Event = 0.0
        self._laps: list[tuple[float | torch.cuda.Event, float | torch.cuda.Event]] = []

    def start(self) -> None:
        """Begin a lap."""
        self._began = self._now()

    def stop(self) -> None:
        """End the lap."""
        self._laps.append((self._began, self._now()))

    def read(self) -> list[float]:
        """Every lap since the last reading, in ms."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        laps, self._laps = self._laps, []
        return [_between_ms(began, ended) for began, ended in laps]

    def _now(self) -> float | torch.cuda.Event:
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            torch.cuda.current_stream(self._device).record_event(event)
            return event
        return time.perf_counter()


def _between_ms(began: float | torch.cuda.Event, ended: float | torch.cuda.Event) -> float:
    if isinstance(began, float) and isinstance(ended, float):
        return 1000 * (ended - began)
    return float(began.elapsed_time(ended))  # type: ignore[union-attr,arg-type]


class StepMemory:
    """The memory that training one network takes, while others may lie on the same device.

    On a GPU the allocator knows it. On a CPU nobody does: the process grows and shrinks for many reasons. There the
    tensors are counted which autograd keeps for the backward pass, each piece of memory once.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._network, self._optimizer = network, optimizer
        self._device = next(network.parameters()).device
        self._kept: dict[int, int] = {}
        self._first: int | None = None
        self._peaks: list[int] = []

    @contextmanager
    def during_turn(self) -> Iterator[None]:
        """Watch the allocator of a GPU while the steps of a turn run."""
        if self._device.type != "cuda":
            yield
            return
        before = torch.cuda.memory_allocated(self._device) - self._resident()
        torch.cuda.reset_peak_memory_stats(self._device)
        yield
        peak = torch.cuda.max_memory_allocated(self._device) - before
        if self._first is None:
            self._first = peak
        else:
            self._peaks.append(peak)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what a forward pass keeps; on a GPU there is no need."""
        if self._device.type == "cuda":
            yield
            return
        own = [*self._network.parameters(), *self._network.buffers()]
        resident = {tensor.untyped_storage().data_ptr() for tensor in own}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in resident:
                self._kept[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield

    @property
    def peak_bytes(self) -> int:
        """The highest so far; a GPU's first turn, in which libraries set themselves up, counts only while alone."""
        if self._device.type == "cuda":
            return max(self._peaks or [self._resident() if self._first is None else self._first])
        return self._resident() + sum(self._kept.values())

    def state_dict(self) -> dict[str, Any]:
        """What another has to know to go on."""
        return {"kept": sum(self._kept.values()), "peaks": self._peaks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another left off; in a new process the first turn is one again."""
        self._kept, self._peaks = {0: state["kept"]}, list(state["peaks"])

    def _resident(self) -> int:
        """Bytes of weights, buffers, gradients and optimizer state."""
        weights = list(self._network.parameters())
        states = (value for state in self._optimizer.state.values() for value in state.values())
        tensors = [*weights, *self._network.buffers(), *(weight.grad for weight in weights), *states]
        return sum(each.nbytes for each in tensors if isinstance(each, Tensor) and each.device == self._device)
