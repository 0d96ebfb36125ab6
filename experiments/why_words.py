"""The causes in plain English, each sentence with its numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from core.layers import Layer, sum_ms
from experiments.explanation import Cause, Measured
from experiments.why_compute import Loss, is_other_kernel
from experiments.why_format import count, faster, in_a_sentence, listed, ms, named, number_of_layers, percent, times
from experiments.why_verdict import is_different

LARGE_RESIDUAL = 0.1
"""Of the variant's time."""
OF_TFLITE = ("keras_", "litert_")
"""How keys of techniques begin whose networks become `.tflite` files, and lose no channels here."""
NAMED = 3
"""Layers or operators that a sentence names."""


def runtime_change(reference: Measured, bridge: Measured) -> Cause:
    """What the runtime alone did."""
    found = faster(reference.p50_ms / bridge.p50_ms) if is_different(reference, bridge) else "no measurable difference"
    return Cause(
        key="runtime",
        title="The runtime itself",
        ms=bridge.p50_ms - reference.p50_ms,
        sentence=f"{named(bridge)} takes {ms(bridge.p50_ms)} in {bridge.runtime} and {ms(reference.p50_ms)} in "
        f"{reference.runtime}: {found} before any technique. What follows is compared with {bridge.runtime}.",
        setting="runtime",
    )


def untold_runtime(reference: Measured, variant: Measured) -> Cause:
    """What to say where the runtime's own gain is unknown."""
    return Cause(
        key="runtime",
        title="A change of runtime in between",
        ms=0.0,
        sentence=f"The reference ran in {reference.runtime} and this in {variant.runtime}, where the untouched model "
        "is not part of this comparison: what the runtime and what the techniques changed cannot be told apart below. "
        f"Run the untouched model in {variant.runtime} too.",
        setting="runtime",
    )


def sparsity(variant: Measured, hoped_ms: float) -> Cause:
    """Zeros take as long as other numbers."""
    is_tflite = any(key.startswith(OF_TFLITE) for key in variant.techniques)
    return Cause(
        key="sparsity",
        title="Zeros that are still multiplied",
        ms=hoped_ms,
        sentence=f"{percent(variant.sparsity)} of the weights are zero, and this engine multiplies by zero as fast as "
        f"by anything else: the same {count(variant.macs)} multiply-accumulates are executed, in the same time. "
        f"Skipping the zeros would have been worth {ms(hoped_ms)}. They shrink a compressed file only"
        + ("." if is_tflite else "; removing whole channels makes the network itself smaller."),
        setting="" if is_tflite else "structured_pruning.ratio",
    )


def hardware(reference: Measured, variant: Measured, lost_ms: float, *, ratio: float, promised: float) -> Cause:
    """What the two precisions' peaks are really apart."""
    same = reference.runtime == variant.runtime
    ours, theirs = (f"{each.runtime} in {named(each)}" for each in (variant, reference))
    after, before = (f"{(each.peak_macs_per_s or 0) / 1e9:.3g}" for each in (variant, reference))
    rates = f"{after} against {before} billion multiply-accumulates a second, measured"
    less = "less" if lost_ms > 0 else "more"
    return Cause(
        key="hardware",
        title=f"{named(variant)} gains {less} here than its bits promise"
        if same
        else "Engines that differ at their best",
        ms=lost_ms,
        sentence=f"On wide convolutions that keep this device busy, {ours} is {'only ' if lost_ms > 0 else ''}"
        f"{times(ratio)} as fast as {theirs if not same else named(reference)} ({rates}), and the bits promise "
        f"{times(promised)}: {_lost(lost_ms)} on these layers.",
        setting="device" if same else "runtime",
    )


def uneven(reference: Measured, lost_ms: float, *, macs_ratio: float) -> Cause:
    """Multiplications were removed elsewhere than the time was."""
    total = sum_ms(reference.profile.of("compute"))
    kept = total / macs_ratio + lost_ms
    where = "layers that were quick already" if lost_ms > 0 else "slow layers above all"
    return Cause(
        key="uneven",
        title="Multiplications removed where they took little time"
        if lost_ms > 0
        else "Multiplications removed where they took much time",
        ms=lost_ms,
        sentence=f"There are {times(macs_ratio)} fewer multiply-accumulates, but they went from {where}: at the speed "
        f"that each layer had in the reference, what is left of its {ms(total)} takes {ms(kept)} instead of "
        f"{ms(total / macs_ratio)}.",
        setting="structured_pruning.scope",
    )


def stayed(variant: Measured, losses: Sequence[Loss], lost_ms: float) -> Cause:
    """Layers that ran in a wider precision."""
    layers = [loss.layer for loss in losses]
    of = len(variant.profile.of("compute"))
    precisions = " and ".join(sorted({layer.precision.upper() for layer in layers}))
    return Cause(
        key="stayed_in_float",
        title="Layers that stayed in a wider precision",
        ms=lost_ms,
        sentence=f"{len(layers)} of the {of} layers that multiply ran in {precisions}, not in {named(variant)}: "
        f"{_largest(losses)}. They take {ms(sum_ms(layers))} together; in {named(variant)}, at the device's rate, it "
        f"would be {ms(sum_ms(layers) - lost_ms)}.",
        setting="runtime",
    )


