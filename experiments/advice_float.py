"""Advice on what is better left in float: layers that lose most, and layers that conversions surround."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from core.layers import Layer, sum_ms
from core.scan import Scan, ScanCell
from experiments.advice_facts import DISCOUNT, HALF, Advice, Facts, with_technique, with_techniques
from experiments.models import judging_of
from experiments.promise import Promise
from experiments.why_format import listed, number_of_layers, percent, times

LEAST_CONVERTED = 0.1
"""Share of a call in conversions above which a rule speaks."""
NAMED = 3
"""Layers that are kept in float because they lose most."""
CHANCE = 3.0
"""Standard errors beyond which a loss is more than chance, also for the worst of many layers."""


def sensitive_layers(facts: Facts) -> Iterator[Advice]:
    """The layers that lose most when they alone are in INT8, where that loss is more than chance."""
    if facts.scan is None or facts.scan.scan.correct is None or facts.recipe.techniques:
        return  # what is scanned is the untouched network
    scan = facts.scan.scan
    cells = sorted((cell for cell in scan.cells if cell.change == "int8"), key=lambda cell: -scan.lost_points(cell))
    worst = [cell for cell in cells[:NAMED] if _is_lost(scan, cell)]
    if not worst:
        return
    names = tuple(cell.layer for cell in worst)
    quantized = facts.first(with_technique(facts.recipe, "int8", **each) for each in ({}, {"symmetric": True}))
    if quantized is None:
        return
    settings = {"symmetric": getattr(quantized.techniques[-1], "symmetric", False)}
    recipe = facts.first([with_technique(facts.recipe, "int8", keep=names, **settings)])
    if recipe is None:
        return
    points = sum(scan.lost_points(cell) for cell in worst)
    right, noun = (scan.correct or 0) / scan.images, judging_of(facts.recipe.model).noun
    lost = [f"{cell.layer} {scan.lost_points(cell):.2f}" for cell in worst]
    yield Advice(
        key="sensitive_layers",
        title=f"In INT8, keep {listed(names)} in float",
        fact=f"Of {len(cells)} layers, {listed(names)} lose most when they alone are rounded to INT8: "
        f"{listed(lost)} percentage points on {scan.images:,} calibration images, simulated in float.",
        why=f"{'This layer stays' if len(names) == 1 else 'These layers stay'} in float and the others are quantized: "
        "most of the speed, less of the loss.",
        recipe=recipe,
        promise=Promise(
            "accuracy",
            1 + DISCOUNT * points / 100 / right,
            f"at least {DISCOUNT * points:.2f} points more {noun} than INT8 on all layers",
            f"Each alone, these layers lose {points:.2f} points together, taking losses to add up. Half of that "
            "is promised back, because beside other rounded layers a loss may weigh less.",
        ),
        ground="scan",
        reference=quantized,
        errors=min(1.0, points / 100 / max(1 - right, 1 / scan.images)),
    )


def isolated_layers(facts: Facts) -> Iterator[Advice]:
    """Layers in INT8 whose conversions from and to float take longer than their integer arithmetic saves."""
    wide, narrow = facts.peak("fp32"), facts.peak("int8")
    quantizing = next((each for each in facts.recipe.techniques if each.key in ("int8", "qat")), None)
    if facts.result.precision != "int8" or quantizing is None or not wide or not narrow:
        return
    share = facts.share(facts.result.layers.of("conversion"))
    found = [each for each in _isolated(facts) if each.names and each.gain_ms(narrow / wide) > 0]
    saved_ms = sum(each.gain_ms(narrow / wide) for each in found)
    if share < LEAST_CONVERTED or not found:
        return
    names = tuple(dict.fromkeys(name for each in found for name in each.names))
    keep = (*getattr(quantizing, "keep", ()), *names)
    changed = quantizing.model_copy(update={"keep": keep})
    recipe = facts.first(
        [with_techniques(facts.recipe, [changed if each is quantizing else each for each in facts.recipe.techniques])]
    )
    if recipe is None:
        return
    worth, layers = DISCOUNT * saved_ms / facts.whole_ms, [each.layer for each in found]
    around_ms = sum(sum_ms(each.around) for each in found)
    yield Advice(
        key="isolated_layers",
        title=f"Keep {number_of_layers(layers)} in float",
        fact=f"{percent(share)} of a call are conversions between number formats. {facts.ms(around_ms)} of them "
        f"surround {listed(names[:NAMED])}{' and others' if len(names) > NAMED else ''}, which take "
        f"{facts.ms(sum_ms(layers))} in INT8.",
        why="Between layers in float, a layer pays for a conversion on either side; in float it pays for none.",
        recipe=recipe,
        promise=facts.promise(
            "p50_ms",
            1 - worth,
            f"FP32 is multiplied {times(narrow / wide)} as slowly here, so that these layers would take longer, but "
            f"{facts.ms(around_ms)} of conversions fall away: {facts.ms(saved_ms)} less. {HALF}.",
        ),
        ground="layers",
    )


def _is_lost(scan: Scan, cell: ScanCell) -> bool:
    """Whether more answers were lost than chance explains, by McNemar's test: at most all changed ones count."""
    changed = scan.images - cell.agreed
    return scan.lost_points(cell) * scan.images / 100 > CHANCE * math.sqrt(changed) > 0


@dataclass(frozen=True)
class _Isolated:
    """A layer in INT8 with a conversion right before and right after it."""

    layer: Layer
    names: tuple[str, ...]
    """Of its modules."""
    around: tuple[Layer, Layer]

    def gain_ms(self, ratio: float) -> float:
        """What goes with the conversions, less what it takes longer where FP32 is that many times slower."""
        return sum_ms(self.around) - self.layer.time_ms * (ratio - 1)


def _isolated(facts: Facts) -> Iterator[_Isolated]:
    layers = facts.layers
    for before, layer, after, names in zip(layers, layers[1:], layers[2:], facts.modules[1:], strict=False):
        converts = before.kind == after.kind == "conversion"
        if converts and layer.kind == "compute" and layer.precision == "int8":
            yield _Isolated(layer, names, (before, after))
