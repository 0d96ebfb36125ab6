"""The explanation in one line, and the promise that it starts from."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.explanation import Cause, Measured
from experiments.why_format import count, faster, in_a_sentence, ms, named, percent, times
from profiling.statistics import SMALLEST_SPEEDUP


def full_title(measured: Measured) -> str:
    """What was done, and in which runtime."""
    return f"{measured.title} · {measured.runtime}"


def promise(reference: Measured, variant: Measured, *, macs: float, bits: float, zeros: float) -> str:
    """Where the ideal comes from."""
    parts = []
    if abs(macs - 1) > 0.005:
        how = f" ({times(macs)} fewer)" if macs > 1 else ""
        parts.append(f"{count(reference.macs)} multiply-accumulates become {count(variant.macs)}{how}")
    if bits != 1:
        much = f"{times(bits)} fewer" if bits > 1 else f"{times(1 / bits)} more"
        parts.append(f"numbers in {named(variant)} have {much} bits than in {named(reference)}")
    if zeros > 1:
        parts.append(f"{percent(variant.sparsity)} of the weights are zero ({times(zeros)} if these were skipped)")
    if not parts:
        return "There are as many multiplications of the same precision as before: arithmetic promises nothing."
    return f"If all time went with its arithmetic it would be {faster(macs * bits * zeros)}: {'; '.join(parts)}."


def verdict(reference: Measured, variant: Measured, ideal_ms: float, causes: Sequence[Cause]) -> str:
    """One line: how much faster, how much was promised, and the largest part of the difference."""
    same = reference.runtime == variant.runtime
    ours, theirs = (variant.title, reference.title) if same else (full_title(variant), full_title(reference))
    found = _difference(reference, variant)
    start = f"{ours} is {found} {theirs}{f' in {variant.runtime}' if same else ''}"
    ideal, gap = reference.p50_ms / ideal_ms, variant.p50_ms - ideal_ms
    if abs(gap) <= (SMALLEST_SPEEDUP - 1) * ideal_ms:
        return f"{start}, just what arithmetic promises ({times(ideal)})."
    largest = max(causes, key=lambda cause: cause.ms if gap > 0 else -cause.ms)
    if largest.key == "residual":
        unplaced = f"what remains ({ms(abs(gap))}) lies within the difference between timed and profiled calls"
        return f"{start}, {_of(ideal, found)}: {unplaced}."
    most = "most of" if abs(largest.ms) > abs(gap) / 2 else "the largest part of"
    what = "the gap" if gap > 0 else "what it gained beyond that"
    return f"{start}, {_of(ideal, found)}: {most} {what} is “{in_a_sentence(largest.title)}” ({ms(abs(largest.ms))})."


def _of(ideal: float, found: str) -> str:
    """What arithmetic promises, to follow what was found."""
    if abs(ideal - 1) < 0.005:
        return "where arithmetic promises no gain"
    return (
        f"of {times(ideal)} by arithmetic" if "faster than" in found else f"where arithmetic promises {faster(ideal)}"
    )


def with_runtime(sentence: str, reference: Measured, bridge: Measured) -> str:
    """The verdict, and what the runtime alone did."""
    gain = reference.p50_ms / bridge.p50_ms
    made = f"made it {faster(gain)}" if is_different(reference, bridge) else "made no measurable difference"
    return f"{sentence} The runtime alone, {bridge.runtime} in place of {reference.runtime}, {made}."


def _difference(reference: Measured, variant: Measured) -> str:
    """`1.9x faster than`, or that the statistics do not allow a word."""
    if not is_different(reference, variant):
        return "not measurably faster or slower than"
    return f"{faster(reference.p50_ms / variant.p50_ms)} than"


def is_different(reference: Measured, variant: Measured) -> bool:
    """Whether the statistics allow to call one faster: apart by more than machines drift, and so their intervals."""
    speedup = reference.p50_ms / variant.p50_ms
    theirs, ours = reference.p50_interval_ms, variant.p50_interval_ms
    low, high = (theirs[0] / ours[1], theirs[1] / ours[0]) if theirs and ours else (speedup, speedup)
    return max(speedup, 1 / speedup) >= SMALLEST_SPEEDUP and (low > 1 or high < 1)
