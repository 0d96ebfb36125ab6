"""Numbers and words as they appear on screen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

KIB, MIB, GIB = 2**10, 2**20, 2**30
FEW_MICROSECONDS = 0.1
"""In ms; shorter times are told in microseconds."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~$:&])")
_CODE = re.compile(r"((?<!`)`[^`\n\\\[\]|<>]+`(?!`))")
"""A name or a command between backticks, without what could end the span, or what is around it, before its time."""
_LINK = re.compile(r"(?<=www)(?=\.)|(?<=[a-z])(?=://)|(?<=[\w.+-])(?=@)", re.IGNORECASE)
"""Where text would become a link although all of markdown's characters are literal: a browser shows no difference."""
_JOINER = "\u2060"
"""A character without width, that belongs to no address."""


def data_size(size_bytes: float) -> str:
    """`2.83 MiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit:
            return f"{_three_digits(size_bytes / unit)} {name}"
    return f"{size_bytes:.0f} B"


def milliseconds(value_ms: float) -> str:
    """`0.47 ms`, `12.3 ms`, and `15.1 µs` below a tenth of a millisecond, which two decimals would hide."""
    if _is_brief(value_ms):
        return fine_milliseconds(value_ms)
    return f"{_three_digits(value_ms)} ms"


def fine_milliseconds(value_ms: float) -> str:
    """`0.523 ms`, and below a tenth of a millisecond `7.2 µs`: for comparisons, as fine as calls are timed."""
    return f"{fine_numbers(value_ms, like=value_ms)[0]} {fine_unit(value_ms)}"


def fine_unit(value_ms: float) -> str:
    """`µs` below a tenth of a millisecond, else `ms`."""
    return "µs" if _is_brief(value_ms) else "ms"


def fine_numbers(*values_ms: float, like: float) -> list[str]:
    """Times without their unit, which is that of `fine_milliseconds` for the time `like`."""
    scale, decimals = (1000, 1) if _is_brief(like) else (1, 3)
    return [f"{scale * value:.{decimals}f}" for value in values_ms]


def signed(value: float, show: Callable[[float], str]) -> str:
    """A difference with its sign: `-8.1 µs`."""
    return ("-" if value < 0 else "+") + show(abs(value))


def share(value: float) -> str:
    """A share between 0 and 1 as `92.83 %`."""
    return f"{100 * value:.2f} %"


def count(value: float) -> str:
    """`9.2 k`, `4.65 M`: a number of parameters or multiply-accumulates."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{_three_digits(value / unit)} {name}"
    return f"{value:.0f}"


def ago(at: float) -> str:
    """How long before now a moment in seconds since the epoch was: `3 min ago`."""
    passed = max(0.0, time.time() - at)
    for seconds, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if passed >= seconds:
            return f"{passed // seconds:.0f} {name} ago"
    return "just now"


def escape(text: str) -> str:
    """The text with markdown's special characters made literal, so that a name can neither format nor load anything.

    What looks like an address gets a character without width, as it would become a link otherwise. What stands between
    backticks is set as code, in which no character is special.
    """
    parts = _CODE.split(text)
    return "".join(part if number % 2 else _literal(part) for number, part in enumerate(parts))


def sentence(text: str) -> str:
    """The same, beginning with a capital letter unless it begins with a name: `bf16`, `torch.compile`."""
    is_word = text.partition(" ")[0].isalpha()
    return escape(text[:1].upper() + text[1:] if is_word else text)


def _literal(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _LINK.sub(_JOINER, text))


def _is_brief(value_ms: float) -> bool:
    return 0 < value_ms < FEW_MICROSECONDS


def _three_digits(value: float) -> str:
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{decimals}f}"
