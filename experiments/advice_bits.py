"""Advice on fewer bits, where they are multiplied faster here or where weights are what a layer waits for."""

from __future__ import annotations

from collections.abc import Iterator

from core.bundle import precision_title
from core.layers import BITS, Layer, sum_ms
from experiments.advice_facts import DISCOUNT, HALF, LEAST_BYTES, Advice, Facts, with_technique
from experiments.promise import BYTES_FP32, Promise
from experiments.recipe import Recipe
from experiments.references import in_runtime
from experiments.why_format import number_of_layers, percent, times
from runtimes import RUNTIMES

LEAST_COMPUTE, LEAST_WAITING = 0.3, 0.1
"""Shares of a call above which a rule speaks."""
TIMES_LAUNCH = 5
"""How many times longer than the quickest operation a layer has to be in fewer bits, to be more than its launch."""
MENTIONED = 0.01
"""Share of a call below which a part of it is not named."""
SCALES = 0.25
"""Share of the saved bytes that is left for scales and the graph."""
INT8_ENGINES = ("onnxruntime", "openvino", "tensorrt")
_FLOATS = ("fp32", "tf32")
_INT8_SETTINGS: tuple[dict[str, bool], ...] = ({}, {"symmetric": True})
"""The second for engines that take no zero points."""


def int8(facts: Facts) -> Iterator[Advice]:
    """Time in FP32 arithmetic, or in moving FP32 numbers, where this engine multiplies INT8 faster.

    Of CNNs alone: between the linear layers of a transformer lie operations in float, and what converting to and from
    them takes follows from no profile in FP32.
    """
    if facts.is_transformer:
        return
    recipes = [with_technique(facts.recipe, "int8", **settings) for settings in _INT8_SETTINGS]
    why = "Four INT8 numbers take the place of one in FP32, and integer instructions multiply several at once."
    yield from _fewer_bits(facts, "int8", "Quantize to INT8", recipes, why)


def sixteen_bits(facts: Facts) -> Iterator[Advice]:
    """The same for BF16 or FP16, whichever is multiplied faster here; on a CPU of CNNs alone, for the same reason."""
    if facts.is_transformer and facts.recipe.device == "cpu":
        return
    offered = [precision for precision in ("bf16", "fp16") if facts.peak(precision)]
    for precision in sorted(offered, key=lambda each: -(facts.peak(each) or 0.0))[:1]:
        recipes = [with_technique(facts.recipe, "mixed_precision", precision=precision)]
        title = precision_title(precision)
        why = f"{title} numbers take half the bytes and are multiplied faster here; they need no calibration."
        yield from _fewer_bits(facts, precision, f"Compute in {title}", recipes, why)


def _fewer_bits(facts: Facts, precision: str, title: str, recipes: list[Recipe], why: str) -> Iterator[Advice]:
    """Layers bound by arithmetic gain the ratio of the probed rates, those bound by memory the ratio of the bits."""
    wide, narrow = facts.peak("fp32"), facts.peak(precision)
    if not facts.is_float or not wide or not narrow or narrow <= wide:
        return
    shortest_ms = TIMES_LAUNCH * facts.quickest_ms
    compute = [layer for layer in _bound(facts, "compute") if layer.time_ms * wide / narrow >= shortest_ms]
    memory = [layer for layer in _bound(facts, "memory") if layer.time_ms * BITS[precision] / 32 >= shortest_ms]
    recipe = facts.first(recipes) if facts.share([*compute, *memory]) >= LEAST_COMPUTE else None
    if recipe is None:
        return
    saved_ms = sum_ms(compute) * (1 - wide / narrow) + sum_ms(memory) * (1 - BITS[precision] / 32)
    worth = DISCOUNT * saved_ms / facts.whole_ms
    moved = f", and another {percent(facts.share(memory))} in {number_of_layers(memory)} that wait for memory"
    moved = moved if facts.share(memory) >= MENTIONED else ""
    yield Advice(
        key=precision,
        title=title,
        fact=f"{percent(facts.share(compute))} of a call is in {number_of_layers(compute)} bound by arithmetic in "
        f"FP32{moved}. Well fed, {RUNTIMES[facts.recipe.runtime].title} multiplies {precision_title(precision)} "
        f"{times(narrow / wide)} as fast here ({narrow / 1e9:.0f} against "
        f"{wide / 1e9:.0f} billion multiply-accumulates a second, probed in this profile).",
        why=why,
        recipe=recipe,
        promise=facts.promise(
            "p50_ms",
            1 - worth,
            f"At the probed rates these layers, {facts.ms(sum_ms([*compute, *memory]))}, would take "
            f"{facts.ms(saved_ms)} less; what waits for memory counts by its bits. Layers that would then be "
            f"within {TIMES_LAUNCH} times the quickest operation are left out: launching them takes what arithmetic "
            f"saves. {HALF}.",
        ),
        ground="roofline",
    )


