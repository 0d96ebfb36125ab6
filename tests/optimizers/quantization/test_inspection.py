from __future__ import annotations

import numpy as np
import pytest
import torch

from core.histograms import BINS, histogram
from core.quantization import FLOAT_BITS
from optimizers.quantization.formats import snr_db
from optimizers.quantization.inspection import counts, inspect, summary
from optimizers.quantization.quantizer import LayerGrid, TensorGrid
from optimizers.quantization.twin import outputs_of, twin
from tests.optimizers.conftest import TinyNet
from tests.optimizers.quantization.plain import input_grid, weight_grid


def test_a_bit_more_is_six_decibels_more() -> None:
    weight = np.random.default_rng(0).uniform(-1, 1, size=(1, 20_000)).astype(np.float32)
    ratios = []
    for bits in (6, 7, 8):
        grid = weight_grid(weight, bits=bits)
        step = grid.scale[0]
        ratios.append(snr_db(torch.from_numpy(weight), torch.from_numpy(np.round(weight / step) * step)))
    assert np.diff(ratios) == pytest.approx([6, 6], abs=0.3)


def test_a_histogram_holds_every_value() -> None:
    values = np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32)
    shown = histogram(torch.from_numpy(values))
    assert (shown.range.low, shown.range.high) == pytest.approx((values.min(), values.max()))
    assert sum(shown.counts) == 100
    assert len(shown.counts) == BINS


def test_a_grid_in_a_few_numbers_covers_what_its_integers_stand_for() -> None:
    scale = np.array([0.5, 0.1, 0.2, 0.3], np.float32)
    zero = np.array([1, 2, 3, 4], np.int32)
    shown = summary(TensorGrid(4, -8, 7, scale, zero))
    ends = [(integer - z) * s for integer in (-8, 7) for s, z in zip(scale, zero, strict=True)]
    assert (shown.covers.low, shown.covers.high) == pytest.approx((min(ends), max(ends)))
    assert shown.scales == pytest.approx((0.1, 0.25, 0.5))
    assert shown.zero_point == 4, "that of the median scale"
    whole = summary(TensorGrid(8, 0, 255, np.float32(0.1), np.int32(5)))  # type: ignore[arg-type]
    assert (whole.scales, whole.zero_point) == (pytest.approx((0.1,)), 5)


def test_every_layer_is_told_as_it_is() -> None:
    torch.manual_seed(0)
    network, x = TinyNet().eval(), torch.randn(8, 1, 12, 12)
    names = ("stem.0", "block.0", "head")
    inputs, wanted = outputs_of(network, names, x)
    grids = {
        name: LayerGrid(
            weight_grid(network.get_submodule(name).weight.detach().numpy(), bits=4),  # type: ignore[union-attr,operator]
            input_grid(inputs[name].numpy()),
        )
        for name in names[:2]
    }
    layers, images = inspect(
        network, network, grids, x, why_float={"head": "Kept."}, sensitivity={"block.0": 0.25}, names=names
    )
    assert images == 8
    assert [(layer.name, layer.bits) for layer in layers] == [("stem.0", 4), ("block.0", 4), ("head", FLOAT_BITS)]
    head, block = layers[2], layers[1]
    assert (head.why_float, head.weight_snr_db, head.input_snr_db, head.weight_grid) == ("Kept.", None, None, None)
    assert block.sensitivity == 0.25
    _, given = outputs_of(twin(network, grids), names, x)
    assert head.output_snr_db == pytest.approx(snr_db(wanted["head"], given["head"]))
    assert block.inputs is not None
    assert sum(block.inputs.counts) == inputs["block.0"].numel()
    assert block.input_snr_db is not None
    assert block.weight_snr_db is not None
    assert block.input_snr_db > block.weight_snr_db, "8 bits against 4"


def test_weights_that_round_to_zero_count_as_zeros() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.001, 0.0, 0.5], [-2.0, 0.004, 1.0, 0.1]]))
        network[0].bias.copy_(torch.tensor([0.0, 1.0]))
    grids = {"0": LayerGrid(weight_grid(network[0].weight.detach().numpy(), bits=8), None)}
    assert counts(network, {}) == (10, 8)
    assert counts(network, grids) == (10, 6)
