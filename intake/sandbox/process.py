"""A sandboxed process as its parent sees it: lines of bounded length, and a bounded amount of what else it printed."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from intake.sandbox.task import DEVICES, ROOT, Mechanism, Task, facts_of_machine, readable

MOST_LINE_BYTES = 32 * 2**20
MOST_WORDS_BYTES = 64 * 2**10
"""Kept of what goes to the standard error; the rest is read and dropped."""
_START = "import sys; sys.path += sys.argv[1:]; from intake.sandbox.child import main; main()"
_KEPT = ("SYSTEMROOT",)
"""Without this variable no Python starts on Windows."""


class Child:
    """A process that was started; `end` has to be called in the end."""

    def __init__(self, command: Sequence[str], folder: Path, scratch: Path | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(scratch or folder),
            start_new_session=True,
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue(maxsize=4)
        self._words = bytearray()
        self.overflowed = False
        """Whether it wrote a line that is longer than any has to be."""
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._overhear)]
        for thread in self._threads:
            thread.start()

    def say(self, line: str) -> None:
        """Write a line on its standard input. One that is gone does not hear it."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def line(self, timeout: float) -> bytes | None:
        """Its next line, or None after the last. Raises `TimeoutError` after so many seconds without one."""
        try:
            return self._lines.get(timeout=max(0.0, timeout))
        except queue.Empty:
            raise TimeoutError from None

    def exit_status(self) -> int | None:
        """What it ended with after its last line, negative for a signal; None where it goes on without a word."""
        try:
            status = self._process.wait(2)
        except subprocess.TimeoutExpired:
            return None
        self._threads[1].join(1)
        return 128 - status if status > 128 else status  # as bubblewrap tells of a signal

    def end(self) -> None:
        """Kill it and all that it started."""
        if self._process.returncode is None:
            self._kill()
            self._process.wait()
        give_up = time.monotonic() + 2
        while self._threads[0].is_alive() and time.monotonic() < give_up:
            with contextlib.suppress(queue.Empty):
                self._lines.get(timeout=0.05)
        self._threads[1].join(1)
        if not any(thread.is_alive() for thread in self._threads):
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]

    @property
    def words(self) -> str:
        """The last of what it printed elsewhere."""
        return self._words.decode(errors="replace")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        assert self._process.stdout
        while line := self._process.stdout.readline(MOST_LINE_BYTES + 1):
            if len(line) > MOST_LINE_BYTES:
                self.overflowed = True
                break
            self._lines.put(line)
        self._lines.put(None)

    def _overhear(self) -> None:
        assert self._process.stderr
        while chunk := os.read(self._process.stderr.fileno(), 2**16):
            self._words += chunk
            del self._words[:-MOST_WORDS_BYTES]


def command(mechanism: Mechanism, task: Task) -> list[str]:
    """What starts a sandboxed process for that task."""
    paths = [str(ROOT), *map(str, task.python.packages)]
    python = [str(task.python.executable), "-I", "-S", "-B", "-X", "utf8", "-c", _START, *paths]
    return [*_bubblewrap(task), *python] if mechanism == "bubblewrap" else python


def _bubblewrap(task: Task) -> list[str]:
    """Namespaces of its own without network, and a file system that holds only what is needed.

    https://github.com/containers/bubblewrap
    """
    given = sorted({*readable(task), *(path for path in facts_of_machine() if path.parts[1] != "proc")})
    return [
        shutil.which("bwrap") or "bwrap",
        *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--proc", "/proc"),
        *(word for path in given for word in ("--ro-bind", str(path), str(path))),
        *(word for path in DEVICES for word in ("--dev-bind", str(path), str(path))),
        *(word for path in task.writable for word in ("--bind", str(path), str(path))),
        *("--remount-ro", "/", "--chdir", str(task.out), "--"),
    ]


def _environment(temporary: Path) -> dict[str, str]:
    """Nothing of ours but what Python needs to start; one thread in numerical libraries, and no GPU."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = {"PATH": os.defpath, "HOME": "/nowhere", "TMPDIR": str(temporary), "LANG": "C.UTF-8"}
    return {**kept, **single, **path, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
