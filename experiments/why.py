"""Why a variant is, or is not, as fast as its arithmetic promises: causes in ms that sum to what was measured.

The ideal is the naive hope: all of the reference's time shrinks by the ratio of multiply-accumulates, by the ratio of
bits, and by the share of weights that are not zero. Zeros count in the hope although no engine here skips them,
because that is what people hope for who set them: the first cause then takes all of it back, in words. Left out of
the hope, an unstructured-pruned model would look as fast as it should be, and nothing would be explained.

Everything else is exact bookkeeping. With the promise P (without zeros), each part of the variant's profiled call is
set against the reference's same part divided by P: the layers that multiply (divided further by
`experiments.why_compute`), conversions, operations that do not multiply, and the work around the layers. What lies
between the timed and the profiled call remains as the residual. Pure functions: no engine, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import BadInput
from core.layers import BITS, LayerKind, sum_ms
from experiments import why_verdict as verdicts
from experiments import why_words as words
from experiments.explanation import Cause, Explanation, Measured
from experiments.why_compute import Ground, Ratios, ms_of, split_compute

SMALLEST_SHARE = 0.01
"""Of the reference; smaller causes are told together."""
NOTHING = 1e-9
"""Of the reference: what rounding leaves of a difference that is none."""
MANY_ZEROS = 0.1
MANY_ROUNDED_ZEROS = 0.25
"""Rounding to 8 bits makes zeros of the smallest weights, up to a tenth of them; nobody hopes for time from these."""
_ALWAYS_TOLD = ("sparsity", "runtime")


def explain(reference: Measured, variant: Measured, *, same_runtime: Measured | None = None) -> Explanation:
    """Explain the variant's time by the reference's.

    Where the runtime changed too, `same_runtime` is the untouched network in the variant's runtime: the reference's
    time is then compared with it first, and the techniques are explained against it. Raises `BadInput` for different
    batch sizes.
    """
    _refuse_other_batches(reference, variant)
    bridge = same_runtime if reference.runtime != variant.runtime else None
    if bridge is None:
        return _explain(reference, variant)
    _refuse_other_batches(bridge, variant)
    changed = words.runtime_change(reference, bridge)
    update = {"runtime": changed, "baseline_title": verdicts.full_title(reference), "baseline_ms": reference.p50_ms}
    explanation = _explain(bridge, variant)
    verdict = verdicts.with_runtime(explanation.verdict, reference, bridge)
    return explanation.model_copy(update=update | {"verdict": verdict})


def _refuse_other_batches(reference: Measured, variant: Measured) -> None:
    ours, theirs = variant.profile.batch_size, reference.profile.batch_size
    if ours != theirs:
        raise BadInput(
            f"times for {ours} images and for {theirs}",
            expected="the same batch size on both sides",
            action="Measure both with the same batch size",
        )


@dataclass(frozen=True)
class _Promise:
    """How many times less there is to do."""

    macs: float
    bits: float
    zeros: float

    @classmethod
    def of(cls, reference: Measured, variant: Measured) -> _Promise:
        least = MANY_ROUNDED_ZEROS if BITS[variant.precision] <= 8 else MANY_ZEROS
        has_zeros = variant.sparsity - reference.sparsity > least and not variant.may_skip_zeros
        return cls(
            macs=reference.macs / variant.macs,
            bits=BITS[reference.precision] / BITS[variant.precision],
            zeros=(1 - reference.sparsity) / max(1 - variant.sparsity, 1e-6) if has_zeros else 1.0,
        )

    @property
    def without_zeros(self) -> float:
        return self.macs * self.bits

    @property
    def speedup(self) -> float:
        return self.without_zeros * self.zeros


def _explain(reference: Measured, variant: Measured) -> Explanation:
    promise = _Promise.of(reference, variant)
    ideal_ms = reference.p50_ms / promise.speedup
    causes = _in_order(_causes(reference, variant, promise), reference.p50_ms)
    residual = _residual(reference, variant, promise.without_zeros)
    return Explanation(
        reference_title=verdicts.full_title(reference),
        variant_title=verdicts.full_title(variant),
        reference_ms=reference.p50_ms,
        ideal_ms=ideal_ms,
        measured_ms=variant.p50_ms,
        promise=verdicts.promise(reference, variant, macs=promise.macs, bits=promise.bits, zeros=promise.zeros),
        causes=causes,
        residual=residual,
        verdict=verdicts.verdict(reference, variant, ideal_ms, (*causes, residual)),
    )


def _causes(reference: Measured, variant: Measured, promise: _Promise) -> list[Cause]:
    causes = [words.untold_runtime(reference, variant)] if _is_runtime_untold(reference, variant, promise) else []
    if promise.zeros > 1:
        hoped_ms = reference.p50_ms / promise.without_zeros - reference.p50_ms / promise.speedup
        causes.append(words.sparsity(variant, hoped_ms))
    return [*causes, *_compute_causes(reference, variant, promise), *_other_causes(reference, variant, promise)]


def _is_runtime_untold(reference: Measured, variant: Measured, promise: _Promise) -> bool:
    """Whether what the runtime did is mixed with what the techniques did."""
    return reference.runtime != variant.runtime and (promise.speedup != 1 or bool(variant.techniques))


def _compute_causes(reference: Measured, variant: Measured, promise: _Promise) -> list[Cause]:
    peaks = _peak_ratio(reference, variant) or promise.bits
    split = split_compute(
        reference.profile.of("compute"),
        variant.profile.of("compute"),
        Ratios(promise.macs, promise.bits, peaks),
        Ground(variant.precision, variant.peaks, reference.runtime == variant.runtime),
    )
    return [
        words.hardware(reference, variant, split.hardware_ms, ratio=peaks, promised=promise.bits),
        words.uneven(reference, split.uneven_ms, macs_ratio=promise.macs),
        words.stayed(variant, split.stayed, ms_of(split.stayed)),
        words.memory(variant, split.memory, ms_of(split.memory)),
        words.misaligned(reference, variant, split.misaligned, ms_of(split.misaligned)),
        words.kernels(reference, variant, split.kernels, ms_of(split.kernels)),
    ]


def _peak_ratio(reference: Measured, variant: Measured) -> float | None:
    """How many times more the variant's precision attains; None where it is not known, or the same thing is meant."""
    if (reference.precision, reference.runtime) == (variant.precision, variant.runtime):
        return None
    before, after = reference.peak_macs_per_s, variant.peak_macs_per_s
    return after / before if before and after else None


