from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from core.bundle import ModelBundle, OnnxGraph
from core.errors import BadInput, NothingDone
from core.progress import Note, result_of
from optimizers import TECHNIQUES
from optimizers.sparsity.fours import columns_of, count_blocks, lowest_two, weight_of, with_pattern
from optimizers.sparsity.report import calibration_input, output_errors
from optimizers.technique import Context
from optimizers.two_four import TwoFour
from sample_models import load
from tests.optimizers.conftest import bundle_of, events_and_result

METHODS = ("magnitude", "sparsegpt")
every_method = pytest.mark.parametrize("method", METHODS)


def made(bundle: ModelBundle, context: Context, **settings: Any) -> ModelBundle:
    return result_of(TwoFour(**{"epochs": 0, "calibration_images": 32} | settings).apply(bundle, context))


def has_pattern(weight: np.ndarray[Any, Any]) -> bool:
    """Two zeros in every four input channels, for each output channel and kernel position, looked up one by one."""
    for output in weight:
        for position in np.ndindex(weight.shape[2:]):
            inputs = output[(slice(None), *position)]
            for start in range(0, len(inputs), 4):
                if (inputs[start : start + 4] == 0).sum() < 2:
                    return False
    return True


def test_the_two_smallest_of_every_four_input_channels_go() -> None:
    torch.manual_seed(0)
    for shape in ((3, 8), (3, 8, 3, 2)):
        weight = torch.randn(shape)
        kept = ~weight_of(lowest_two(columns_of(weight).abs()), shape)
        for output, position in itertools.product(range(3), np.ndindex(shape[2:])):
            inputs = weight[(output, slice(None), *position)].numpy()
            for start in (0, 4):
                four = np.abs(inputs[start : start + 4])
                best = max(itertools.combinations(range(4), 2), key=lambda pair: sum(four[list(pair)]))
                ours = kept[(output, slice(start, start + 4), *position)].nonzero().flatten()
                assert tuple(ours.tolist()) == best


def test_columns_lead_back_to_the_weight() -> None:
    weight = torch.arange(2.0 * 4 * 3 * 5).reshape(2, 4, 3, 5)
    assert columns_of(weight)[1, :4].tolist() == weight[1, :, 0, 0].tolist()
    assert torch.equal(weight_of(columns_of(weight), weight.shape), weight)


@every_method
@pytest.mark.parametrize("kind", ["bundle", "transformer"])
def test_every_layer_that_can_has_the_pattern_before_and_after_fine_tuning(
    request: pytest.FixtureRequest, context: Context, kind: str, method: str
) -> None:
    given: ModelBundle = request.getfixturevalue(kind)
    for epochs in (0, 1):
        sparse = made(given, context, method=method, epochs=epochs)
        assert sparse.sparsity
        for layer in sparse.sparsity.layers:
            weight = sparse.module.get_submodule(layer.name).weight.detach().numpy()
            assert has_pattern(weight) is layer.has_pattern is not layer.why_dense
            assert layer.zeros == (weight == 0).sum()
            assert layer.shape == weight.shape
            assert weight.flags.c_contiguous
        assert sum(bool(layer.why_dense) for layer in sparse.sparsity.layers) == 1


def test_sparsegpt_keeps_more_of_what_layers_say_than_magnitude(transformer: ModelBundle, context: Context) -> None:
    for bundle, settings in ((transformer, {}), (load("vit_fmnist"), {"keep": ("Conv2d", "blocks.[1-5].*", "head")})):
        errors = {}
        for method in METHODS:
            report = made(bundle, context, method=method, **settings).sparsity
            assert report
            errors[method] = [layer.output_error for layer in report.layers if layer.has_pattern]
        pairs = list(zip(errors["sparsegpt"], errors["magnitude"], strict=True))
        assert all(ours < theirs for ours, theirs in pairs)
        assert np.median([ours / theirs for ours, theirs in pairs]) < 0.8


def test_each_layer_is_pruned_on_what_the_pruned_ones_before_it_give() -> None:
    """The second layer's columns that the pruned first one never feeds cost nothing, so that those go."""
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5])) + torch.eye(4).roll(1, 0) * 4)
        network[0].weight[3] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.manual_seed(0)
    x = torch.randn(50, 4)
    sparse = with_pattern(network, ("0", "1"), x, by_error=True)
    with torch.no_grad():
        alone = with_pattern(nn.Sequential(network[1]), ("0",), sparse[0](x), by_error=True)
    assert torch.equal(sparse[1].weight, alone[0].weight)


def test_output_errors_are_relative_to_what_the_dense_layer_says() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).train()
    sparse = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(200, 4)
    with torch.no_grad():
        hidden = dense[:2](x)
        expected = {
            "0": (dense[0](x) - sparse[0](x)).norm() / dense[0](x).norm(),
            "2": (dense[2](hidden) - sparse[2](hidden)).norm() / dense[2](hidden).norm(),
        }
    assert output_errors(dense, sparse, x) == pytest.approx({name: float(value) for name, value in expected.items()})
    assert dense.training


