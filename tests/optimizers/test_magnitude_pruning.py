from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from core.bundle import ModelBundle, OnnxGraph
from core.data import DataSplits, Split
from core.errors import NothingDone
from core.macs import count_macs
from core.onnx_export import export_onnx
from core.progress import Note, Progress, result_of
from optimizers import TECHNIQUES
from optimizers.magnitude_pruning import MagnitudePruning
from optimizers.sparsity.zeros import count_zeros, prunable
from optimizers.technique import Context
from optimizers.training.loop import Plan, evaluate, train
from tests.optimizers.conftest import DATA, TinyNet, bundle_of, events_and_result, images


def prune(bundle: ModelBundle, context: Context, **settings: Any) -> nn.Module:
    return result_of(MagnitudePruning(**{"epochs": 0} | settings).apply(bundle, context)).module


def share_of_zeros(network: nn.Module, *, keep_ends: bool = False) -> float:
    total = sum(weight.numel() for weight in prunable(network, keep_ends=keep_ends).values())
    return sum(count_zeros(network, keep_ends=keep_ends).values()) / total


def places_of_zeros(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight == 0 for name, weight in prunable(network).items()}


@pytest.mark.parametrize("scope", ["global", "uniform"])
@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("kind", ["bundle", "transformer"])
def test_the_requested_sparsity_is_reached_before_and_after_fine_tuning(
    request: pytest.FixtureRequest, context: Context, kind: str, epochs: int, scope: str
) -> None:
    given = request.getfixturevalue(kind)
    for sparsity in (0.1, 0.7, 0.95):
        sparse = prune(given, context, sparsity=sparsity, scope=scope, epochs=epochs)
        assert share_of_zeros(sparse) == pytest.approx(sparsity, abs=0.005)


@pytest.mark.parametrize("guidance", [0.0, 0.9])
def test_fine_tuning_moves_every_other_weight_and_no_zero(
    bundle: ModelBundle, context: Context, guidance: float
) -> None:
    cut = prune(bundle, context, sparsity=0.6)
    tuned = prune(bundle, context, sparsity=0.6, epochs=2, guidance=guidance)
    before, after = places_of_zeros(cut), places_of_zeros(tuned)
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name, weight in prunable(tuned).items():
        assert (weight != prunable(cut)[name])[~before[name]].float().mean() > 0.99
        assert not weight[after[name]].signbit().any()


def test_the_seed_decides_the_weights_and_the_ranking_the_zeros(bundle: ModelBundle, context: Context) -> None:
    first, again = (prune(bundle, context, epochs=4).state_dict() for _ in range(2))
    other_context = Context(context.device, 1, 1, context.folder, context.build_network)
    other = prune(bundle, other_context, epochs=4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other.state_dict()["head.weight"])
    assert all(torch.equal(first[name] == 0, zeros) for name, zeros in places_of_zeros(other).items())


def test_the_result_is_an_ordinary_module_of_the_same_shape(bundle: ModelBundle, context: Context) -> None:
    sparse = prune(bundle, context, epochs=1)
    assert type(sparse) is type(bundle.module)
    shapes = {name: value.shape for name, value in bundle.module.state_dict().items()}
    assert {name: value.shape for name, value in sparse.state_dict().items()} == shapes
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in sparse.modules())
    assert count_macs(sparse, bundle.contract) == count_macs(bundle.module, bundle.contract)


def exported_weights(graph: bytes) -> list[np.ndarray[Any, Any]]:
    arrays = [numpy_helper.to_array(each) for each in onnx.load_from_string(graph).graph.initializer]
    return [array for array in arrays if array.ndim > 1]


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_exported_file_has_the_zeros_and_only_its_compressed_form_is_smaller(
    bundle: ModelBundle, context: Context, epochs: int
) -> None:
    dense = export_onnx(bundle.module, bundle.contract)
    sparse = export_onnx(prune(bundle, context, sparsity=0.8, epochs=epochs), bundle.contract)
    values = np.concatenate([array.ravel() for array in exported_weights(sparse)])
    assert len(values) == sum(weight.numel() for weight in prunable(bundle.module).values())
    assert (values == 0).mean() == pytest.approx(0.8, abs=0.005)
    assert len(sparse) == pytest.approx(len(dense), rel=0.01)
    assert len(gzip.compress(sparse)) < 0.6 * len(gzip.compress(dense))


def test_int8_afterwards_keeps_the_zeros(bundle: ModelBundle, context: Context) -> None:
    sparse = result_of(MagnitudePruning(sparsity=0.8, epochs=0).apply(bundle, context))
    graph = result_of(TECHNIQUES["int8"](calibration_images=16).apply(sparse, context))  # type: ignore[arg-type]
    assert isinstance(graph.network, OnnxGraph)
    stored = [array for array in exported_weights(graph.network.content) if array.dtype == np.int8]
    assert len(stored) == 3
    assert sum((array == 0).sum() for array in stored) >= 0.8 * sum(array.size for array in stored)
    assert graph.applied == ("magnitude_pruning", "int8")