def memory(variant: Measured, losses: Sequence[Loss], lost_ms: float) -> Cause:
    """Layers whose bytes take longer than their arithmetic."""
    layers = [loss.layer for loss in losses]
    moved, weights = sum(layer.moved_bytes for layer in layers), sum(layer.weight_bytes for layer in layers)
    rate = _bandwidth(variant, layers)
    mostly = "weights" if 2 * weights > moved else "activations"
    return Cause(
        key="memory",
        title="Layers limited by memory",
        ms=lost_ms,
        sentence=f"Multiplying {moved / 2**20:.3g} MiB, mostly {mostly}, takes less time than moving them at the "
        f"{rate / 1e9:.3g} GB/s that this device reaches, in {number_of_layers(layers)}: {_largest(losses)}. That "
        f"costs {ms(lost_ms)}.",
        setting="measurement.batch_size" if mostly == "weights" else "runtime",
    )


def misaligned(reference: Measured, variant: Measured, losses: Sequence[Loss], lost_ms: float) -> Cause:
    """Widths that do not fill the vectors."""
    lanes = max(variant.peaks.lanes) if variant.peaks else 1
    fallen = _other_kernels(reference, losses) if reference.runtime == variant.runtime else Counter()
    change = f" For {fallen.total()} of them the engine fell back to {next(iter(fallen))}." if fallen else ""
    return Cause(
        key="misaligned",
        title="Widths that do not fill the processor's vectors",
        ms=lost_ms,
        sentence=f"In {number_of_layers(losses)} the channels are no multiple of {lanes}, the numbers that this "
        f"device computes at once, so that part of the work is padding: {_largest(losses, widths=True)}.{change} "
        f"Together that costs {ms(lost_ms)}.",
        setting="structured_pruning.round_to",
    )


def _other_kernels(reference: Measured, losses: Sequence[Loss]) -> Counter[str]:
    """`FusedConv instead of Conv`, the most frequent change first, and how many layers it met."""
    before = {layer.name: layer for layer in reference.profile.of("compute")}
    pairs = [(before[loss.layer.name], loss.layer) for loss in losses if loss.layer.name in before]
    found = Counter(f"{new.op} instead of {old.op}" for old, new in pairs if is_other_kernel(new, old))
    return Counter(dict(found.most_common(1)))


def kernels(reference: Measured, variant: Measured, losses: Sequence[Loss], lost_ms: float) -> Cause:
    """What remains: how well the layers use the device."""
    is_smaller = variant.macs < 0.98 * reference.macs
    if lost_ms <= 0:
        title, word = "Layers that use the device better", "less"
    else:
        title = "Layers too small to fill the processor" if is_smaller else "Kernels further below their peak"
        word = "longer"
    used, before = (_used(each) for each in (variant, reference))
    rates = (
        f" All layers together multiply at {used} of the peak, {before} in the reference." if used and before else ""
    )
    why = " Smaller layers fill cores, vectors and caches less." if is_smaller and lost_ms > 0 else ""
    return Cause(
        key="kernels",
        title=title,
        ms=lost_ms,
        sentence=f"For no other reason the layers take {ms(abs(lost_ms))} {word} than their share of the reference's "
        f"time.{rates}{why} Furthest from it: {_largest(losses, gains=lost_ms <= 0)}.",
        setting="measurement.batch_size" if reference.runtime == variant.runtime else "runtime",
    )


def conversions(reference: Measured, variant: Measured, lost_ms: float, promised: float) -> Cause:
    """Changes of format and layout."""
    before, after = reference.profile.of("conversion"), variant.profile.of("conversion")
    reorders = [layer for layer in after if layer.op.startswith("Reorder")]
    swaps = len(reorders) > sum(layer.op.startswith("Reorder") for layer in before)
    pruned = swaps and variant.macs < reference.macs
    why = " Where a width does not fit the engine's blocked layout, it converts there and back." if pruned else ""
    return Cause(
        key="conversions",
        title="Conversions between formats and layouts",
        ms=lost_ms,
        sentence=f"{_sum(after, 'conversion', 'conversions')}{_operators(after)}. {_before(before, promised)}{why}",
        setting="structured_pruning.round_to" if pruned else "runtime",
    )


