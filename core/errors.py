"""Everything a person can cause, as one tree.

    StudioError
    ├── BadInput        a value, file or recipe that cannot be used as given
    │   └── Refused     an uploaded file that is not taken, often with lines of Python that convert it
    ├── CannotCompose   a technique or runtime that does not fit what comes before it
    ├── Unavailable     a library, device or format that is not here
    ├── NothingDone     a pass that would have changed nothing
    └── RunFailed       a run that stopped: out of memory, a crash, numbers that are not finite

Each message says what was received, what was expected and what to do, and is fit to be shown as it is.
"""


class StudioError(Exception):
    """A failure with a sentence for the person who caused it.

    >>> print(BadInput("ratio is 1.5", expected="a share between 0.05 and 0.95", action="Move the slider below 0.95"))
    ratio is 1.5; expected a share between 0.05 and 0.95. Move the slider below 0.95.
    """

    def __init__(self, received: str, *, expected: str = "", action: str = "") -> None:
        self.received, self.expected, self.action = received, expected, action
        sentence = received.rstrip(".") + (f"; expected {expected.rstrip('.')}" if expected else "") + "."
        super().__init__(f"{sentence} {action.rstrip('.')}." if action else sentence)


class BadInput(StudioError):
    """A value, file or recipe that cannot be used as given."""


class Refused(BadInput):
    """An uploaded file that is not taken; `snippet` are lines of Python that convert it where it was made, or empty."""

    def __init__(self, received: str, *, expected: str = "", action: str = "", snippet: str = "") -> None:
        super().__init__(received, expected=expected, action=action)
        self.snippet = snippet


class CannotCompose(StudioError):
    """A technique or runtime that does not fit what comes before it."""


class Unavailable(StudioError):
    """A library, device or format that is not on this machine."""


class NothingDone(StudioError):
    """A pass that would have left the model unchanged."""


class RunFailed(StudioError):
    """A run that stopped before its result."""
