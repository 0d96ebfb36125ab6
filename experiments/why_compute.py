"""Where the time of the multiplying layers went, compared with what was to be expected. Pure arithmetic.

Every layer of the variant is set beside its counterpart in the reference, by name. Its expected time is the
counterpart's, scaled by its own multiply-accumulates and by the measured ratio of the two precisions' peaks. What it
took beyond that is divided among causes in this order: it stayed in a wider precision; memory cannot deliver faster;
its width leaves vectors partly empty or made the engine switch kernels; and the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from core.layers import BITS, FUSED, Layer, sum_ms
from experiments.peaks import Peaks

LEAST_MATCHED = 0.8
"""Share of both sides' time that has to have a counterpart; below, layers are only compared as a whole."""


@dataclass(frozen=True)
class Loss:
    """Time of one layer that goes to one cause; negative where it was gained."""

    layer: Layer
    ms: float


@dataclass(frozen=True)
class Expectation:
    """A layer of the variant and what it should have taken."""

    layer: Layer
    expected_ms: float
    counterpart: Layer | None
    """The one layer of the reference that it was made from; None where there are several or none."""


@dataclass(frozen=True)
class ComputeSplit:
    """The variant's multiplying layers minus the reference's divided by the promise: all fields together."""

    hardware_ms: float
    """The peaks of the two precisions differ by another factor than their bits."""
    uneven_ms: float
    """Multiplications were removed from layers that were faster, or slower, than the average."""
    stayed: list[Loss] = field(default_factory=list)
    memory: list[Loss] = field(default_factory=list)
    misaligned: list[Loss] = field(default_factory=list)
    kernels: list[Loss] = field(default_factory=list)

    @property
    def total_ms(self) -> float:
        """What the causes explain together."""
        losses = (self.stayed, self.memory, self.misaligned, self.kernels)
        return self.hardware_ms + self.uneven_ms + sum(ms_of(each) for each in losses)


@dataclass(frozen=True)
class Ratios:
    """How many times less the variant has to do than the reference."""

    macs: float
    bits: float
    peaks: float
    """Measured counterpart of `bits`."""


@dataclass(frozen=True)
class Ground:
    """Where the variant ran, and how it was meant to."""

    precision: str
    peaks: Peaks | None
    same_engine: bool
    """Whether the reference ran in the same one, so that its kernels have the same names."""


def ms_of(losses: Iterable[Loss]) -> float:
    """The losses together."""
    return sum(loss.ms for loss in losses)


def split_compute(reference: Sequence[Layer], variant: Sequence[Layer], ratios: Ratios, ground: Ground) -> ComputeSplit:
    """Divide the difference."""
    before_ms = sum_ms(reference)
    reachable_ms = before_ms / ratios.macs / ratios.peaks
    expectations = _expectations(reference, variant, ratios)
    split = ComputeSplit(
        hardware_ms=reachable_ms - before_ms / ratios.macs / ratios.bits,
        uneven_ms=sum(each.expected_ms for each in expectations) - reachable_ms,
    )
    for each in expectations:
        _divide(each, split, ground)
    return split


def _divide(each: Expectation, split: ComputeSplit, ground: Ground) -> None:
    layer, excess = each.layer, each.layer.time_ms - each.expected_ms
    if BITS.get(layer.precision, 0) > BITS[ground.precision]:
        split.stayed.append(Loss(layer, excess))
        return
    if ground.peaks:
        excess -= _lose(split.memory, layer, _beyond_memory_ms(each, ground.peaks), excess)
        excess -= _lose(split.misaligned, layer, _misaligned_ms(each, ground, ground.peaks), excess)
    split.kernels.append(Loss(layer, excess))


def _lose(losses: list[Loss], layer: Layer, ms: float, excess: float) -> float:
    """What of the excess a cause takes: never more than there is, never a gain."""
    lost = min(ms, excess)
    if lost <= 0:
        return 0.0
    losses.append(Loss(layer, lost))
    return lost


def _beyond_memory_ms(each: Expectation, peaks: Peaks) -> float:
    """How far the time that its bytes need at least lies above what was expected of it."""
    moved = each.layer.moved_bytes
    return 1000 * moved / peaks.bytes_per_s(moved) - each.expected_ms