def int8_file(facts: Facts) -> Iterator[Advice]:
    """Where nothing was probed that tells how fast INT8 would be: what it would make of the file.

    A transformer keeps its activations in float, so that nothing has to be converted between its layers.
    """
    quantized = [each for each in facts.weighted if each.kind == "Linear" or not facts.is_transformer]
    weights = sum(module.parameters for module in quantized)
    is_told = facts.peak("int8") and not facts.is_transformer
    if not facts.is_float or is_told or BYTES_FP32 * weights < LEAST_BYTES:
        return
    key = "weight_only" if facts.is_transformer else "int8"
    settings = ({},) if facts.is_transformer else _INT8_SETTINGS
    places = sorted((facts.recipe.runtime, *INT8_ENGINES), key=lambda each: each == "pytorch")
    recipe = facts.first(with_technique(_in(facts.recipe, place), key, **each) for place in places for each in settings)
    if recipe is None:
        return
    engine = RUNTIMES[recipe.runtime].title
    moves = f" for {engine}" if recipe.runtime != facts.recipe.runtime else ""
    what = "Keep weights in INT8" if facts.is_transformer else "Quantize to INT8"
    yield Advice(
        key="int8_file",
        title=f"{what}{moves}",
        fact=f"{percent(weights / _parameters(facts))} of the parameters are FP32 weights of "
        f"{number_of_layers(quantized)} that multiply: {_size(BYTES_FP32 * weights)}.",
        why=f"INT8 takes a quarter of the bytes, and {engine} has kernels for it here. How fast that is follows from "
        "nothing in this profile; the run measures it.",
        recipe=recipe,
        promise=_quarter(facts, weights, bits=8),
        ground="anatomy",
    )


def small_weights(facts: Facts) -> Iterator[Advice]:
    """Linear layers that wait for their weights, as at batch 1, gain from smaller weights alone."""
    linear = {module.name for module in facts.weighted if module.kind == "Linear"}
    memory = [
        each for each in facts.placed if each.bound == "memory" and linear.intersection(facts.modules[each.place - 1])
    ]
    waiting = [each.layer for each in memory if 2 * each.layer.weight_bytes > each.layer.moved_bytes]
    weights = sum(module.parameters for module in facts.weighted if module.kind == "Linear")
    if not facts.is_float or facts.share(waiting) < LEAST_WAITING or BYTES_FP32 * weights < LEAST_BYTES:
        return
    recipe = facts.first([with_technique(facts.recipe, "weight_only")])
    if recipe is None:
        return
    moved = sum(layer.weight_bytes for layer in waiting)
    yield Advice(
        key="small_weights",
        title="Keep linear weights in INT8",
        fact=f"{percent(facts.share(waiting))} of a call at batch {facts.result.latency.batch_size} is in "
        f"{number_of_layers(waiting)} that wait for {_size(moved)} of weights to arrive; linear layers hold "
        f"{percent(weights / _parameters(facts))} of the parameters.",
        why="A quarter of the bytes has to pass through memory, and activations stay in float, so that nothing needs "
        "calibrating.",
        recipe=recipe,
        promise=_quarter(facts, weights, bits=8),
        ground="roofline",
    )


def _quarter(facts: Facts, weights: int, *, bits: int) -> Promise:
    """What is left of the file where these weights have fewer bits."""
    saved = weights / _parameters(facts) * (1 - bits / 32)
    return facts.promise(
        "size_bytes",
        1 - (1 - SCALES) * saved,
        f"Weights in {bits} instead of 32 bits leave out {percent(saved)} of the bytes. A quarter of that is not "
        "promised: it is left for scales and for the description of the graph.",
    )


def _in(recipe: Recipe, runtime: str) -> Recipe:
    """The recipe in a runtime; in its own with the settings it has."""
    return recipe if recipe.runtime == runtime else in_runtime(recipe, runtime)


def _bound(facts: Facts, bound: str) -> list[Layer]:
    """Layers in FP32 with that bound; of those bound by arithmetic the ones that multiply."""
    found = [each.layer for each in facts.placed if each.bound == bound and each.layer.precision in _FLOATS]
    return [layer for layer in found if layer.macs or bound == "memory"]


def _parameters(facts: Facts) -> int:
    return facts.result.anatomy.parameters if facts.result.anatomy else 0


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 2**20:.2f} MiB"
