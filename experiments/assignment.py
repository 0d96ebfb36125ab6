"""Which layers to compute in INT8: what each saves and costs, what a choice is expected to give, and what it gave.

What a layer saves is measured: its time in the profile of the untouched network less its time in a run that computed
it in INT8, in the same engine on the same device. Where no run did, it is estimated from the rates that were probed
beside the profile, and says so. What it costs comes from a scan that rounded it alone. A choice of layers is expected
to save the sum of what they save, to cost the sum of what they cost, and to pay for a conversion wherever INT8 and
float meet on the way through the network. Chosen are layers of one chain in this arithmetic, whatever branches there
are: it is a prediction, to be run and set against what comes.

The two ends are held: with no layer chosen the latency is that of the untouched network, with all that the INT8 run
computed in INT8 it is that run's. What lies between the run and the sum of all its layers (other operations, launching)
is divided among the layers by what they save.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from core.layers import LayerProfile
from core.scan import Scan, ScanCell
from experiments.int8_layers import in_int8, int8_times, times_by_layer, unasked
from experiments.peaks import Peaks
from experiments.recipe import Recipe
from experiments.result import RunResult
from optimizers import TECHNIQUES

TECHNIQUE = "int8"
Loss = Literal["divergence", "changed_share", "lost_points"]
"""Fields of a gain and of a prediction that tell what is lost."""
NEXT_TO_NOTHING = 1e-7
"""A loss that small counts as none where savings are set against losses."""


@dataclass(frozen=True)
class LayerGain:
    """One layer in INT8 instead of FP32."""

    name: str
    parameters: int
    float_ms: float
    int8_ms: float
    changed_share: float
    """Of the images that it alone gives another answer."""
    lost_points: float
    """Percentage points of accuracy that it alone loses; negative where it gains some."""
    divergence: float
    """KL of the predictions, in nats an image."""
    is_measured: bool = True
    """Whether a run computed it in INT8; else `int8_ms` follows from the probed rates."""

    @property
    def saved_ms(self) -> float:
        """Negative where INT8 is slower."""
        return self.float_ms - self.int8_ms

    def loss(self, loss: Loss) -> float:
        """What it alone loses, in that measure."""
        return float(getattr(self, loss))

    def worth(self, loss: Loss) -> float:
        """ms saved for each unit lost."""
        return self.saved_ms / max(self.loss(loss), NEXT_TO_NOTHING)


@dataclass(frozen=True)
class Prediction:
    """What a choice of layers is expected to give."""

    chosen: int
    estimated: int
    """Of the chosen layers, those whose saving no run measured."""
    ms: float
    changed_share: float
    lost_points: float
    divergence: float

    def loss(self, loss: Loss) -> float:
        """What is lost, in that measure."""
        return float(getattr(self, loss))


@dataclass(frozen=True)
class Ledger:
    """What is known of every layer that can be in INT8, in the order of execution."""

    gains: tuple[LayerGain, ...]
    float_ms: float
    """Median latency of the untouched network."""
    int8_ms: float | None
    """Of the run that the measured savings come from; None without one."""
    conversion_ms: float
    """For each place where INT8 and float meet: what that run converted, divided by its places; 0 without a run."""
    images: int
    """Of the scan."""
    has_labels: bool = True
    """Whether right and wrong can be told; without, what is lost are answers."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all layers."""
        return tuple(gain.name for gain in self.gains)

    def predict(self, chosen: Collection[str]) -> Prediction:
        """What INT8 in these layers, and in no other, is expected to give."""
        picked = [gain for gain in self.gains if gain.name in chosen]
        saved = sum(gain.saved_ms for gain in picked) + self._beside(picked)
        return Prediction(
            chosen=len(picked),
            estimated=sum(not gain.is_measured for gain in picked),
            ms=self.float_ms - saved + boundaries(self.names, chosen) * self.conversion_ms,
            changed_share=min(1.0, sum(gain.changed_share for gain in picked)),
            lost_points=sum(gain.lost_points for gain in picked),
            divergence=sum(gain.divergence for gain in picked),
        )

    def _beside(self, picked: Sequence[LayerGain]) -> float:
        """Their share of what the run saved, or lost where negative, beside its layers and conversions."""
        measured = [gain for gain in self.gains if gain.is_measured]
        if self.int8_ms is None or not measured:
            return 0.0
        total = sum(gain.saved_ms for gain in measured)
        converted = boundaries(self.names, {gain.name for gain in measured}) * self.conversion_ms
        beside = self.float_ms - self.int8_ms + converted - total
        ours = [gain for gain in picked if gain.is_measured]
        share = sum(gain.saved_ms for gain in ours) / total if total > 0 else len(ours) / len(measured)
        return share * beside

    def frontier(self, loss: Loss) -> tuple[tuple[str, ...], ...]:
        """Choices from none to the fastest, each with one layer more: the one that saves most for what it loses.

        What would follow is slower, and loses at least as much.
        """
        ranked = sorted(self.gains, key=lambda gain: (gain.saved_ms <= 0, -gain.worth(loss)))
        names = [gain.name for gain in ranked]
        choices = [tuple(names[:count]) for count in range(len(names) + 1)]
        times = [self.predict(each).ms for each in choices]
        return tuple(choices[: times.index(min(times)) + 1])

    def best_within(self, loss: Loss, most: float) -> tuple[str, ...]:
        """The fastest choice on the frontier that is expected to lose no more than that; none where all lose more."""
        expected = {each: self.predict(each) for each in self.frontier(loss)}
        affordable = [each for each, found in expected.items() if found.loss(loss) <= most + NEXT_TO_NOTHING]
        return min(affordable, key=lambda each: expected[each].ms, default=())