def others(reference: Measured, variant: Measured, lost_ms: float, promised: float) -> Cause:
    """Operations that arithmetic does not shrink."""
    before, after = reference.profile.of("other"), variant.profile.of("other")
    new = sorted({layer.op for layer in after} - {layer.op for layer in before})[:NAMED]
    is_new = f" {listed(new)} {'is' if len(new) == 1 else 'are'} not in the reference."
    one, many = "sum, pooling or other operation", "sums, poolings, activations and other operations"
    return Cause(
        key="others",
        title="Operations that do not multiply",
        ms=lost_ms,
        sentence=f"{_sum(after, one, many)}{_operators(after)}. {_before(before, promised)}"
        f"{is_new if new and reference.runtime == variant.runtime else ''}",
        setting="runtime",
    )


def overhead(reference: Measured, variant: Measured, lost_ms: float, promised: float) -> Cause:
    """What a call takes beside its layers."""
    profile, before = variant.profile, reference.profile.overhead_ms
    rounding = profile.resolution_ms * len(profile.layers)
    unsure = f" Up to {ms(rounding)} of it is rounding, since the engine counts whole microseconds." if rounding else ""
    share = f", of which arithmetic would leave {ms(before / promised)}" if promised != 1 else ""
    return Cause(
        key="overhead",
        title="Work around the layers",
        ms=lost_ms,
        sentence=f"Starting {len(profile.layers)} layers, handing out memory and the call itself take "
        f"{ms(profile.overhead_ms)} beside the {ms(profile.layers_ms)} of the layers; in the reference it was "
        f"{ms(before)}{share}. A larger batch spreads it over more images.{unsure}",
        setting="measurement.batch_size",
    )


def everything_else(causes: Sequence[Cause]) -> Cause:
    """The small causes as one."""
    parts = ", ".join(f"{in_a_sentence(cause.title)} ({_signed(cause.ms)})" for cause in causes)
    return Cause(
        key="everything_else",
        title="Everything else",
        ms=sum(cause.ms for cause in causes),
        sentence=f"Each below 1 % of the reference: {parts}.",
    )


def residual(reference: Measured, variant: Measured, lost_ms: float) -> Cause:
    """What the profile does not see."""
    is_large = abs(lost_ms) > LARGE_RESIDUAL * variant.p50_ms
    again = " That is a large share: measure both again on a quiet machine." if is_large else ""
    return Cause(
        key="residual",
        title="Between timing and profile",
        ms=lost_ms,
        sentence=f"Timed calls took {ms(variant.p50_ms)}, profiled ones {ms(variant.profile.call_ms)} (reference: "
        f"{ms(reference.p50_ms)} and {ms(reference.profile.call_ms)}): the profiler's own cost, caches, and what else "
        f"the machine did meanwhile.{again}",
    )


def _lost(lost_ms: float) -> str:
    return f"{ms(abs(lost_ms))} {'lost' if lost_ms > 0 else 'gained'}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−'}{ms(abs(value))}"


def _used(measured: Measured) -> str:
    """The share of the peak at which the layers multiply; empty where either is unknown."""
    rate, peak = measured.rate_macs_per_s, measured.peak_macs_per_s
    return percent(rate / peak) if rate and peak else ""


def _bandwidth(variant: Measured, layers: Sequence[Layer]) -> float:
    """Of the layer that moves most."""
    if not variant.peaks or not layers:
        return 0.0
    return variant.peaks.bytes_per_s(max(layer.moved_bytes for layer in layers))


def _largest(losses: Sequence[Loss], *, gains: bool = False, widths: bool = False) -> str:
    ordered = sorted(losses, key=lambda loss: loss.ms if gains else -loss.ms)
    telling = [loss for loss in ordered if loss.layer.time_ms > 0] or ordered  # none that took less than is counted
    return ", ".join(_named(loss.layer, widths) for loss in telling[:NAMED])


def _named(layer: Layer, widths: bool) -> str:
    width = f", {layer.channels[0]} → {layer.channels[1]}" if widths and layer.channels else ""
    return f"{layer.name} ({ms(layer.time_ms)}{width})"


def _sum(layers: Sequence[Layer], one: str, many: str) -> str:
    return (
        f"{len(layers)} {one if len(layers) == 1 else many} take{'s' if len(layers) == 1 else ''} {ms(sum_ms(layers))}"
    )


def _operators(layers: Iterable[Layer]) -> str:
    """The operators that take longest: `: QLinearAdd ×6 (0.045 ms), ...`."""
    by_op: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        by_op[layer.op].append(layer)
    longest = sorted(by_op.items(), key=lambda item: -sum_ms(item[1]))[:NAMED]
    parts = [f"{op}{f' ×{len(same)}' if len(same) > 1 else ''} ({ms(sum_ms(same))})" for op, same in longest]
    return f": {', '.join(parts)}" if parts else ""


def _before(layers: Sequence[Layer], promised: float) -> str:
    took = sum_ms(layers)
    if not layers:
        return "The reference has none."
    return f"The reference's {len(layers)} took {ms(took)}" + (
        f", of which arithmetic would leave {ms(took / promised)}." if promised != 1 else "."
    )
