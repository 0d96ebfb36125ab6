"""Advice on what to take away: channels of the block that holds the parameters, or of the layers that take the time."""

from __future__ import annotations

from collections.abc import Iterator

from core.layers import Layer, sum_ms
from experiments.advice_facts import DISCOUNT, HALF, LEAST_BYTES, Advice, Facts, with_technique
from experiments.module_tree import blocks, module_paths
from experiments.promise import BYTES_FP32
from experiments.why_compute import padded_share
from experiments.why_format import count, ms, number_of_layers, percent

KEY = "structured_pruning"
RATIO = 0.5
"""Of the channels; what the technique itself begins with."""
LEAST_PARAMETERS, LEAST_EXCESS = 0.4, 0.1
"""A block with so many of the parameters, and with so much less of the time, is worth pruning for its size."""
LEAST_WIDE, LEAST_PADDED = 0.4, 0.1
"""Shares of a call above which a rule speaks."""
WIDE = 32
"""Channels on either side; narrower layers have little to give."""
ROUND = 16
"""Widths that fill the vectors of every CPU and the tiles of every GPU here."""


def heavy_block(facts: Facts) -> Iterator[Advice]:
    """One block holds much of the parameters while others take the time."""
    anatomy = facts.result.anatomy
    if anatomy is None or BYTES_FP32 * anatomy.parameters < LEAST_BYTES or facts.has(KEY):
        return
    held = blocks([_path(each.name) for each in anatomy.modules], [float(each.parameters) for each in anatomy.modules])
    name, parameters = next(iter(held.items()))
    share, time_share = parameters / anatomy.parameters, facts.share(_inside(facts, name))
    inside = [each.name for each in facts.weighted if _is_inside(each.name, name)]
    others = {other for other in held if other and other != name and _holds_layers(facts, other)}
    is_last_alone = len(inside) == 1 and inside[0] == facts.weighted[-1].name
    if share < LEAST_PARAMETERS or time_share > share - LEAST_EXCESS or not name or not inside or is_last_alone:
        return
    recipe = facts.first([with_technique(facts.recipe, KEY, ratio=RATIO, keep=tuple(sorted(others)))])
    if recipe is None:
        return
    recipe = recipe.model_copy(update={"name": f"{recipe.title} ({name} only)"})
    worth = DISCOUNT * RATIO * share
    yield Advice(
        key="heavy_block",
        title=f"Prune {name}",
        fact=f"{percent(share)} of the {count(anatomy.parameters)} parameters are in {name}, which takes "
        f"{percent(time_share)} of a call.",
        why="Half of the channels go where most of the bytes are; all other blocks keep theirs, so that less of what "
        "was learned is lost than by pruning everywhere. Fine-tuning recovers what it can; accuracy is measured.",
        recipe=recipe,
        promise=facts.promise(
            "parameter_count",
            1 - worth,
            f"A layer that loses half of its outputs loses half of its weights: {percent(RATIO * share)} of all. Half "
            "of that is promised, because layers that shortcuts join to other blocks keep their channels.",
        ),
        ground="anatomy",
    )


def wide_layers(facts: Facts) -> Iterator[Advice]:
    """Time in wide layers that run near the probed rate: only fewer multiplications make these faster."""
    wide = [each.layer for each in facts.placed if each.bound == "compute" and is_wide(each.layer)]
    share = facts.share(wide)
    if share < LEAST_WIDE or facts.has(KEY):
        return
    recipe = facts.first([with_technique(facts.recipe, KEY, ratio=RATIO)])
    if recipe is None:
        return
    rate, worth = 1000 * sum(layer.macs for layer in wide) / sum_ms(wide), DISCOUNT * RATIO * share
    peak = facts.peak(facts.result.precision)
    reached = f", {percent(rate / peak)} of what was probed here" if peak else ""
    yield Advice(
        key="wide_layers",
        title="Prune half of the channels",
        fact=f"{percent(share)} of a call ({facts.ms(sum_ms(wide))}) is in {number_of_layers(wide)} of {WIDE} "
        f"channels or more that reach {rate / 1e9:.0f} billion multiply-accumulates a second{reached}.",
        why="Such layers get faster by multiplying less. Removing whole channels leaves an ordinary, narrower network; "
        "fine-tuning recovers what it can, and the accuracy is measured.",
        recipe=recipe,
        promise=facts.promise(
            "p50_ms",
            1 - worth,
            f"Half of the outputs means at most half of the multiplications: {facts.ms(RATIO * sum_ms(wide))} less, "
            f"and more where inputs go too. {HALF}.",
        ),
        ground="roofline",
    )


def odd_widths(facts: Facts) -> Iterator[Advice]:
    """A pruned network whose widths do not fill the vectors, or make the engine change layouts there and back."""
    pruning = next((each for each in facts.recipe.techniques if each.key == KEY), None)
    lanes = facts.result.peaks.lanes if facts.result.peaks else (1, 1)
    padded_ms = sum(padded_share(layer, lanes) * layer.time_ms for layer in facts.result.layers.of("compute"))
    converted_ms = sum_ms(facts.result.layers.of("conversion")) if facts.is_float else 0.0
    share = (padded_ms + converted_ms) / facts.whole_ms
    if pruning is None or getattr(pruning, "round_to", ROUND) >= ROUND or share < LEAST_PADDED:
        return
    settings = pruning.model_dump() | {"round_to": ROUND}
    recipe = facts.first([with_technique(facts.recipe, KEY, **settings)])
    if recipe is None:
        return
    worth = DISCOUNT * share
    yield Advice(
        key="odd_widths",
        title=f"Prune to multiples of {ROUND} channels",
        fact=f"{facts.ms(padded_ms)} of a call of {ms(facts.call_ms)} multiplies padding, because widths are no "
        f"multiples of {max(lanes)}, and {facts.ms(converted_ms)} converts between layouts: {percent(share)} together.",
        why="Widths that fill a vector need no padding and fit the engine's blocked layout.",
        recipe=recipe,
        promise=facts.promise(
            "p50_ms",
            1 - worth,
            f"Without padding and conversions {facts.ms(padded_ms + converted_ms)} would fall away. {HALF}.",
        ),
        ground="layers",
    )


def is_wide(layer: Layer) -> bool:
    """Whether it has many channels on both sides, all of them connected."""
    return layer.channels is not None and layer.groups == 1 and min(layer.channels) >= WIDE


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")) if name else ()


def _is_inside(name: str, block: str) -> bool:
    return name == block or name.startswith(f"{block}.")


def _holds_layers(facts: Facts, block: str) -> bool:
    return any(_is_inside(module.name, block) for module in facts.weighted)


def _inside(facts: Facts, block: str) -> list[Layer]:
    paths = module_paths(facts.result.layers, facts.result.anatomy)
    return [layer for layer, path in zip(facts.layers, paths, strict=True) if _is_inside(".".join(path), block)]
