"""What is asked of a pruned network: what another ratio would leave, and where its accuracy begins to fall.

Nothing here runs a network; all of it follows from the report of one that was pruned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from core.errors import BadInput
from core.pruning import ChannelGroup, PrunedLayer, PruningReport, RatioPoint
from experiments.recipe import Recipe
from experiments.result import Summary
from experiments.run_record import RunRecord
from optimizers.pruning.ranking import Ranked, Rule, removals
from optimizers.technique import Technique
from profiling.statistics import wilson_interval

KEY = "structured_pruning"
AIMS = ("target", "ratio", "speed_up")
"""Settings that say how much goes."""
LADDER = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Ratios that make a curve."""
STEP = 0.1
"""Share of channels for which a loss is given in words."""


@dataclass(frozen=True)
class Prediction:
    """What one cut at a ratio would leave, with the channels ranked as they were before the first one."""

    report: PruningReport
    gone: tuple[int, ...]
    """Channels that go, one number a group of the report."""

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Channels that are left, one number a group."""
        return tuple(group.before - gone for group, gone in zip(self.report.groups, self.gone, strict=True))

    @cached_property
    def thresholds(self) -> tuple[float | None, ...]:
        """The highest score, one number a group, among those that go; None where none goes."""
        pairs = zip(self.report.groups, self.gone, strict=True)
        return tuple(_highest(group, gone) if gone else None for group, gone in pairs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return round(self._left("macs_before"))

    @property
    def parameters(self) -> int:
        """Weights, about: biases are taken to shrink as their layer's weights do, normalisation not at all."""
        return round(self._left("parameters_before"))

    @property
    def emptied(self) -> tuple[str, ...]:
        """Leading layers of the groups that would lose all their channels, so that no network could be cut so."""
        pairs = zip(self.report.groups, self.widths, strict=True)
        return tuple(group.layers[0] for group, width in pairs if group.prunable and not width)

    def width_of(self, layer: PrunedLayer) -> int:
        """Output channels of a layer."""
        return layer.outputs_before if layer.out_group is None else round(layer.outputs_before * self._out(layer))

    def _left(self, field: str) -> float:
        """A sum over all layers afterwards; what no layer accounts for stays."""
        counts = [int(getattr(layer, field)) for layer in self.report.layers]
        rest = int(getattr(self.report, field)) - sum(counts)
        kept = [self._out(layer) * self._in(layer) for layer in self.report.layers]
        return rest + sum(count * share for count, share in zip(counts, kept, strict=True))

    def _out(self, layer: PrunedLayer) -> float:
        return self._share(layer.out_group)

    def _in(self, layer: PrunedLayer) -> float:
        return sum(part.share * self._share(part.group) for part in layer.in_parts) if layer.in_parts else 1.0

    def _share(self, group: int | None) -> float:
        return 1.0 if group is None else self.widths[group] / self.report.groups[group].before


def predicted(report: PruningReport, ratio: float, *, everywhere_alike: bool, round_to: int) -> Prediction:
    """What one cut at the ratio would leave, by the rule of the pruning itself (`optimizers.pruning.ranking`).

    After several rounds of cutting and fine-tuning, a run ranked anew each time and may have kept other widths. At a
    ratio that a run found for a target, widths are rounded in turn as that run did.
    """
    free = [at for at, group in enumerate(report.groups) if group.prunable]
    staggered = report.staggered and math.isclose(ratio, report.ratio)
    rule = Rule(ratio, everywhere_alike, round_to, report.max_ratio, staggered)
    found = dict(zip(free, removals([_ranked(report.groups[at]) for at in free], rule), strict=True))
    return Prediction(report, tuple(len(found.get(at, ())) for at in range(len(report.groups))))


def _ranked(group: ChannelGroup) -> Ranked:
    return Ranked(group.importance.array, group.before, parts=group.parts, whole=group.whole)


def scores(group: ChannelGroup) -> NDArray[np.float64]:
    """float [units]: what is compared with other channels; the mean over parts that lose theirs together."""
    return _ranked(group).units if group.prunable else np.zeros(0)


