"""Runs in the sandbox: one confined process reads many files, one after the other, as each has a process elsewhere."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.progress import Steps, result_of
from intake.sandbox import PARSERS


def parse(folder: Path, out: Path, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """By case, what was said of its file, after how many seconds of processor; `marked` names those that ran something.

    `options["files"]` has the kind and the path of each case, `options["given"]` what every parser gets. Here a payload
    could leave its marker: the folder `out` may be written to, where nothing can be deleted again.
    """
    yield from ()
    said, marked = {}, []
    for case, (wanted, path) in options["files"].items():
        marker = out / f"marker-{case}"
        os.environ["STUDIO_MARKER"] = str(marker)
        began = time.process_time()
        sentence = _read(wanted, Path(path), out, options.get("given", {}))
        said[case] = (sentence, time.process_time() - began)
        if marker.exists():
            marked.append(case)
    return {"said": said, "marked": marked}


def _read(wanted: str, file: Path, draft: Path, given: Mapping[str, Any]) -> str:
    module, _, name = PARSERS[wanted].partition(":")
    try:
        result_of(getattr(importlib.import_module(module), name)(file, draft, given))
    except StudioError as error:
        return str(error)
    except Exception as error:
        return f"unforeseen: {error!r}"
    return ""
