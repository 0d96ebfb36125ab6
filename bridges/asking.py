"""Gives tasks to the process of another environment, which is started once and then kept waiting."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import IO, Any

from bridges.environments import ROOT, Environment
from bridges.keras.granted import GPU_VARIABLE
from core.devices import default_threads
from core.errors import BadInput, CannotCompose, NothingDone, RunFailed, StudioError, Unavailable
from core.progress import Steps, parse_event

_ERRORS: dict[str, type[StudioError]] = {
    each.__name__: each for each in (BadInput, CannotCompose, NothingDone, RunFailed, Unavailable)
}
_LAST_BYTES = 4096
"""Of what a process said last on its standard error."""
_LAST_WORDS_SECONDS = 10.0
"""The longest that they are waited for once it died: a machine may stall, and a process of its own hold them open."""
_STDERR = 2
_NO_MEMORY = ("bad_alloc", "out of memory", "MemoryError", "Cannot allocate memory", "mmap error: 12")
"""In the last words of one that died for want of memory; 12 is Linux's ENOMEM."""
_LESS = "Close other programs that use memory, or choose a smaller model"


def ask(environment: Environment, task: str, arguments: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """What a task, `module:function`, returns; its events are passed on.

    Files are handed over by their paths. Raises `Unavailable` where the environment is not installed, what the task
    raises of `core.errors`, and `RunFailed` for anything else that ends it, a crash of the process included. Where
    memory ran out it says `out of memory`, and the process has ended, so that it holds none any more.
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
            elif "out_of_memory" in message:
                process.end()
                raise process.out_of_memory(message["out_of_memory"])
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
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=variables(),
            text=True,
        )
        self._last_words = b""
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()

    def _listen(self, stderr: IO[str]) -> None:
        """Pass on what it says on its standard error, unless to a terminal, and remember the end of it.

        Somebody's terminal shows progress, which TensorFlow's greetings would break; it gets the end where it died.
        """
        while said := os.read(stderr.fileno(), _LAST_BYTES):
            self._last_words = (self._last_words + said)[-_LAST_BYTES:]
            if not os.isatty(_STDERR):
                _pass_on(said)
        stderr.close()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin
        self._last_words = b""
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

    def out_of_memory(self, said: str) -> RunFailed:
        """That it was, with the words of the library, which may tell which memory it was."""
        return RunFailed(f"The process of {self._title} ran out of memory ({said})", action=_LESS)

    def _death(self) -> RunFailed:
        code = self._process.wait()
        self._listener.join(_LAST_WORDS_SECONDS)
        words = self._last_words.decode(errors="replace")
        if os.isatty(_STDERR):
            _pass_on(self._last_words)
        if code == -signal.SIGKILL:
            return RunFailed(
                f"The process of {self._title} was killed, most often because the machine ran out of memory",
                action=_LESS,
            )
        if said := next((each for each in _NO_MEMORY if each in words), ""):
            return self.out_of_memory(said)
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        return RunFailed(
            f"The process of {self._title} crashed inside the library ({how})",
            action="The run's log has its last words; try other settings, or leave this technique out",
        )


def _pass_on(said: bytes) -> None:
    with contextlib.suppress(OSError):  # ours may be closed
        os.write(_STDERR, said)


def variables() -> dict[str, str]:
    """The environment variables of a process: quiet, and on the CPU unless a share of the GPU was granted."""
    threads = str(default_threads())
    given = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1", "TF_NUM_INTRAOP_THREADS": threads}
    if not os.environ.get(GPU_VARIABLE):
        return os.environ | given | {"CUDA_VISIBLE_DEVICES": "-1"}
    return os.environ | given | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