def _highest(group: ChannelGroup, gone: int) -> float:
    units = gone // _ranked(group).unit_width
    return float(np.sort(scores(group))[units - 1])


def channel_table(report: PruningReport) -> pd.DataFrame:
    """One row a layer in the order of execution: widths, multiply-accumulates and parameters before and after."""
    columns = [
        "name", "kind", "inputs_before", "inputs_after", "outputs_before", "outputs_after", "macs_before", "macs_after",
        "parameters_before", "parameters_after", "why_kept",
    ]  # fmt: skip
    return pd.DataFrame([{name: getattr(layer, name) for name in columns} for layer in report.layers], columns=columns)


def removed(group: ChannelGroup) -> NDArray[np.bool_]:
    """bool [before]: whether each channel is gone."""
    gone = np.zeros(group.before, bool)
    gone[group.removed.integers] = True
    return gone


def read_off(scan: Sequence[RatioPoint], ratio: float) -> float | None:
    """Accuracy, 0 to 1, on the straight line between the two nearest points of a scan; None outside of it."""
    points = sorted(scan, key=lambda point: point.ratio)
    if not points or not points[0].ratio - 1e-9 <= ratio <= points[-1].ratio + 1e-9:
        return None
    shares = [point.correct / point.images for point in points]
    return float(np.interp(ratio, [point.ratio for point in points], shares))


def scan_table(report: PruningReport) -> pd.DataFrame:
    """One row a ratio of the scan: its share of multiply-accumulates left and its accuracy with the 95 % interval."""
    points = sorted(report.scan, key=lambda point: point.ratio)
    return _curve([_point(report, each.ratio, each.macs, each.correct, each.images) for each in points])


def runs_table(runs: Sequence[tuple[RunRecord, PruningReport]]) -> pd.DataFrame:
    """One row a finished run by rising ratio, as `scan_table` has them, with its id and title."""
    found = [(record, record.summary, report) for record, report in runs if record.summary]
    rows = [
        _point(report, report.ratio, each.macs, each.correct, each.total)
        | {"run_id": record.id, "title": record.recipe.title}
        for record, each, report in found
    ]
    return _curve(rows, "run_id", "title").sort_values("ratio", ignore_index=True)


def with_start(curve: pd.DataFrame, baseline: Summary | None) -> pd.DataFrame:
    """The runs' curve with the untouched model as its first point, at ratio 0; as it is where that is not known."""
    if baseline is None or not len(curve):
        return curve
    first = curve.iloc[0]
    macs = round(float(first.macs) / float(first.macs_left))
    low, high = wilson_interval(baseline.correct, baseline.total)
    start = {"ratio": 0.0, "macs": macs, "macs_left": 1.0, "accuracy": baseline.accuracy, "low": low, "high": high}
    return pd.concat([pd.DataFrame([start]), curve], ignore_index=True)


def holds(curve: pd.DataFrame) -> bool:
    """Whether the accuracies at both ends of a curve may be one: their 95 % intervals overlap."""
    return bool(curve.low.iloc[0] <= curve.high.iloc[-1])


def _point(report: PruningReport, ratio: float, macs: int, correct: int, images: int) -> dict[str, Any]:
    low, high = wilson_interval(correct, images)
    found = {"ratio": ratio, "macs": macs, "macs_left": macs / report.macs_before, "accuracy": correct / images}
    return found | {"low": low, "high": high, "correct": correct, "images": images}


CURVE = ["ratio", "macs", "macs_left", "accuracy", "low", "high", "correct", "images"]


def _curve(rows: Sequence[dict[str, Any]], *more: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*CURVE, *more])


