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
    found, marked = {}, []
    for number, (wanted, path) in enumerate(options["files"]):
        os.environ["STUDIO_MARKER"] = str(marker := out / f"marker-{number}")
        before = _changed_at(out)
        found[path] = {"number": number} | _read(wanted, Path(path), out)
        for name, at in _changed_at(out).items():
            if before.get(name) != at and name != marker.name:
                shutil.copyfile(out / name, out / f"{number}-{name}")
        if marker.exists():
            marked.append(path)
    return {"found": found, "marked": marked}


def _changed_at(folder: Path) -> dict[str, int]:
    """When each file was last written: here nothing can be deleted or put into a folder of its own."""
    return {each.name: each.stat().st_mtime_ns for each in folder.iterdir()}


def _read(wanted: str, file: Path, draft: Path) -> dict[str, Any]:
    module, _, name = PARSERS[wanted].partition(":")
    try:
        return {"facts": result_of(getattr(importlib.import_module(module), name)(file, draft, {"name": file.name}))}
    except Refused as error:
        return {"refused": [error.received, error.expected, error.action, error.snippet]}
