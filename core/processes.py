"""Whether a process that was noted down still lives."""

from __future__ import annotations

import psutil


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
    """End a process and all that it started; nothing happens where it is gone."""
    try:
        process = psutil.Process(pid)
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
