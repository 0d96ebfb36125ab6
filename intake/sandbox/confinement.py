"""What a sandboxed process does to itself before it reads anything: it gives up all that it does not need."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from core.errors import Unavailable
from intake.sandbox import landlock, seccomp
from intake.sandbox.task import DEVICES, Request, facts_of_machine

OPEN_FILES = 256
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPABILITIES_VERSION = 0x20080522


def confine(request: Request) -> dict[str, str]:
    """Confine this process for good: for each layer its name and why it is missing, or an empty reason.

    What is missing is no failure here: `attempts` measures what holds. Raises `Unavailable` where other threads run,
    which would stay as they are.
    """
    layers: dict[str, Callable[[], None]] = {"resource limits": lambda: _limit(request)}
    if request.mechanism != "none":
        _single_thread()
        layers |= {"Landlock": lambda: _restrict(request), "seccomp": _filter}
    return {name: _reason(layer) for name, layer in layers.items()}


def _reason(layer: Callable[[], None]) -> str:
    try:
        layer()
    except (Unavailable, OSError, ValueError, ImportError, AttributeError) as error:
        return str(error).rstrip(".")
    return ""


def _limit(request: Request) -> None:
    """Bounds on memory, processor time, files and core dumps."""
    import resource

    task = request.task
    bounds = {
        resource.RLIMIT_DATA: task.memory_bytes,
        # Beside its own memory a process maps the file and its libraries, which costs no memory by itself.
        resource.RLIMIT_AS: task.memory_bytes + _size(task.file) + 4 * 2**30,
        resource.RLIMIT_CPU: 2 * math.ceil(task.seconds),
        resource.RLIMIT_FSIZE: task.out_bytes,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, wanted in bounds.items():
        most = resource.getrlimit(kind)[1]
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(kind, (allowed, allowed))
    if sys.platform == "linux":
        _end_with_parent(request)
        with contextlib.suppress(OSError):  # should memory run short, this process goes first
            Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_parent(request: Request) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if request.mechanism != "bubblewrap" and os.getppid() != request.trap.parent:
        os._exit(1)  # it went away before the line above


def _restrict(request: Request) -> None:
    """Leave nothing but the files that are needed, and no privileges."""
    if request.mechanism == "landlock" and landlock.version() < landlock.ENOUGH_ALONE:
        raise Unavailable(f"without bubblewrap, version {landlock.ENOUGH_ALONE} of it is needed (Linux 6.2)")
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unavailable("the kernel keeps privileges")
    landlock.restrict((*request.readable, *facts_of_machine(), *DEVICES), request.task.writable)


def _filter() -> None:
    """Drop every capability, then the calls that reach beyond the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.capset(struct.pack("=Ii", _CAPABILITIES_VERSION, 0), bytes(24)):
        raise Unavailable(f"capabilities cannot be dropped ({os.strerror(ctypes.get_errno())})")
    seccomp.install()


def _single_thread() -> None:
    """These rules hold for the thread that sets them and those it starts later. Raises `Unavailable` for others."""
    if len(os.listdir("/proc/self/task")) > 1:
        raise Unavailable("a library has started threads before the process was confined")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
