"""What a person reads of work that stopped, whatever stopped it."""

from __future__ import annotations

import errno

from core.errors import StudioError


def sentence_of(error: Exception, *, what: str, smaller: str, room: str, log: str) -> str:
    """One line that says why `what` stopped: an error of the studio's in its own words, anything else by its class.

    What to do is `smaller` where memory ran out and `room` where the disk is full; `log` says where the details are.
    """
    if isinstance(error, StudioError):
        return str(error)
    if isinstance(error, MemoryError) or "bad_alloc" in str(error):
        return f"The machine ran out of memory. Close other programs, or {smaller}."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The disk is full. Free some space, or {room}."
    first_line = str(error).partition("\n")[0][:200]
    return f"{what} stopped on an error nobody foresaw ({type(error).__name__}: {first_line}). {log}"
