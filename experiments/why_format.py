"""Numbers and names as they stand in a sentence."""

from __future__ import annotations

from collections.abc import Sequence, Sized

from core.bundle import precision_title
from experiments.explanation import Measured


def ms(value: float) -> str:
    """`0.213 ms`, below a tenth of a millisecond `7.2 µs`, and of less than a microsecond one digit."""
    if abs(value) >= 0.1:
        return f"{value:.3g} ms"
    return f"{1000 * value:.1f} µs" if abs(value) >= 0.001 else f"{1000 * value:.1g} µs"


def times(ratio: float) -> str:
    """`2x`, `1.27x`."""
    return f"{ratio:.2f}".rstrip("0").rstrip(".") + "x"


def percent(share: float) -> str:
    """`70 %`."""
    return f"{100 * share:.0f} %"


def count(macs: int) -> str:
    """`80.5 million`, `1.2 billion`."""
    return f"{macs / 1e9:.3g} billion" if macs >= 1e9 else f"{macs / 1e6:.3g} million"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def faster(gain: float) -> str:
    """`2x faster`, `1.3x slower`."""
    return f"{times(gain)} faster" if gain >= 1 else f"{times(1 / gain)} slower"


def in_a_sentence(title: str) -> str:
    """As it stands inside a sentence: `INT8 gains ...` keeps its capitals."""
    return title if title[1].isupper() else title[0].lower() + title[1:]


def named(measured: Measured) -> str:
    """`INT8`."""
    return precision_title(measured.precision)


def number_of_layers(those: Sized) -> str:
    """`1 layer`, `9 layers`."""
    return "1 layer" if len(those) == 1 else f"{len(those)} layers"
