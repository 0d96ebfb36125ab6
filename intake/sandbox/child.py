"""The sandboxed process: it confines itself, proves it, reads one file and tells what it found.

A request comes as one line of JSON on its standard input. What it says are lines of JSON: first `hello` with what
confines it, then events, last `result`, `refused`, `memory`, `disk` or `failed`. Whatever else is printed goes to the
standard error.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from core.errors import Refused, StudioError
from core.progress import Progress, Steps
from intake.sandbox.attempts import try_all
from intake.sandbox.confinement import confine
from intake.sandbox.task import Request, Task

PAUSE_SECONDS = 0.1
"""Between two events that tell of progress."""


def main() -> None:
    """Carry out one request."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    request = Request.model_validate_json(sys.stdin.readline())
    layers = confine(request)
    attempts = [attempt.model_dump() for attempt in try_all(request)]
    say({"hello": {"layers": layers, "attempts": attempts}})
    # Only when the parent is content with that does it ask for more.
    if request.task.parser and sys.stdin.readline().strip() == "go":
        say(_outcome(request.task, say))


def _outcome(task: Task, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The last message."""
    try:
        return {"result": _work(task, say)}
    except StudioError as error:
        snippet = error.snippet if isinstance(error, Refused) else ""
        words = {"received": error.received, "expected": error.expected, "action": error.action, "snippet": snippet}
        return {"refused": words}
    except MemoryError:
        return {"memory": True}
    except OSError as error:
        traceback.print_exc()
        if error.errno in (errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return {"memory": True} if error.errno == errno.ENOMEM else {"disk": True}
        return {"failed": type(error).__name__}
    except Exception as error:
        traceback.print_exc()
        return {"failed": type(error).__name__}


def _work(task: Task, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    module, _, name = task.parser.partition(":")
    steps: Steps[dict[str, Any]] = getattr(importlib.import_module(module), name)(task.file, task.out, task.options)
    told = 0.0
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if isinstance(event, Progress):
            if time.monotonic() - told < PAUSE_SECONDS:
                continue
            told = time.monotonic()
        say({"event": event.model_dump()})
