"""One file through a sandboxed process: starts it, believes nothing that it says, and ends it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import Refused
from core.progress import Event, Steps
from intake.sandbox import verdicts
from intake.sandbox.launching import start
from intake.sandbox.process import Child
from intake.sandbox.task import Task

MOST_EVENTS = 50_000
MOST_FILES = 100
LOOK_SECONDS = 0.5
"""Between two looks at how much it has written."""


def run(task: Task) -> Steps[dict[str, Any]]:
    """What the parser returned; its events are passed on. Closing the generator kills the process.

    Raises `Refused` for whatever the file makes of it, with the folder `out` emptied, and `Unavailable` where nothing
    confines the process.
    """
    child = start(task).child
    done = False
    try:
        child.say("go")
        answer = yield from _listen(child, task)
        child.end()
        if (size := written(task.out)) is None or size > task.out_bytes:
            raise verdicts.nonsense() if size is None else verdicts.too_large(task.out_bytes)
        done = True
        return answer
    finally:
        child.end()
        if not done:
            _say_why(child)
            _empty(task.out)


def written(folder: Path) -> int | None:
    """Bytes of the files in a folder; None where anything in it is no plain file, or there are too many."""
    entries = [path.lstat() for path in folder.iterdir()]
    plain = all(stat.S_ISREG(found.st_mode) and found.st_nlink == 1 for found in entries)
    return sum(map(_taken, entries)) if plain and len(entries) <= MOST_FILES else None


def _listen(child: Child, task: Task) -> Steps[dict[str, Any]]:
    """Pass events on until the last message, and return the result in it."""
    end, looked = time.monotonic() + task.seconds, time.monotonic()
    for _ in range(MOST_EVENTS):
        line = None
        while line is None:
            now = time.monotonic()
            if now >= end:
                raise verdicts.too_slow(task.seconds)
            if now - looked >= LOOK_SECONDS:
                looked = now
                _look_at_disk(task)
            try:
                line = child.line(min(LOOK_SECONDS, end - now))
            except TimeoutError:
                continue
            if line is None:
                raise _last_words(child, task)
        message = _message(line)
        if "event" not in message:
            return _result(message, task)
        if event := _event(message["event"]):
            yield event
    raise verdicts.nonsense()


def _last_words(child: Child, task: Task) -> Refused:
    """Why it fell silent without a last message."""
    status = None if child.overflowed else child.exit_status()
    return verdicts.nonsense() if status is None else verdicts.died(status, child.words, task)


def _look_at_disk(task: Task) -> None:
    """Raises `Refused` where it wrote too much, in whatever folders, or the disk runs full."""
    try:
        size = sum(_taken(path.lstat()) for folder in task.writable for path in folder.rglob("*"))
    except OSError:
        size = 0
    if size > task.out_bytes:
        raise verdicts.too_large(task.out_bytes)
    if shutil.disk_usage(task.out).free < task.kept_free_bytes:
        raise verdicts.no_room()


def _taken(found: os.stat_result) -> int:
    """Bytes on disk: a file can be longer than what is stored of it, and more can be set aside than its length."""
    return max(found.st_size, 512 * getattr(found, "st_blocks", 0))


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise verdicts.nonsense() from None
    if not isinstance(message, dict) or len(message) != 1:
        raise verdicts.nonsense()
    return message


def _event(data: object) -> Event | None:
    try:
        return verdicts.event_of(data)
    except (ValidationError, RecursionError):
        raise verdicts.nonsense() from None


def _result(message: dict[str, Any], task: Task) -> dict[str, Any]:
    """The result in a last message. Raises `Refused` for any other."""
    ((kind, content),) = message.items()
    if kind == "result" and isinstance(content, dict):
        return content
    refusals: dict[str, Refused] = {
        "refused": verdicts.refusal(content),
        "memory": verdicts.too_hungry(task.memory_bytes),
        "disk": verdicts.too_large(task.out_bytes),
        "failed": verdicts.failed(str(content)),
    }
    raise refusals.get(kind) or verdicts.nonsense()


def _say_why(child: Child) -> None:
    """Into the log of whoever asked."""
    if child.words:
        print(child.words, file=sys.stderr, flush=True)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
