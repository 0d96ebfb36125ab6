"""Gives tasks to the process of another environment, which is started once and then kept waiting."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

from bridges.environments import ROOT, Environment
from bridges.keras.granted import GPU_VARIABLE
from core.devices import default_threads
from core.errors import BadInput, CannotCompose, NothingDone, RunFailed, StudioError, Unavailable
from core.progress import Steps, parse_event

_ERRORS: dict[str, type[StudioError]] = {
    each.__name__: each for each in (BadInput, CannotCompose, NothingDone, RunFailed, Unavailable)
}


def ask(environment: Environment, task: str, arguments: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """What a task, `module:function`, returns; its events are passed on.

    Files are handed over by their paths. Raises `Unavailable` where the environment is not installed, what the task
    raises of `core.errors`, and `RunFailed` for anything else that ends it, a crash of the process included.
    """
    if reason := environment.why_missing:
        raise Unavailable(reason)
    process = _process(environment)
    try:
        process.say({"task": task, "arguments": dict(arguments)})
        while True:
            message = process.hear()
            if "event" in message:
                yield parse_event(message["event"])
            elif "result" in message:
                return message["result"]  # type: ignore[no-any-return]
            else:
                raise _error(message["error"])
    except StudioError:
        raise
    except BaseException:  # whoever asked no longer waits, or the process is out of step
        process.end()
        raise


@functools.cache
def _waiting() -> dict[str, _Process]:
    """The processes that wait, by environment."""
    return {}


def _process(environment: Environment) -> _Process:
    found = _waiting().get(environment.key)
    if found is None or not found.is_alive:
        found = _waiting()[environment.key] = _Process(environment)
    return found


def _error(told: Mapping[str, str]) -> StudioError:
    kind = _ERRORS.get(told["kind"], RunFailed)
    return kind(told["received"], expected=told["expected"], action=told["action"])


class _Process:
    """One that takes tasks as lines of JSON; it ends when this process does."""

    def __init__(self, environment: Environment) -> None:
        self._title = environment.title
        self._process = subprocess.Popen(
            [str(environment.python), "-m", "bridges.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=variables(),
            text=True,
        )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None

    def hear(self) -> dict[str, Any]:
        """Its next message. Raises `RunFailed` where it died."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        return json.loads(line)  # type: ignore[no-any-return]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _death(self) -> RunFailed:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return RunFailed(
                f"The process of {self._title} was killed, most often because the machine's memory ran out",
                action="Close other programs, or choose a smaller training batch",
            )
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        return RunFailed(
            f"The process of {self._title} crashed inside the library ({how})",
            action="The run's log has its last words; try other settings, or leave this technique out",
        )


def variables() -> dict[str, str]:
    """The environment variables of a process: quiet, and on the CPU unless a share of the GPU was granted."""
    threads = str(default_threads())
    given = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1", "TF_NUM_INTRAOP_THREADS": threads}
    if not os.environ.get(GPU_VARIABLE):
        return os.environ | given | {"CUDA_VISIBLE_DEVICES": "-1"}
    return os.environ | given | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
