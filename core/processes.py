"""Whether a process that was noted down still lives, and how to end one."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

SECONDS_TO_DIE = 10.0
"""A killed process lives on until the system has taken its memory back, and longer where a disk does not answer."""
_LOOK_SECONDS = 0.01


def is_alive(pid: int, started_at: float) -> bool:
    """Whether the very process lives that began at that time, in seconds since the epoch.

    A zombie does not, nor another with the same number.
    """
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started_at) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_family(pid: int) -> None:
    """End a process and all that it started, and return once they have ended: none of them writes a file any more.

    Nothing happens where it is gone. Their exit codes stay for whoever started them.
    """
    try:
        process = psutil.Process(pid)
        process.suspend()  # starts nothing while its children are looked for
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    give_up = time.monotonic() + SECONDS_TO_DIE
    while any(map(_lives, family)) and time.monotonic() < give_up:
        time.sleep(_LOOK_SECONDS)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
