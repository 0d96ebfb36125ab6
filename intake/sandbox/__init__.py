"""Runs a parser on an untrusted file in a process that can do nothing but read it and write its findings."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridges.environments import TENSORFLOW
from core.errors import Unavailable
from core.progress import Steps
from intake.limits import KEPT_FREE_BYTES, LIMITS, MIB
from intake.sandbox import verdicts
from intake.sandbox.checking import SelfTest, self_test
from intake.sandbox.running import run
from intake.sandbox.task import Task, interpreter_of, own_interpreter

__all__ = ["PARSERS", "SelfTest", "parse", "self_test", "why_unavailable"]

PARSERS = {
    "model": "intake.parsing.model:parse",
    "keras": "intake.parsing.keras:parse",
    "data": "intake.parsing.data:parse",
    "prepare": "intake.parsing.prepare:parse",
}
"""Generators of events, called with the file, an empty folder for what they write and options; plain data in return.

They import nothing of torch, and raise `core.errors.Refused`. `keras` runs in the environment of TensorFlow.
"""
_SECONDS = {"model": LIMITS.model_seconds, "keras": LIMITS.keras_seconds}
SCRATCH_FOLDERS = ("variables", "assets")
"""In the folder beside, which a confined process cannot make: those of a SavedModel."""


def parse(parser: str, file: Path, out: Path, options: Mapping[str, Any] | None = None) -> Steps[dict[str, Any]]:
    """What a parser of `PARSERS` found in the file; its events are passed on.

    Raises `Refused` as the parser does, or for a file that makes it crash, hang or take too much memory, and
    `Unavailable` where nothing confines it or its environment is not installed. In `out` there are plain files
    afterwards, or none where it raises.
    """
    file, out = file.resolve(), out.resolve()
    with _scratch(parser, out) as scratch:
        task = Task(
            parser=PARSERS[parser],
            file=file,
            out=out,
            options=dict(options or {}) | ({"scratch": str(scratch)} if scratch else {}),
            seconds=_SECONDS.get(parser, LIMITS.parse_seconds),
            memory_bytes=LIMITS.memory_bytes,
            out_bytes=_room(parser, file, out),
            kept_free_bytes=KEPT_FREE_BYTES,
            scratch=scratch,
            python=interpreter_of(TENSORFLOW.python) if parser == "keras" else own_interpreter(),
        )
        return (yield from run(task))


def why_unavailable() -> str | None:
    """Why uploads are off on this machine, in one sentence; None where they are on."""
    return self_test().absence


@contextlib.contextmanager
def _scratch(parser: str, out: Path) -> Iterator[Path | None]:
    """A folder on the same disk for libraries that read files only. Raises `Unavailable` without their environment."""
    if parser != "keras":
        yield None
        return
    if reason := TENSORFLOW.why_missing:
        raise Unavailable(reason)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=out.parent) as folder:
        for name in SCRATCH_FOLDERS:
            Path(folder, name).mkdir()
        yield Path(folder)


def _room(parser: str, file: Path, out: Path) -> int:
    """How many bytes a parser may write. Raises `Refused` where the disk is all but full."""
    free = shutil.disk_usage(out).free - KEPT_FREE_BYTES
    if free < file.stat().st_size:
        raise verdicts.no_room()
    wanted = 4 * file.stat().st_size + 64 * MIB if parser in _SECONDS else LIMITS.unpacked_bytes
    return min(wanted, free)