def test_after_structured_pruning_the_share_is_that_of_the_weights_left(bundle: ModelBundle, context: Context) -> None:
    narrow = result_of(TECHNIQUES["structured_pruning"](ratio=0.5, epochs=0).apply(bundle, context))  # type: ignore[arg-type]
    sparse = result_of(MagnitudePruning(sparsity=0.7, epochs=1).apply(narrow, context))
    assert sparse.module.stem[0].weight.shape[0] == 8
    assert share_of_zeros(sparse.module) == pytest.approx(0.7, abs=0.005)


def test_mixed_precision_fine_tuning_afterwards_holds_the_zeros(bundle: ModelBundle, context: Context) -> None:
    sparse = result_of(MagnitudePruning(sparsity=0.7, epochs=0).apply(bundle, context))
    tuned = result_of(TECHNIQUES["mixed_precision"](fine_tune_epochs=1).apply(sparse, context))  # type: ignore[arg-type]
    assert not torch.equal(tuned.module.head.weight, sparse.module.head.weight)
    after = places_of_zeros(tuned.module)
    assert all(torch.equal(zeros, after[name]) for name, zeros in places_of_zeros(sparse.module).items())


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_fine_tuning_recovers_what_the_zeros_cost(context: Context, guidance: float) -> None:
    """With guidance alone no label is used, so that what is learned comes from the dense network."""
    data = DataSplits(images(512, seed=3), DATA.calibrate, DATA.test)
    torch.manual_seed(0)
    untrained = bundle_of(TinyNet(), data=data)
    trained = result_of(train(untrained.module, untrained, context, Plan(12, 0.02, batch_size=32)))
    shuffled = DataSplits(Split(data.train.pixels, np.roll(data.train.labels, 1)), data.calibrate, data.test)
    bundle = bundle_of(trained, data=shuffled if guidance else data)
    settings = {"sparsity": 0.8, "guidance": guidance, "learning_rate": 0.01}
    events, sparse = events_and_result(MagnitudePruning(epochs=20, **settings).apply(bundle, context))  # type: ignore[arg-type]
    asked = [event for event in events if isinstance(event, Progress) and event.unit == "images"]
    assert bool(asked) is bool(guidance)
    assert evaluate(sparse.module, bundle) > max(0.9, evaluate(prune(bundle, context, sparsity=0.8), bundle) + 0.1)


@pytest.mark.parametrize(("keep_ends", "layers"), [(False, 3), (True, 1)])
def test_the_note_says_how_many_zeros_and_that_nothing_gets_faster(
    bundle: ModelBundle, context: Context, keep_ends: bool, layers: int
) -> None:
    events, _ = events_and_result(MagnitudePruning(epochs=0, keep_ends=keep_ends).apply(bundle, context))
    (note,) = [event for event in events if isinstance(event, Note)]
    total = 16 * 16 * 9 if keep_ends else 16 * 9 + 16 * 16 * 9 + 16 * 4
    assert note.text == (
        f"70.0 % of {total:,} weights in {layers} layers are zero; nothing gets faster from that in engines that "
        "store and multiply every weight."
    )


def test_an_emptied_layer_is_named_with_a_warning(context: Context) -> None:
    network = TinyNet()
    with torch.no_grad():
        network.stem[0].weight *= 1e-6
    events, _ = events_and_result(MagnitudePruning(epochs=0).apply(bundle_of(network), context))
    assert [event.text for event in events if isinstance(event, Note) and event.warning] == [
        "No weight is left in stem.0: that part sees the image no more."
    ]


@pytest.mark.parametrize(
    ("network", "settings", "way_out"),
    [
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144)), {}, "Leave out unstructured pruning"),
        (nn.Sequential(nn.Flatten(), nn.Linear(144, 4)), {"keep_ends": True}, "the first and the last layer too"),
        (nn.Sequential(nn.Conv2d(1, 1, 1)), {"sparsity": 0.1}, "Raise the sparsity"),
    ],
    ids=["no layer", "only ends", "less than one weight"],
)
def test_nothing_to_prune_is_refused(
    context: Context, network: nn.Module, settings: dict[str, Any], way_out: str
) -> None:
    with pytest.raises(NothingDone, match=way_out):
        prune(bundle_of(network), context, **settings)


def test_a_network_that_is_sparse_enough_already_is_refused(bundle: ModelBundle, context: Context) -> None:
    sparse = bundle_of(prune(bundle, context, sparsity=0.7))
    with pytest.raises(NothingDone, match="zero already"):
        prune(sparse, context, sparsity=0.5)


def test_a_sample_model_of_another_make_is_pruned_and_still_answers(context: Context) -> None:
    from sample_models import load

    photographs = load("efficientnet_lite0")
    sparse = prune(photographs, context, sparsity=0.3)
    assert share_of_zeros(sparse) == pytest.approx(0.3, abs=0.005)
    with torch.inference_mode():
        assert sparse(torch.zeros(1, *photographs.contract.shape)).isfinite().all()
