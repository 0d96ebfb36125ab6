"""Whose turn it is among the jobs that people start: one of a person's is at work at a time, and few on the machine.

Each takes its turn by locks on files, which the system gives back whatever becomes of the process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from core.folders import data_folder
from intake.library import own_folder

AT_ONCE = 2
"""Jobs of one sort on the whole machine."""
POLL_SECONDS = 0.2


@contextmanager
def turn(owner: str, sort: str, sign: Path) -> Iterator[None]:
    """Wait until no other job of that sort works for this person, and fewer than `AT_ONCE` do for anybody.

    The file `sign` is there while it waits.
    """
    machine = data_folder() / "own"
    with ExitStack() as held:
        held.callback(sign.unlink, missing_ok=True)
        held.callback(_first_free([own_folder(owner) / f"{sort}.lock"], sign).release)
        held.callback(_first_free([machine / f"{sort}-{place}.lock" for place in range(AT_ONCE)], sign).release)
        sign.unlink(missing_ok=True)
        yield


def _first_free(places: Sequence[Path], sign: Path) -> FileLock:
    """A lock that is held on the first of the files on which nobody else holds one."""
    locks = [FileLock(place) for place in places]
    while True:
        for lock in locks:
            with suppress(Timeout):
                lock.acquire(blocking=False)
                return lock
        sign.touch()
        time.sleep(POLL_SECONDS)
