"""What is measured, by shape alone: profiling knows nothing else of runtimes and their artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from core.data import Floats, Inputs


class Subject(Protocol):
    """An opened session. One whose engine takes GPU memory past PyTorch says so: `allocates_past_torch = True`.

    One whose engine takes only so many images at once says how many: `largest_batch = 64`.
    """

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One inference on x, already in place; returns only when the device has finished."""


@runtime_checkable
class Staged(Protocol):
    """A session that can time its way to the GPU and back."""

    def stages(self, x: Inputs) -> Callable[[], tuple[float, float, float, float]] | None:
        """One inference on x[N, C, H, W] from outside memory; None on a CPU, where there are no such stages.

        Returns ms: to the device, computing, and back, each by the GPU's own clock, and what the host took to launch.
        """


@runtime_checkable
class Graphable(Protocol):
    """A session whose inference can be recorded once and replayed as a whole."""

    def bind_graph(self, x: Inputs) -> Callable[[], None]:
        """Like `bind`, as a CUDA graph. Raises `Unavailable` where there is none, with the reason."""


class Shipped(Protocol):
    """Files that ship together."""

    @property
    def folder(self) -> Path:
        """Where they lie."""

    @property
    def files(self) -> tuple[str, ...]:
        """Their names."""
