"""What is measured, by shape alone: profiling knows nothing else of runtimes and their artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from core.data import Floats


class Subject(Protocol):
    """An opened session."""

    def run(self, x: Floats) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""

    def bind(self, x: Floats) -> Callable[[], None]:
        """One inference on x, already in place; returns only when the device has finished."""


class Shipped(Protocol):
    """Files that ship together."""

    @property
    def folder(self) -> Path:
        """Where they lie."""

    @property
    def files(self) -> tuple[str, ...]:
        """Their names."""