def knee(x: Sequence[float], y: Sequence[float]) -> int | None:
    """Where a curve that first holds and then falls leaves its upper part; None where it has no such place.

    `x` rises. Kneedle (Satopää et al. 2011, Finding a "Kneedle" in a Haystack) for concave falling curves, with its
    sensitivity 1: both axes are normalised to 0..1, and the knee is the point farthest above the chord, which has to
    exceed the mean distance of neighbouring points, 1 / (n - 1).
    """
    across, up = np.asarray(x, float), np.asarray(y, float)
    if len(across) < 3 or up[0] <= up[-1]:
        return None
    above = (up - up[-1]) / (up[0] - up[-1]) - (across[-1] - across) / (across[-1] - across[0])
    place = int(np.argmax(above))
    return place if above[place] > 1 / (len(across) - 1) else None


@dataclass(frozen=True)
class Bend:
    """The knee of a curve of accuracy over the ratio."""

    place: int
    """Row of the curve."""
    ratio: float
    macs_left: float
    points_before: float
    """Percentage points of accuracy lost from the curve's first point to the knee."""
    points_per_step: float
    """Lost beyond it for every further `STEP` of the channels, on average."""


def bend_of(curve: pd.DataFrame, along: str = "ratio") -> Bend | None:
    """The knee of a curve by rising ratio, seen along `ratio` or `macs_left`; None where the ends cannot be told apart.

    Ends whose 95 % intervals overlap may be one accuracy.
    """
    if len(curve) < 3 or holds(curve):
        return None
    across = curve.ratio if along == "ratio" else 1 - curve.macs_left
    place = knee(across.tolist(), curve.accuracy.tolist())
    if place is None:
        return None
    first, at, last = (curve.iloc[row] for row in (0, place, -1))
    beyond = 100 * (at.accuracy - last.accuracy) / (last.ratio - at.ratio) * STEP
    return Bend(place, float(at.ratio), float(at.macs_left), 100 * float(first.accuracy - at.accuracy), float(beyond))


def at_ratio(recipe: Recipe, ratio: float, **changes: Any) -> Recipe:
    """The recipe with that pruning ratio as its target and further settings of the pruning changed; it has no name.

    Raises `BadInput` where it prunes no channels, or the settings do not fit.
    """
    if not any(technique.key == KEY for technique in recipe.techniques):
        raise BadInput("A recipe that removes no channels", expected="one with structured pruning")
    techniques = tuple(_at(each, ratio, changes) if each.key == KEY else each for each in recipe.techniques)
    return recipe.model_copy(update={"name": "", "techniques": techniques})


def _at(technique: Technique, ratio: float, changes: dict[str, Any]) -> Technique:
    settings = technique.model_dump() | _usual(technique) | {"ratio": ratio} | changes
    try:
        return type(technique).model_validate(settings)
    except ValidationError as error:
        reasons = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise BadInput(f"These settings do not fit into a recipe: {reasons}", action="Choose others") from None


def _usual(technique: Technique) -> dict[str, Any]:
    """The usual aim, which is a ratio."""
    fields = type(technique).model_fields
    return {name: fields[name].default for name in AIMS if name in fields}


def is_sibling(recipe: Recipe, other: Recipe) -> bool:
    """Whether two recipes differ in nothing but how much they prune."""
    if not all(any(technique.key == KEY for technique in each.techniques) for each in (recipe, other)):
        return False
    return at_ratio(recipe, 0.5).digest == at_ratio(other, 0.5).digest


def siblings(recipe: Recipe, finished: Iterable[RunRecord]) -> list[RunRecord]:
    """The newest of the finished runs, which come newest first, of each recipe that differs only in how much it prunes.

    The recipe itself is among them.
    """
    found: dict[str, RunRecord] = {}
    for record in finished:
        if record.summary and is_sibling(recipe, record.recipe):
            found.setdefault(record.recipe.digest, record)
    return list(found.values())


def missing_ratios(recipe: Recipe, is_known: Callable[[Recipe], bool]) -> dict[float, Recipe]:
    """The recipe at each ratio of the ladder that is not known: neither finished nor about to be."""
    ladder = {ratio: at_ratio(recipe, ratio) for ratio in LADDER}
    return {ratio: each for ratio, each in ladder.items() if not is_known(each)}
