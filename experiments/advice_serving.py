"""Advice on how a network is served: by which engine, with which launches, how many images at a time."""

from __future__ import annotations

from collections.abc import Iterator

from core.layers import Layer, sum_ms
from experiments.advice_facts import DISCOUNT, HALF, Advice, Facts
from experiments.checking import GRAPHABLE
from experiments.recipe import Recipe
from experiments.references import in_runtime
from experiments.roofline import Placed
from experiments.why_format import ms, number_of_layers, percent, times
from runtimes import RUNTIMES

GRAPH_ENGINES = {"cpu": ("onnxruntime", "openvino", "torch_compile"), "cuda": ("tensorrt", "torch_compile")}
"""Engines that merge small operations into the layers around them, in the order in which they are tried."""
_MERGED = ("norm", "relu", "add", "hardtanh", "clamp", "silu", "hardswish", "sigmoid", "gelu")
_VIEWS = ("reshape", "view", "permute", "transpose", "flatten", "unbind", "select", "slice", "split", "unsqueeze")
LEAST_MERGED, LEAST_AROUND, LEAST_LAUNCHED = 0.15, 0.2, 0.2
"""Shares of a call above which a rule speaks."""
FEW_IMAGES, MORE_IMAGES = 4, 8


def another_engine(facts: Facts) -> Iterator[Advice]:
    """Eager PyTorch pays for every small operation and for the Python around them; a graph engine merges them."""
    small = [layer for layer in facts.layers if is_merged(layer)]
    saved_ms = facts.residual_ms + sum_ms(small)
    share = saved_ms / facts.whole_ms
    if facts.recipe.runtime != "pytorch" or share < LEAST_MERGED:
        return
    recipe = facts.first(in_runtime(facts.recipe, key) for key in _engines(facts.recipe))
    if recipe is None:
        return
    engine, depthwise = RUNTIMES[recipe.runtime].title, _depthwise(facts)
    beyond = f"{ms(facts.residual_ms)} beyond the layers, and " if facts.residual_ms else ""
    what = "launching and what multiplies nothing" if facts.residual_ms else "what multiplies nothing"
    yield Advice(
        key="another_engine",
        title=f"Serve it with {engine}",
        fact=f"{percent(share)} of a call of {ms(facts.call_ms)} goes into {what}: "
        f"{beyond}{facts.ms(sum_ms(small))} in {len(small)} normalisations, activations, additions and changes "
        f"of shape.{depthwise}",
        why=f"{engine} reads the whole graph first, merges these operations into the layers before them and calls them "
        "without Python in between.",
        recipe=recipe,
        promise=facts.promise(
            "p50_ms",
            1 - DISCOUNT * share,
            f"Merged operations and launches that fall away would save {facts.ms(saved_ms)}. {HALF}.",
        ),
        ground="layers",
    )


def cuda_graph(facts: Facts) -> Iterator[Advice]:
    """On a GPU, what lies between the kernels is the host launching them; a recorded graph launches once."""
    share = facts.residual_ms / facts.whole_ms
    measurement = facts.recipe.measurement
    if facts.recipe.runtime not in GRAPHABLE or measurement.cuda_graph or share < LEAST_AROUND:
        return
    graphed = measurement.model_copy(update={"cuda_graph": True})
    recipe = facts.first([facts.recipe.model_copy(update={"name": "", "measurement": graphed})])
    if recipe is None:
        return
    yield Advice(
        key="cuda_graph",
        title="Replay a CUDA graph",
        fact=f"At batch {measurement.batch_size} a call takes {ms(facts.call_ms)}, of which the GPU computes "
        f"{facts.ms(facts.result.layers.layers_ms)}: {percent(share)} is the host launching "
        f"{len(facts.layers)} operations.",
        why="A recorded graph is launched once for the whole network, so that the GPU no longer waits for the host.",
        recipe=recipe,
        promise=facts.promise(
            "p50_ms",
            1 - DISCOUNT * share,
            f"Without launches a call would be {ms(facts.residual_ms)} shorter. {HALF}.",
        ),
        ground="layers",
    )


def larger_batch(facts: Facts) -> Iterator[Advice]:
    """What does not grow with the number of images is shared by more of them."""
    batch, call_ms = facts.result.latency.batch_size, facts.result.latency.p50_ms
    fixed_ms = _launched_ms(facts)
    share = fixed_ms / call_ms
    if not facts.placed or batch > FEW_IMAGES or share < LEAST_LAUNCHED or facts.result.latency.is_contended:
        return
    wider = facts.recipe.measurement.model_copy(update={"batch_size": batch * MORE_IMAGES})
    recipe = facts.first([facts.recipe.model_copy(update={"name": "", "measurement": wider})])
    if recipe is None:
        return
    beyond = f", {ms(facts.residual_ms)} of it beyond the layers" if facts.residual_ms > 0 else ""
    possible = MORE_IMAGES * call_ms / (fixed_ms + MORE_IMAGES * (call_ms - fixed_ms))
    yield Advice(
        key="larger_batch",
        title=f"Serve {batch * MORE_IMAGES} images at a time",
        fact=f"At batch {batch}, {percent(share)} of a call of {ms(call_ms)} goes into launching {len(facts.layers)} "
        f"operations{beyond}.",
        why="Launching costs the same for one image as for many, so that each image pays less of it; a single answer "
        "takes longer, which suits what need not be answered at once.",
        recipe=recipe,
        promise=facts.promise(
            "throughput_per_s",
            1 + DISCOUNT * (possible - 1),
            f"{ms(fixed_ms)} are launching: what lies beyond the layers, and for each layer as long as the quickest of "
            f"its kind takes beyond what the probed rates explain. Shared by {MORE_IMAGES} times as many "
            f"images, that would allow {times(possible)} the throughput. Half of that gain is promised, because a part "
            "of it grows with the images after all.",
        ),
        ground="roofline",
    )


def is_merged(layer: Layer) -> bool:
    """Whether graph engines have no operation of their own for what it does, or none that copies anything."""
    op = layer.op.lower()
    return layer.kind == "other" and any(name in op for name in (*_MERGED, *_VIEWS))


def _engines(recipe: Recipe) -> tuple[str, ...]:
    return GRAPH_ENGINES["cpu" if recipe.device == "cpu" else "cuda"]


def _depthwise(facts: Facts) -> str:
    """A sentence on depthwise convolutions where these are slow too."""
    slow = [each.layer for each in facts.placed if each.layer.groups > 1 and each.bound in ("overhead", "memory")]
    if not slow or facts.share(slow) < LEAST_MERGED:
        return ""
    return f" Another {percent(facts.share(slow))} is in {number_of_layers(slow)} that are depthwise or grouped."


def _launched_ms(facts: Facts) -> float:
    """What a call takes beyond its layers, and for each of them as long as it takes to launch the quickest of its kind.

    What else a layer takes beyond its least is a kernel's weakness, and grows with the images.
    """
    beyond = [(each.layer.kind, max(0.0, each.layer.time_ms - _least_ms(each))) for each in facts.placed]
    quickest = {kind: min(time_ms for other, time_ms in beyond if other == kind) for kind, _ in beyond}
    return facts.residual_ms + facts.scale * sum(quickest[kind] for kind, _ in beyond)


def _least_ms(layer: Placed) -> float:
    return max(layer.arithmetic_ms or 0.0, layer.bytes_ms)
