"""Starts sandboxed processes, and lets none read a file before it failed to break out."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import Unavailable
from intake.sandbox.attempts import Attempt
from intake.sandbox.process import Child, command
from intake.sandbox.task import Mechanism, Request, Task, Trap, readable

UNCONFINED_VARIABLE, MECHANISM_VARIABLE = "STUDIO_UNCONFINED_UPLOADS", "STUDIO_SANDBOX"
"""Set to 1, uploads are read where nothing confines the process; one of `Mechanism`, nothing else is tried."""
START_SECONDS = 30.0
_INSTALL = "Install bubblewrap (apt install bubblewrap), or use Linux 6.2 or later with Landlock switched on"
_TRUST = f"Use Linux, or set {UNCONFINED_VARIABLE}=1 where every file is one that you made yourself"


class Hello(BaseModel):
    """The first thing that a sandboxed process says."""

    model_config = ConfigDict(frozen=True)

    layers: dict[str, str]
    """By name, why a layer is missing; empty where it is in place."""
    attempts: tuple[Attempt, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing that was tried succeeded."""
        return bool(self.attempts) and all(attempt.held for attempt in self.attempts)


@dataclass(frozen=True)
class Started:
    """A process that waits for "go"."""

    child: Child
    mechanism: Mechanism
    hello: Hello


def start(task: Task, port: int = 9) -> Started:
    """A sandboxed process that proved to be confined, or one that need not be, where the administrator allows that.

    Raises `Unavailable` where nothing confines it.
    """
    reasons = []
    for mechanism in mechanisms():
        started = _try(mechanism, task, port)
        if isinstance(started, Started):
            return started
        reasons.append(started)
    why = "; ".join(reasons) or _nothing_to_try()
    action = _INSTALL if sys.platform == "linux" else _TRUST
    raise Unavailable(f"Nothing confines the process that would read an uploaded file: {why}", action=action)


def _nothing_to_try() -> str:
    if forced := os.environ.get(MECHANISM_VARIABLE):
        return f"{MECHANISM_VARIABLE} is set to {forced}"
    return f"that needs Linux, and this system is {sys.platform}"


def mechanisms() -> list[Mechanism]:
    """What to try here, the strongest first."""
    if wanted := os.environ.get(MECHANISM_VARIABLE):
        return [cast(Mechanism, wanted)] if wanted in get_args(Mechanism) and wanted != "none" else []
    if sys.platform != "linux":
        return ["none"] if unconfined_allowed() else []
    found: list[Mechanism] = ["bubblewrap"] if shutil.which("bwrap") else []
    return [*found, "landlock", "none"] if unconfined_allowed() else [*found, "landlock"]


def unconfined_allowed() -> bool:
    """Whether the administrator of this machine takes the risk."""
    return os.environ.get(UNCONFINED_VARIABLE) == "1"


def _try(mechanism: Mechanism, task: Task, port: int) -> Started | str:
    """The process, or why that mechanism is not enough."""
    with tempfile.TemporaryDirectory(prefix="studio-trap-") as trap:
        canary, mark = Path(trap, "canary"), Path(trap, "mark")
        canary.write_text("nobody reads this")
        request = Request(
            task=task,
            trap=Trap(canary=canary, mark=mark, port=port, parent=os.getpid()),
            readable=readable(task),
            mechanism=mechanism,
        )
        try:
            child = Child(command(mechanism, task), task.out, task.scratch)
        except OSError as error:
            return f"{mechanism} does not start ({error.strerror})"
        hello = _hello(child, request)
        if isinstance(hello, Hello) and mechanism != "none" and not (hello.holds and not mark.exists()):
            hello = f"{mechanism} does not hold ({_leaks(hello)})"
    if isinstance(hello, Hello):
        return Started(child=child, mechanism=mechanism, hello=hello)
    child.end()
    return hello


def _hello(child: Child, request: Request) -> Hello | str:
    """Its greeting, or why there is none."""
    child.say(request.model_dump_json())
    try:
        line = child.line(START_SECONDS)
        return Hello.model_validate(json.loads(line)["hello"]) if line else _silence(child, request)
    except TimeoutError:
        return f"{request.mechanism} took longer than {START_SECONDS:g} s to start"
    except (ValueError, KeyError, TypeError, ValidationError):
        return f"{request.mechanism} said something else than expected"


def _silence(child: Child, request: Request) -> str:
    time.sleep(0.05)  # for its last words to arrive
    last = child.words.strip().splitlines()[-1:]
    return f"{request.mechanism} does not work here" + (f" ({last[0][:200]})" if last else "")


def _leaks(hello: Hello) -> str:
    missing = [f"{name}: {reason}" for name, reason in hello.layers.items() if reason]
    return "; ".join([attempt.what for attempt in hello.attempts if not attempt.held] + missing)