class Various(nn.Module):
    """One layer for every reason to stay dense."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.line = nn.Conv1d(8, 8, 1)
        self.wide, self.tied, self.kept = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.tied.weight = self.wide.weight
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.odd = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.line(self.depthwise(self.grouped(self.first(x))).flatten(2)).transpose(1, 2)
        tokens = self.kept(self.tied(self.wide(tokens)))
        return self.odd(self.attention(tokens, tokens, tokens)[0].mean(1)[:, :6])


def test_what_stays_dense_says_why(context: Context) -> None:
    events, sparse = events_and_result(
        TwoFour(epochs=0, keep=("kept",), calibration_images=8).apply(bundle_of(Various().eval()), context)
    )
    assert sparse.sparsity
    reasons = {layer.name: layer.why_dense for layer in sparse.sparsity.layers}
    expected = {
        "first": "reads 1 channel,",
        "grouped": "2 groups",
        "depthwise": "8 groups",
        "line": "A Conv1d",
        "kept": "as kept asks",
        "attention.in_proj_weight": "packed",
        "odd": "6 channels",
    }
    assert all(words in reasons[name] for name, words in expected.items()), reasons
    assert [layer.name for layer in sparse.sparsity.layers if layer.has_pattern and not layer.why_dense] == ["wide"]
    assert torch.equal(sparse.module.tied.weight, sparse.module.wide.weight)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert "1 of 9 layers have the 2:4 pattern" in notes[0]
    assert all(name in notes[1] for name in expected)


def test_what_cannot_be_done_is_refused_with_a_way_out(bundle: ModelBundle, context: Context) -> None:
    with pytest.raises(NothingDone, match=r"0: It reads 1 channel.*leave out 2:4 sparsity"):
        made(bundle_of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten())), context)
    with pytest.raises(NothingDone, match="Every layer that can have the 2:4 pattern has it"):
        made(bundle_of(made(bundle, context).module), context, method="magnitude")
    with pytest.raises(BadInput, match="No layer is called 'nowhere'"):
        made(bundle, context, keep=("nowhere",))


def test_int8_afterwards_keeps_the_pattern(bundle: ModelBundle, context: Context) -> None:
    """Symmetric weights: what is zero in float is zero in the grid."""
    graph = result_of(TECHNIQUES["int8"](calibration_images=16).apply(made(bundle, context), context))  # type: ignore[arg-type]
    assert isinstance(graph.network, OnnxGraph)
    arrays = [numpy_helper.to_array(each) for each in onnx.load_from_string(graph.network.content).graph.initializer]
    weights = [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]
    convolutions = [array for array in weights if array.ndim == 4 and array.shape[1] == 16]
    (matrix,) = [array for array in weights if array.ndim == 2]
    assert len(convolutions) == 1
    assert has_pattern(convolutions[0])
    assert has_pattern(matrix if matrix.shape == (4, 16) else matrix.T)
    assert graph.sparsity == made(bundle, context).sparsity


@pytest.mark.parametrize("key", ["mixed_precision", "qat"])
def test_training_afterwards_holds_the_pattern(bundle: ModelBundle, context: Context, key: str) -> None:
    sparse = made(bundle, context)
    settings = {"mixed_precision": {"fine_tune_epochs": 1, "compare_fp32": False}}.get(
        key, {"calibration_images": 16, "epochs": 1}
    )
    done = result_of(TECHNIQUES[key](**settings).apply(sparse, context))  # type: ignore[arg-type]
    if isinstance(done.network, OnnxGraph):
        arrays = [numpy_helper.to_array(each) for each in onnx.load_from_string(done.network.content).graph.initializer]
        weight = next(array for array in arrays if array.ndim == 4 and array.shape[1] == 16)
    else:
        weight = done.module.block[0].weight.detach().numpy()
        assert not np.array_equal(weight, sparse.module.block[0].weight.detach().numpy())
    assert has_pattern(weight)


def test_fours_are_counted_along_the_inputs() -> None:
    layer = nn.Conv2d(8, 2, 3)
    with torch.no_grad():
        layer.weight[:, 2:4] = 0
    assert count_blocks(layer, layer.weight) == (2 * 2 * 9, 2 * 9)
    assert count_blocks(nn.Conv2d(8, 8, 3, groups=2), torch.zeros(8, 4, 3, 3)) == (0, 0)
    assert count_blocks(nn.Linear(6, 4), torch.zeros(4, 6)) == (0, 0)


def test_no_more_images_are_looked_at_than_there_are(bundle: ModelBundle) -> None:
    assert len(calibration_input(bundle, 10)) == 10
    assert len(calibration_input(bundle, 10_000)) == len(bundle.data.calibrate)


def test_without_calibration_images_only_magnitude_has_something_to_go_by(
    bundle: ModelBundle, context: Context
) -> None:
    bare = replace(bundle, data=replace(bundle.data, calibrate=bundle.data.calibrate.take(0)))
    _, sparse = events_and_result(TwoFour(method="magnitude", epochs=0).apply(bare, context))
    assert sparse.sparsity
    assert all(layer.output_error is None for layer in sparse.sparsity.layers)
    with pytest.raises(BadInput, match="without calibration images"):
        events_and_result(TwoFour(method="sparsegpt", epochs=0).apply(bare, context))
