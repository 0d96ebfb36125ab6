"""Runs in the sandbox: one confined process reads the files of all rows, as each has a process elsewhere."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import Refused
from core.progress import Steps, result_of
from intake.sandbox import PARSERS


def parse(folder: Path, out: Path, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """By path, the facts of each file or why it was refused; what its parser wrote is `<number>-<name>` in `out`.

    `options["files"]` has the kind and the path of each. A payload could leave its marker, which `marked` tells of.
    """
    yield from ()
    os.environ["STUDIO_MARKER"] = str(marker := out / "marker")
    found, marked = {}, []
    for number, (wanted, path) in enumerate(options["files"]):
        (draft := out / "draft").mkdir()
        found[path] = {"number": number} | _read(wanted, Path(path), draft)
        for written in draft.iterdir():
            shutil.copyfile(written, out / f"{number}-{written.name}")
        shutil.rmtree(draft)
        if marker.exists():
            marked.append(path)
            marker.unlink()
    return {"found": found, "marked": marked}


def _read(wanted: str, file: Path, draft: Path) -> dict[str, Any]:
    module, _, name = PARSERS[wanted].partition(":")
    try:
        return {"facts": result_of(getattr(importlib.import_module(module), name)(file, draft, {"name": file.name}))}
    except Refused as error:
        return {"refused": [error.received, error.expected, error.action, error.snippet]}
