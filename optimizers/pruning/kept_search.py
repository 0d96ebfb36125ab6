"""What a search found, kept for a run that is killed. Imports torch: import it inside functions only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.pruning import Search
from optimizers.training.checkpoints import fingerprint_of


class KeptSearch:
    """The file of one search, named by all that decides what is looked for.

    Timings differ each time: a search that is repeated ends at another network, which no checkpoint of before fits.
    """

    def __init__(self, folder: Path, parts: Iterable[Any]) -> None:
        self._path = folder / f"search-{fingerprint_of(parts)}.json"

    def read(self) -> Search | None:
        """What was kept; None where nothing was, or nothing that can be read."""
        try:
            found = Search.model_validate_json(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if found.points else None

    def write(self, found: Search) -> None:
        """Keep it, so that a cut in power leaves all of it or nothing."""
        part = self._path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(found.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._path)