def boundaries(names: Iterable[str], chosen: Collection[str]) -> int:
    """Places where a number changes its format on the way through these layers, input and output included."""
    inside = [False, *(name in chosen for name in names), False]
    return sum(before != after for before, after in pairwise(inside))


@dataclass(frozen=True)
class Outcome:
    """A run with some layers in INT8, and what was expected of it."""

    run_id: str
    title: str
    expected: Prediction
    ms: float
    interval_ms: tuple[float, float] | None
    changed_share: float | None
    """Of test images, against the float network; None where the run did not compare them."""
    lost_points: float | None
    """Of accuracy on test images, against the untouched network in the same runtime; None without such a run."""
    unasked: frozenset[str]
    """Layers that were to stay in float and that the engine computed in INT8."""
    is_base: bool
    """Whether the savings come from this very run, so that it cannot but agree in latency."""
    is_disturbed: bool
    """Whether something else slowed its timing."""

    @property
    def off(self) -> float:
        """How much longer it took than expected, as a share of what was expected."""
        return self.ms / self.expected.ms - 1


def ledger(
    profile: LayerProfile, float_ms: float, scan: Scan, *, int8: RunResult | None = None, peaks: Peaks | None = None
) -> Ledger | None:
    """What is known of every layer that the scan rounded to INT8: measured where `int8` computed it so, else estimated.

    None where nothing is known of any layer: the engine's profile does not name them, or there is neither a run with a
    profile nor a probed rate.
    """
    before, after = times_by_layer(profile.layers, scan.layers), int8_times(int8, scan.layers)
    ratio = _rate_ratio(peaks)
    cells = {cell.layer: cell for cell in scan.cells if cell.change == TECHNIQUE}
    times = {name: after.get(name, before[name] * ratio if ratio else None) for name in cells if name in before}
    gains = tuple(
        _gain(scan, place, cells[name], before[name], spent, is_measured=name in after)
        for place, name in enumerate(scan.layers)
        if (spent := times.get(name)) is not None
    )
    if not gains:
        return None
    measured = {gain.name for gain in gains if gain.is_measured}
    converted = sum(layer.time_ms for layer in int8.layers.of("conversion")) if int8 and int8.layers else 0.0
    return Ledger(
        gains=gains,
        float_ms=float_ms,
        int8_ms=int8.latency.p50_ms if int8 and measured else None,
        conversion_ms=converted / boundaries([gain.name for gain in gains], measured) if measured else 0.0,
        images=scan.images,
        has_labels=scan.correct is not None,
    )


def _rate_ratio(peaks: Peaks | None) -> float | None:
    """The share of its time that a layer takes in INT8, where arithmetic decides; None where that was not probed."""
    rates = peaks.macs_per_s if peaks else {}
    return rates["fp32"] / rates["int8"] if {"fp32", "int8"} <= rates.keys() else None


def _gain(scan: Scan, place: int, cell: ScanCell, float_ms: float, int8_ms: float, *, is_measured: bool) -> LayerGain:
    return LayerGain(
        name=cell.layer,
        parameters=scan.parameters[place],
        float_ms=float_ms,
        int8_ms=int8_ms,
        changed_share=(scan.images - cell.agreed) / scan.images,
        lost_points=scan.lost_points(cell),
        divergence=cell.divergence,
        is_measured=is_measured,
    )


def recipe_for(recipe: Recipe, chosen: Collection[str], layers: Sequence[str]) -> Recipe:
    """The recipe's network in INT8 where chosen; all other layers stay in float."""
    keep = tuple(name for name in layers if name not in chosen)
    return recipe.model_copy(update={"name": "", "techniques": (TECHNIQUES[TECHNIQUE].model_validate({"keep": keep}),)})


def is_int8(recipe: Recipe, like: Recipe) -> bool:
    """Whether a recipe is the other's network in INT8 and nothing else, served and measured in the same way."""
    return [technique.key for technique in recipe.techniques] == [TECHNIQUE] and _place(recipe) == _place(like)


def is_untouched(recipe: Recipe, like: Recipe) -> bool:
    """Whether a recipe is the other's network as it was loaded, served and measured in the same way."""
    return not recipe.techniques and _place(recipe) == _place(like)


def _place(recipe: Recipe) -> tuple[object, ...]:
    return recipe.model, recipe.runtime, recipe.engine, recipe.settings


def base_of(results: Mapping[str, RunResult]) -> str | None:
    """The id of the run with most layers in INT8, the first of several: what each layer saves is taken from it."""
    known = {run_id: len(in_int8(result)) for run_id, result in results.items() if result.layers}
    return max(known, key=lambda run_id: known[run_id]) if known and max(known.values()) else None


def outcome(
    run_id: str, title: str, result: RunResult, known: Ledger, *, reference: RunResult | None, is_base: bool
) -> Outcome:
    """What was expected of a finished run with some layers in INT8, beside what came of it."""
    fidelity, lost = result.fidelity, None
    if reference and reference.accuracy.total == result.accuracy.total:
        lost = 100 * (reference.accuracy.correct - result.accuracy.correct) / result.accuracy.total
    return Outcome(
        run_id=run_id,
        title=title,
        expected=known.predict(in_int8(result)),
        ms=result.latency.p50_ms,
        interval_ms=result.latency.p50_interval_ms,
        changed_share=1 - fidelity.agreement if fidelity else None,
        lost_points=lost,
        unasked=unasked(result),
        is_base=is_base,
        is_disturbed=bool(result.disturbances),
    )


def farthest_off(outcomes: Iterable[Outcome]) -> float | None:
    """How far a measured latency was from the predicted one at most, to either side.

    None where no run tells: the one that the savings come from agrees by construction.
    """
    return max((abs(each.off) for each in outcomes if not each.is_base), default=None)
