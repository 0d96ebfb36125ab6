"""Whether the sandbox of this machine holds: the very process that would read a file tries to break out of it."""

from __future__ import annotations

import contextlib
import functools
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unavailable
from intake.limits import LIMITS
from intake.sandbox.attempts import Attempt
from intake.sandbox.launching import Started, start
from intake.sandbox.task import Task

AGAIN_SECONDS = 60.0


@dataclass(frozen=True)
class SelfTest:
    """What came of it."""

    mechanism: str
    """In words; empty where nothing confines."""
    attempts: tuple[Attempt, ...]
    seconds: float
    """How long it took, which is what every file waits before it is read."""
    absence: str | None
    """Why uploads are off, in one sentence; None where they are on."""
    confined: bool
    """False where the administrator allowed uploads without a sandbox."""


def self_test() -> SelfTest:
    """What confines uploaded files here: measured once a process, and again where nothing did a minute ago."""
    found, at = _first()
    if found.absence and time.monotonic() - at > AGAIN_SECONDS:
        _first.cache_clear()
        found, _ = _first()
    return found


@functools.cache
def _first() -> tuple[SelfTest, float]:
    return measure(), time.monotonic()


def measure() -> SelfTest:
    """What confines uploaded files on this machine, in about 0.3 s."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="studio-check-") as folder, _listeners() as (tcp, udp):
            out = Path(folder).resolve()
            started = start(_empty_task(out), tcp.getsockname()[1])
            started.child.end()
            attempts = tuple(_corrected(attempt, tcp, udp) for attempt in started.hello.attempts)
    except Unavailable as error:
        return SelfTest("", (), time.monotonic() - began, str(error), False)
    seconds, confined = time.monotonic() - began, started.mechanism != "none"
    return SelfTest(_in_words(started), attempts, seconds, _leak(attempts) if confined else None, confined)


def _empty_task(out: Path) -> Task:
    return Task(parser="", file=out / "nothing", out=out, seconds=10, memory_bytes=LIMITS.memory_bytes, out_bytes=2**20)


@contextlib.contextmanager
def _listeners() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP and a UDP socket on the same port of the loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(tcp.getsockname())
        tcp.settimeout(0)
        udp.settimeout(0)
        yield tcp, udp


def _corrected(attempt: Attempt, tcp: socket.socket, udp: socket.socket) -> Attempt:
    """What was tried over the network, unless something did arrive."""
    for protocol, receive in (("TCP", tcp.accept), ("UDP", lambda: udp.recv(16))):
        if protocol in attempt.what:
            with contextlib.suppress(OSError):
                receive()
                return attempt.model_copy(update={"held": False, "detail": "It arrived"})
    return attempt


def _leak(attempts: tuple[Attempt, ...]) -> str | None:
    leaks = [attempt.what.lower() for attempt in attempts if not attempt.held]
    return f"The sandbox does not hold: a confined process could {', '.join(leaks)}." if leaks else None


def _in_words(started: Started) -> str:
    outer = ["bubblewrap"] if started.mechanism == "bubblewrap" else []
    return " + ".join(outer + [name for name, missing in started.hello.layers.items() if not missing])
