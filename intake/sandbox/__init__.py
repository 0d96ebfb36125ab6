"""Runs a parser on an untrusted file in a process that can do nothing but read it and write its findings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.progress import Steps

PARSERS = {
    "model": "intake.parsing.model:parse",
    "data": "intake.parsing.data:parse",
    "prepare": "intake.parsing.prepare:parse",
}
"""Generators of events, called with the file, an empty folder for what they write and options; plain data in return.

They import nothing of torch, and raise `core.errors.Refused`.
"""


def parse(parser: str, file: Path, out: Path, options: Mapping[str, Any] | None = None) -> Steps[dict[str, Any]]:
    """What a parser of `PARSERS` found in the file; its events are passed on.

    Raises `Refused` as the parser does, or for a file that makes it crash, hang or take too much memory, and
    `Unavailable` where nothing confines it.
    """
    yield from ()
    raise NotImplementedError


def why_unavailable() -> str | None:
    """Why uploads are off on this machine, in one sentence; None where they are on."""
    raise NotImplementedError
