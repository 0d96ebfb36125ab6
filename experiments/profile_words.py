"""What a profile says, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.module_tree import blocks, fewest, module_paths
from experiments.profile import ProfileResult
from experiments.roofline import Bound, Placed, time_by_bound
from experiments.why_format import listed, percent

ADDS_UP = 0.1
"""Share of the latency by which layers may miss it."""
HEAVIEST = 3
STANDS_OUT = 0.25
"""Share of the layers' time from which a block is called the bottleneck."""
LEAST_ROUNDED = 0.01
"""Share of a call from which rounding by the engine is told."""
NOISE = 1.15
"""Times the ceiling that is told as noise of timer and probe."""
_BOUND_WORDS: Mapping[Bound, str] = {
    "compute": "in compute-bound layers",
    "memory": "in memory-bound ones",
    "overhead": "in layers bound by overhead",
    "unknown": "in layers whose bound is not told",
}

_CONTENDED = (
    "Other work on this machine took processor time during this profile. Where it slowed layers down, but not the "
    "probe's fastest call, arithmetic and memory bound more than this says. Profile again on a quiet machine."
)


def time_by_block(result: ProfileResult) -> dict[str, float]:
    """ms of each block of the network, the largest first; `""` for what is outside of any."""
    layers = result.layers.layers
    return blocks(module_paths(result.layers, result.anatomy), [layer.time_ms for layer in layers])


def heaviest_share(result: ProfileResult) -> float:
    """Share of the layers' time in the three blocks that take most."""
    times = list(time_by_block(result).values())
    return sum(times[:HEAVIEST]) / sum(times) if sum(times) else 0.0


def bottleneck(result: ProfileResult) -> str:
    """Where most of the time is: first the block, then how few layers take half of it, then what is in no layer."""
    times = time_by_block(result)
    total_ms = result.layers.layers_ms
    if not total_ms:
        return "The engine shows no time in any layer."
    name, most_ms = next(iter(times.items()))
    layers = [layer.time_ms for layer in result.layers.layers]
    count = fewest(layers)
    words = f"{_place(name, most_ms / total_ms)}; {count} of {len(layers)} layers take half of it."
    outside, rounded = (ms / result.latency.p50_ms for ms in (result.residual_ms, rounding_ms(result)))
    if outside - rounded < ADDS_UP or has_machine_changed(result) or result.latency.is_contended:
        return words
    at_least = f"Between {percent(outside - rounded)} and " if rounded >= LEAST_ROUNDED else ""
    return f"{words} {at_least}{percent(outside)} of a call passes outside of any layer."


def _place(block: str, share: float) -> str:
    if not block:
        return f"{percent(share)} of the layers' time is in operations that bear no module's name"
    if share < STANDS_OUT:
        return f"No block stands out: {block}, the heaviest, has {percent(share)} of the layers' time"
    return f"{percent(share)} of the layers' time is spent in {block}"


def adds_up(result: ProfileResult) -> bool:
    """Whether the layers sum to the latency within 10 %."""
    return abs(result.residual_ms) <= ADDS_UP * result.latency.p50_ms


def reconciliation(result: ProfileResult) -> str:
    """The layers, what is left, and the latency as a sum; why it is left where that is much."""
    layers_ms, p50_ms = round(result.layers.layers_ms, 3), round(result.latency.p50_ms, 3)
    residual_ms = p50_ms - layers_ms  # of what is shown, so that the sum is right to its last digit
    sign = "+" if residual_ms >= 0 else "−"
    words = f"{layers_ms:.3f} ms in layers {sign} {abs(residual_ms):.3f} ms = {p50_ms:.3f} ms a call."
    if adds_up(result):
        return words
    return f"{words} The layers miss the latency by {percent(abs(residual_ms) / p50_ms)}. {_why_apart(result)}"


def rounding_ms(result: ProfileResult) -> float:
    """The most by which the layers together may be too short because the engine rounds each of them down."""
    return result.layers.resolution_ms * len(result.layers.layers)


