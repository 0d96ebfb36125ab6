"""How much each layer hurts when it alone is quantized. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from core.progress import Progress, Steps
from core.quantization import FLOAT_BITS, Upgrade
from optimizers.quantization.quantizer import LayerGrid
from optimizers.quantization.twin import twin


def sensitivities(network: nn.Module, grids: Mapping[str, LayerGrid], x: Tensor) -> Steps[dict[str, float]]:
    """KL(float || rounded) of the predictions on x[N, C, H, W], in nats an image, with one layer rounded at a time.

    What is rounded are the layer's weights and what comes into it, on the grid that the quantizer chose.
    """
    with torch.inference_mode():
        expected = log_softmax(network(x), dim=1)
    found: dict[str, float] = {}
    for done, (name, grid) in enumerate(grids.items(), start=1):
        found[name] = _divergence(twin(network, {name: grid}), expected, x)
        yield Progress(done=done, total=len(grids), unit="layers", doing="how much each layer hurts alone")
    return found


def _divergence(network: nn.Module, expected: Tensor, x: Tensor) -> float:
    with torch.inference_mode():
        answer = log_softmax(network(x), dim=1)
    return max(0.0, float(kl_div(answer, expected, reduction="batchmean", log_target=True)))


def upgrades(by_bits: Mapping[int, Mapping[str, float]]) -> tuple[Upgrade, ...]:
    """Every step from the fewest bits to float, the layer that hurts most at its present bits first.

    `by_bits` holds the sensitivities of all layers at each bit width that can be had.

    >>> [(step.layer, step.to_bits) for step in upgrades({4: {"a": 0.9, "b": 0.1}, 8: {"a": 0.2, "b": 0.01}})]
    [('a', 8), ('a', 32), ('b', 8), ('b', 32)]
    """
    widths = (*sorted(by_bits), FLOAT_BITS)
    steps = [
        (hurts, Upgrade(layer=layer, from_bits=bits, to_bits=better))
        for bits, better in pairwise(widths)
        for layer, hurts in by_bits[bits].items()
    ]
    ordered = [step for _, step in sorted(steps, key=lambda each: -each[0])]
    return tuple(_lower_first(ordered))


def _lower_first(steps: list[Upgrade]) -> list[Upgrade]:
    """The same places in the order, but each layer climbs without skipping a width."""
    waiting: dict[str, list[Upgrade]] = defaultdict(list)
    for step in sorted(steps, key=lambda each: each.from_bits):
        waiting[step.layer].append(step)
    return [waiting[step.layer].pop(0) for step in steps]
