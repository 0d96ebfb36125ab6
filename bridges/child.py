"""The process of another environment: `python -m bridges.child`, with that environment's Python.

Tasks come as lines of JSON on the standard input. What it says are lines of JSON on the standard output: events, then
`result`, `error` or `out_of_memory`. Whatever libraries print goes to the standard error, also from C++. It ends when
the input does, or when the process that started it is gone.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from core.errors import StudioError
from core.progress import Steps

_EXHAUSTED = "ResourceExhaustedError"
"""What TensorFlow raises where memory runs out; it is not imported here."""
_NO_MEMORY = ("OOM when allocating", "exception:Status: 1,")
"""In the line of a message that tells of it, by TensorFlow and by oneDNN, whose status 1 is `dnnl_out_of_memory`."""
_SHOWN = 300
"""Characters of what a library says."""
_LOOK_SECONDS = 1.0


def main() -> None:
    """Carry out one task after the other."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        request = json.loads(line)
        _say(channel, _outcome(channel, request["task"], request["arguments"]))


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _say(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _outcome(channel: TextIO, task: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The last message of a task."""
    try:
        return {"result": _carry_out(channel, task, arguments)}
    except StudioError as error:
        kind = type(error).__name__
        return {"error": _told(kind, error.received, error.expected, error.action)}
    except Exception as error:  # the edge of this process: libraries raise anything
        traceback.print_exc()
        name = type(error).__name__
        lines = str(error).strip().splitlines()
        telling = [line.strip() for line in lines if any(words in line for words in _NO_MEMORY)]
        if telling or isinstance(error, MemoryError) or name == _EXHAUSTED:
            return {"out_of_memory": ": ".join([name, *(telling or lines)[:1]])[:_SHOWN]}
        return {"error": _told("RunFailed", f"The library stopped ({name}: {''.join(lines[:1])[:_SHOWN]})", "", "")}


def _told(kind: str, received: str, expected: str, action: str) -> dict[str, str]:
    return {"kind": kind, "received": received, "expected": expected, "action": action}


def _carry_out(channel: TextIO, task: str, arguments: dict[str, Any]) -> dict[str, Any]:
    module, _, name = task.partition(":")
    package = module.rpartition(".")[0]
    _prepare(package)
    getattr(importlib.import_module(package), "begin_anew", lambda: None)()
    steps: Steps[dict[str, Any]] = getattr(importlib.import_module(module), name)(**arguments)
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        _say(channel, {"event": event.model_dump()})


@functools.cache
def _prepare(package: str) -> None:
    """Let a package of tasks do once, before its first one, what it wants done."""
    getattr(importlib.import_module(package), "prepare", lambda: None)()


if __name__ == "__main__":
    main()