def _other_causes(reference: Measured, variant: Measured, promise: _Promise) -> list[Cause]:
    def lost_ms(kind: LayerKind) -> float:
        before = sum_ms(reference.profile.of(kind)) / promise.without_zeros
        return sum_ms(variant.profile.of(kind)) - before

    overhead_ms = variant.profile.overhead_ms - reference.profile.overhead_ms / promise.without_zeros
    return [
        words.conversions(reference, variant, lost_ms("conversion"), promise.without_zeros),
        words.others(reference, variant, lost_ms("other"), promise.without_zeros),
        words.overhead(reference, variant, overhead_ms, promise.without_zeros),
    ]


def _residual(reference: Measured, variant: Measured, without_zeros: float) -> Cause:
    before = reference.p50_ms - reference.profile.call_ms
    after = variant.p50_ms - variant.profile.call_ms
    return words.residual(reference, variant, after - before / without_zeros)


def _in_order(causes: list[Cause], reference_ms: float) -> tuple[Cause, ...]:
    """The ones always told, the others from the largest loss to the largest gain, then the small ones as one."""
    first = [cause for cause in causes if cause.key in _ALWAYS_TOLD]
    rest = [cause for cause in causes if cause.key not in _ALWAYS_TOLD and abs(cause.ms) > NOTHING * reference_ms]
    large = [cause for cause in rest if abs(cause.ms) >= SMALLEST_SHARE * reference_ms]
    small = [cause for cause in rest if abs(cause.ms) < SMALLEST_SHARE * reference_ms]
    together = [words.everything_else(small)] if small else []
    return (*first, *sorted(large, key=lambda cause: -cause.ms), *together)