def has_machine_changed(result: ProfileResult) -> bool:
    """Whether most of the residual is that plain calls took another time while the layers were profiled."""
    moved_ms = result.latency.p50_ms - result.layers.call_ms
    return moved_ms * result.residual_ms > 0 and abs(moved_ms) > abs(result.residual_ms) / 2


def _why_apart(result: ProfileResult) -> str:
    residual_ms, then_ms = result.residual_ms, result.layers.call_ms
    if has_machine_changed(result):
        how = "quieter" if residual_ms > 0 else "busier"
        return (
            f"The machine was {how} while the layers were profiled: a plain call "
            f"took {then_ms:.3f} ms then. Profile again on a quiet machine, or read shares rather than milliseconds."
        )
    if result.latency.is_contended:
        return "Other work on this machine took processor time meanwhile. Profile again on a quiet machine."
    if residual_ms > 0:
        return _why_longer(result)
    return "Layers overlap, or the profiler slowed them down: read their shares rather than their milliseconds."


def _why_longer(result: ProfileResult) -> str:
    rounded_ms = rounding_ms(result)
    around = "Much of a call is spent around the layers: launching them, allocating their results, or in Python."
    if rounded_ms < LEAST_ROUNDED * result.latency.p50_ms:
        return around
    rounding = (
        f"up to {rounded_ms:.3f} ms of that may be rounding, since the engine rounds the time of each of "
        f"{len(result.layers.layers)} layers down to a multiple of {1000 * result.layers.resolution_ms:g} µs."
    )
    is_all = result.residual_ms - rounded_ms <= ADDS_UP * result.latency.p50_ms
    return f"{rounding[0].upper()}{rounding[1:]}" if is_all else f"{around} But {rounding}"


def bounds(layers: Sequence[Placed], *, is_contended: bool = False) -> str:
    """How much of the layers' time each bound has, with a warning where other work slowed the layers down."""
    times = {bound: ms for bound, ms in time_by_bound(layers).items() if ms > 0}
    total_ms = sum(times.values())
    if not total_ms:
        return "The engine shows no time in any layer."
    parts = [f"{percent(ms / total_ms)} {_BOUND_WORDS[bound]}" for bound, ms in _largest_first(times)]
    words = f"Of the layers' time, {listed(parts).replace(' % in', ' % is in', 1)}."
    return f"{words} {_CONTENDED}" if is_contended else words


def above(layers: Sequence[Placed]) -> str:
    """What multiplies faster than the probed ceiling, and why that can be; empty where nothing does."""
    found = [each.attained for each in layers if each.intensity and each.attained and each.attained > 1]
    if not found:
        return ""
    count = "One layer is" if len(found) == 1 else f"{len(found)} layers are"
    words = f"{count} above the ceiling, by up to {percent(max(found) - 1)}. "
    if max(found) <= NOISE:
        return f"{words}That is within what timer and probe can tell."
    return (
        f"{words}The ceiling is that of 3x3 convolutions with 128 channels and of copies in memory, probed in this "
        "profile; other kernels can do better, and a very short layer is timed coarsely."
    )


def unshown(layers: Sequence[Placed]) -> str:
    """Why layers that multiply have no dot; empty where all have one."""
    short = [each for each in layers if each.layer.kind == "compute" and each.layer.time_ms <= 0]
    untold = [each for each in layers if each.layer.kind == "compute" and each.layer.time_ms > 0 and not each.intensity]
    parts = []
    if short:
        parts.append(f"{_layers(short)} shorter than the engine's clock shows")
    if untold:
        parts.append(f"of {_layers(untold, of=True)} the engine does not say how much it multiplies or moves")
    return f"Without a dot: {listed(parts)}." if parts else ""


def _layers(found: Sequence[Placed], *, of: bool = False) -> str:
    if of:
        return "one layer" if len(found) == 1 else f"{len(found)} layers"
    return "one layer is" if len(found) == 1 else f"{len(found)} layers are"


def _largest_first(times: Mapping[Bound, float]) -> list[tuple[Bound, float]]:
    return sorted(times.items(), key=lambda item: -item[1])
