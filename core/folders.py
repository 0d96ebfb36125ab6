"""Where runs, their artifacts and logs lie."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Where runs and logs are kept: `STUDIO_DATA`, or `studio-data` beside the code. Created when missing."""
    folder = Path(os.environ.get("STUDIO_DATA") or Path(__file__).parent.parent / "studio-data").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_folder(run_id: str) -> Path:
    """The folder of one run. Created when missing."""
    folder = data_folder() / "runs" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder
