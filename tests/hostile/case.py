"""One file of the corpus: how it is built, and what has to be said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Case:
    """A file that somebody might upload."""

    id: str
    wanted: Literal["model", "data"]
    """Where it is uploaded."""
    build: Callable[[Path], Path]
    """Writes the file into a folder, and returns its path."""
    says: str
    """A telling part of the sentence that refuses it; empty for an honest file, which has to pass."""

    @property
    def honest(self) -> bool:
        """Whether it has to be taken."""
        return not self.says
