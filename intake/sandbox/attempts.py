"""What a sandboxed process tries before it reads a file, and has to fail at."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from intake.sandbox.task import Request

_REFUSED = {errno.EPERM, errno.EACCES}
_ABSENT = {*_REFUSED, errno.ENOENT, errno.ENOTDIR}
_TRACE_ME = 0


class Attempt(BaseModel):
    """One thing that was tried."""

    model_config = ConfigDict(frozen=True)

    what: str
    held: bool
    """Whether it was refused, as it has to be."""
    detail: str
    """What the system answered."""


def try_all(request: Request) -> list[Attempt]:
    """Try to break out in every way that `Request.trap` offers. Harmless where something succeeds."""
    trap, memory = request.trap, request.task.memory_bytes
    return [
        _attempt("Read a file of yours", _ABSENT, lambda: trap.canary.read_bytes()),
        _attempt("Write a file elsewhere", _ABSENT, lambda: trap.mark.write_bytes(b"out")),
        _attempt("Change the mode of a file", _ABSENT, lambda: trap.canary.chmod(0o600)),
        _attempt("Connect over TCP", _REFUSED, lambda: _connect(trap.port)),
        _attempt("Send a packet over UDP", _REFUSED, lambda: _send(trap.port)),
        _attempt("Start a program", _REFUSED, _start_program),
        _attempt("Start a process", _REFUSED, _start_process),
        _attempt("List other processes", _REFUSED, _list_processes),
        _attempt("Signal another process", _REFUSED, lambda: os.kill(trap.parent, 0)),
        _attempt("Trace a process", _REFUSED, _trace),
        _attempt(f"Take more than {memory / 2**30:.3g} GiB of memory", {errno.ENOMEM}, lambda: _allocate(memory)),
    ]


def _attempt(what: str, refusals: set[int], act: Callable[[], object]) -> Attempt:
    try:
        act()
    except OSError as error:
        answer = error.strerror or "refused"
        return Attempt(what=what, held=error.errno in refusals, detail=answer)
    except (ImportError, AttributeError, ValueError) as error:
        return Attempt(what=what, held=False, detail=f"could not be tried: {error}")
    return Attempt(what=what, held=False, detail="It succeeded")


def _connect(port: int) -> None:
    import socket

    socket.create_connection(("127.0.0.1", port), timeout=2).close()


def _send(port: int) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"out", ("127.0.0.1", port))


def _start_program() -> None:
    os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}), 0)


def _start_process() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _list_processes() -> None:
    """Raises where none but this one, and the first one of a namespace, can be seen."""
    others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]
    if not others:
        raise PermissionError(errno.EPERM, "There are none to see")


def _trace() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).ptrace(_TRACE_ME, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _allocate(memory_bytes: int) -> None:
    import mmap

    mmap.mmap(-1, memory_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
