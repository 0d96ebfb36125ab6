from __future__ import annotations

import numpy as np
import torch
from scipy.special import rel_entr, softmax

from core.progress import Progress, result_of
from core.quantization import Upgrade
from optimizers.quantization.quantizer import LayerGrid
from optimizers.quantization.sensitivity import sensitivities, upgrades
from optimizers.quantization.twin import twin
from tests.optimizers.conftest import TinyNet, events_and_result
from tests.optimizers.quantization.plain import weight_grid


def test_what_a_layer_costs_is_the_divergence_of_the_predictions() -> None:
    torch.manual_seed(0)
    network, x = TinyNet().eval(), torch.randn(8, 1, 12, 12)
    names = ("stem.0", "block.0", "head")
    grids = {
        name: LayerGrid(weight_grid(network.get_submodule(name).weight.detach().numpy(), bits=bits), None)  # type: ignore[union-attr,operator]
        for name, bits in zip(names, (8, 3, 4), strict=True)
    }
    events, found = events_and_result(sensitivities(network, grids, x))
    with torch.inference_mode():
        expected = softmax(network(x).numpy(), axis=1)
        for name in names:
            answer = softmax(twin(network, {name: grids[name]})(x).numpy(), axis=1)
            divergence = rel_entr(expected, answer).sum(1).mean()
            np.testing.assert_allclose(found[name], divergence, rtol=1e-2, atol=1e-6)
    assert found["stem.0"] < found["block.0"]
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]


def test_a_layer_that_is_not_rounded_costs_nothing() -> None:
    network, x = TinyNet().eval(), torch.randn(2, 1, 12, 12)
    fine = LayerGrid(weight_grid(network.head.weight.detach().numpy(), bits=24), None)
    assert result_of(sensitivities(network, {"head": fine}, x))["head"] < 1e-6


def test_the_layer_that_hurts_most_climbs_first() -> None:
    order = upgrades({8: {"a": 0.1, "b": 0.9, "c": 0.5}})
    assert order == tuple(Upgrade(layer=layer, from_bits=8, to_bits=32) for layer in "bca")


def test_no_layer_skips_a_width() -> None:
    order = upgrades({4: {"a": 0.1, "b": 0.9}, 8: {"a": 0.5, "b": 0.01}})
    for layer in "ab":
        assert [(step.from_bits, step.to_bits) for step in order if step.layer == layer] == [(4, 8), (8, 32)]
    assert order[0].layer == "b"