def _misaligned_ms(each: Expectation, ground: Ground, peaks: Peaks) -> float:
    """Padding of its vectors; or everything, where a narrower layer made the engine change to another kernel."""
    layer, other = each.layer, each.counterpart
    padding = padded_share(layer, peaks.lanes)
    before = padded_share(other, peaks.lanes) if other else 0.0
    if padding and other and not before and ground.same_engine and is_other_kernel(layer, other):
        return layer.time_ms
    return layer.time_ms * padding - each.expected_ms * before


def is_other_kernel(layer: Layer, other: Layer) -> bool:
    """Whether an engine computes the same precision by another operator."""
    return layer.op != other.op and layer.precision == other.precision


def padded_share(layer: Layer, lanes: tuple[int, int]) -> float:
    """Share of a layer's multiplications that is padding: as the engine says, or if widths are multiples of `lanes`."""
    if layer.channels is None or layer.padding:
        return layer.padding
    # A grouped convolution has only few inputs for each output, whatever its width is.
    sides = ((layer.channels[0], 1 if layer.groups > 1 else lanes[0]), (layer.channels[1], lanes[1]))
    used = 1.0
    for width, lane in sides:
        used *= width / (-(-width // lane) * lane)
    return 1 - used


def _expectations(reference: Sequence[Layer], variant: Sequence[Layer], ratios: Ratios) -> list[Expectation]:
    groups = _counterparts(reference, variant)
    return [expectation for before, after in groups for expectation in _expect(before, after, ratios)]


def _expect(before: Sequence[Layer], after: Sequence[Layer], ratios: Ratios) -> list[Expectation]:
    time_ms, macs = sum_ms(before), sum(layer.macs for layer in before)
    only = before[0] if len(before) == len(after) == 1 else None
    if macs and all(layer.macs for layer in after):
        return [Expectation(layer, time_ms * layer.macs / macs / ratios.peaks, only) for layer in after]
    # An engine that does not say what a layer multiplies: the layers of a group share its time alike.
    return [Expectation(layer, time_ms / len(after) / ratios.macs / ratios.peaks, only) for layer in after]


def _counterparts(reference: Sequence[Layer], variant: Sequence[Layer]) -> list[tuple[list[Layer], list[Layer]]]:
    """Groups of layers of both sides that share names, which all are one group where too few do.

    Where engines lose the names but keep the order, layers with the same place belong together.
    """
    named = _by_name(reference, variant)
    paired = [(before, after) for before, after in named if before and after]
    if _share(paired, 0, reference) >= LEAST_MATCHED and _share(paired, 1, variant) >= LEAST_MATCHED:
        left = [layer for before, after in named if not before for layer in after]
        gone = [layer for before, after in named if not after for layer in before]
        return [*paired, (gone, left)] if left else paired
    if len(reference) == len(variant):
        return [([before], [after]) for before, after in zip(reference, variant, strict=True)]
    return [(list(reference), list(variant))]


def _by_name(reference: Sequence[Layer], variant: Sequence[Layer]) -> list[tuple[list[Layer], list[Layer]]]:
    """Layers that share a name, directly or through a fused one, belong to one group."""
    group_of: dict[str, int] = {}
    for layer in (*reference, *variant):
        names = layer.name.split(FUSED)
        joined = {group_of[name] for name in names if name in group_of}
        number = min(joined, default=len(group_of))
        group_of.update({name: number for name, old in group_of.items() if old in joined})
        group_of.update(dict.fromkeys(names, number))
    groups: dict[int, tuple[list[Layer], list[Layer]]] = {}
    for side, layers in enumerate((reference, variant)):
        for layer in layers:
            groups.setdefault(group_of[layer.name.split(FUSED)[0]], ([], []))[side].append(layer)
    return list(groups.values())


def _share(groups: Sequence[tuple[list[Layer], list[Layer]]], side: int, layers: Sequence[Layer]) -> float:
    total = sum_ms(layers)
    return sum(sum_ms(group[side]) for group in groups) / total if total else 1.0
