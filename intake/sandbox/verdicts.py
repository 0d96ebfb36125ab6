"""What is said of a file that the sandboxed process did not come to an end with."""

from __future__ import annotations

import signal

from core.errors import Refused
from core.progress import Event, Note, Progress, parse_event
from intake.sandbox.task import Task

_MAYBE = "It may be damaged; save it again from the program that made it"
_MOST_CHARACTERS = 4_000


def too_slow(seconds: float) -> Refused:
    """It ran into the time limit."""
    return Refused(f"Reading it took longer than {seconds:g} s", action=f"{_MAYBE}, or bring a smaller one")


def too_hungry(memory_bytes: int) -> Refused:
    """It wanted more memory than there is."""
    return Refused(
        f"Reading it needs more than {memory_bytes / 2**30:.3g} GiB of memory",
        action=f"{_MAYBE}, or bring a smaller one",
    )


def too_large(out_bytes: int) -> Refused:
    """What it writes does not fit."""
    return Refused(
        f"What is in it takes more than {out_bytes / 2**20:,.0f} MiB on disk",
        action=f"{_MAYBE}, or bring a smaller one",
    )


def no_room() -> Refused:
    """The disk is all but full, whoever filled it."""
    return Refused("The disk has no room for it", action="Delete models, files or runs that are not needed any more")


def nonsense() -> Refused:
    """The process said or wrote what no parser does."""
    return Refused("Reading it led to an answer that makes no sense", action=_MAYBE)


def failed(kind: str) -> Refused:
    """The parser raised what it did not foresee."""
    known = kind if kind.isidentifier() and len(kind) < 60 else "unknown"
    return Refused(f"Reading it failed in an unforeseen way ({known})", action=_MAYBE)


def died(code: int, words: str, task: Task) -> Refused:
    """The process ended without a last message: `code` is its exit status, negative for a signal."""
    name = _name_of_signal(-code)
    if "bad_alloc" in words or "MemoryError" in words or name == "SIGKILL":
        return too_hungry(task.memory_bytes)
    if name == "SIGXCPU":
        return too_slow(task.seconds)
    if code >= 0:
        return Refused(f"Reading it ended the parser (exit status {code})", action=_MAYBE)
    return Refused(f"Reading it crashed the parser (signal {-code}, {name or 'unknown'})", action=_MAYBE)


def _name_of_signal(number: int) -> str:
    return next((each.name for each in signal.Signals if each == number), "")


def refusal(words: object) -> Refused:
    """What the parser itself said of the file."""
    if not isinstance(words, dict):
        return nonsense()
    received, expected, action, snippet = (
        str(words.get(key, ""))[:_MOST_CHARACTERS] for key in ("received", "expected", "action", "snippet")
    )
    return Refused(received, expected=expected, action=action, snippet=snippet) if received else nonsense()


def event_of(data: object) -> Event | None:
    """The event that a process reported, or None for what a parser has no business to report.

    Raises pydantic's `ValidationError` for what is no event.
    """
    event = parse_event(data)  # type: ignore[arg-type]
    if isinstance(event, Note):
        return event.model_copy(update={"text": event.text[:_MOST_CHARACTERS]})
    return event if isinstance(event, Progress) and len(event.unit) + len(event.doing) <= _MOST_CHARACTERS else None
