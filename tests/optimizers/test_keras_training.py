"""The Keras sample trained in TensorFlow: pruned, clustered and quantized, counted with numpy and LiteRT here."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from bridges.keras.form import described
from core.bundle import KerasModel, ModelBundle, TfliteModel
from core.data import DataSplits, Floats, Split
from core.devices import find_device
from core.errors import BadInput, NothingDone, RunFailed
from core.progress import Event, Metric, Note, Progress, result_of
from core.tflite_file import facts_of
from optimizers.keras_clustering import KerasClustering
from optimizers.keras_fine_tuning import KerasFineTuning
from optimizers.keras_handover import hand_over
from optimizers.keras_pruning import KerasPruning
from optimizers.keras_qat import KerasQuantizationAware
from optimizers.keras_training import sparsity_report
from optimizers.technique import Context, Technique
from sample_models.registry import load
from tests.optimizers.conftest import events_and_result
from tests.optimizers.test_keras_quantization import accuracy

pytestmark = pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))
KERNELS = {"conv1": 0, "conv2": 2, "dense": 4, "logits": 6}
"""Where the sample keeps them among its weights."""
STEPS = 8


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    """With few images to learn from, so that an epoch takes a moment."""
    whole = load("keras_cnn_fmnist")
    data = whole.data
    return replace(whole, data=DataSplits(data.train.take(64 * STEPS + 5), data.calibrate.take(100), data.test))


def applied(technique: Technique, bundle: ModelBundle, folder: Path, seed: int = 0) -> tuple[list[Event], ModelBundle]:
    folder.mkdir(exist_ok=True)
    context = Context(find_device("cpu"), 1, seed, folder, lambda key: None, runtime="litert")  # type: ignore[arg-type,return-value]
    try:
        return events_and_result(technique.apply(bundle, context))
    finally:
        assert [*folder.iterdir()] == [], "what was handed over and handed back is deleted, also where it failed"


@pytest.fixture(scope="module")
def pruned(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], ModelBundle]:
    return applied(KerasPruning(epochs=2, frequency=3), bundle, tmp_path_factory.mktemp("pruned"))


@pytest.fixture(scope="module")
def clustered(pruned: tuple[list[Event], ModelBundle], tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return applied(KerasClustering(epochs=1), pruned[1], tmp_path_factory.mktemp("clustered"))[1]


def weights_of(bundle: ModelBundle) -> dict[str, Floats]:
    assert isinstance(bundle.network, KerasModel)
    weights = described(bundle.network.content).weights
    return {name: weights[index] for name, index in KERNELS.items()}


def zeros(weights: dict[str, Floats], *names: str) -> float:
    return sum(int((weights[name] == 0).sum()) for name in names) / sum(weights[name].size for name in names)


def served(bundle: ModelBundle) -> bytes:
    network = bundle.network
    assert isinstance(network, KerasModel | TfliteModel)
    return network.tflite if isinstance(network, KerasModel) else network.content


def metrics(events: list[Event], name: str) -> list[Metric]:
    return [event for event in events if isinstance(event, Metric) and event.name == name]


def test_fine_tuning_tells_how_it_goes_and_keeps_the_seed(bundle: ModelBundle, tmp_path: Path) -> None:
    before, technique = dict(vars(bundle)), KerasFineTuning(epochs=2, learning_rate=0.0001)
    events, result = applied(technique, bundle, tmp_path / "one")
    _, again = applied(technique, bundle, tmp_path / "two")
    first, second, old = (weights_of(each)["dense"] for each in (result, again, bundle))
    np.testing.assert_array_equal(first, second)
    assert 0 < np.abs(first - old).max() < 0.1
    assert [event.step for event in metrics(events, "accuracy")] == [STEPS, 2 * STEPS]
    assert {event.series for event in metrics(events, "accuracy")} == {"validation"}
    assert {event.series for event in metrics(events, "loss")} == {"train"}
    ends = [event for event in events if isinstance(event, Progress) and event.doing == "epoch 2 of 2"]
    assert (ends[-1].done, ends[-1].total, ends[-1].unit) == (2 * STEPS, 2 * STEPS, "steps")
    assert accuracy(served(result), bundle) == pytest.approx(accuracy(served(bundle), bundle), abs=2)
    judged = replace(bundle, data=replace(bundle.data, test=bundle.data.calibrate))
    told = 100 * metrics(events, "accuracy")[-1].value
    assert told == pytest.approx(accuracy(served(result), judged), abs=100 / len(bundle.data.calibrate))
    assert (result.form, result.applied) == ("keras", ("keras_fine_tuning",))
    assert dict(vars(bundle)) == before


def test_the_asked_share_becomes_zero_where_it_was_asked_for(
    pruned: tuple[list[Event], ModelBundle], bundle: ModelBundle
) -> None:
    events, result = pruned
    weights, report = weights_of(result), result.sparsity
    assert zeros(weights, "conv2", "dense") == pytest.approx(0.8, abs=0.001)
    assert zeros(weights, "conv1", "logits") == 0
    rise = [event.value for event in metrics(events, "sparsity")]
    assert rise == sorted(rise)
    assert rise[-1] == pytest.approx(0.8, abs=0.001)
    assert report
    assert report.sparsity == pytest.approx(zeros(weights, *KERNELS), abs=1e-6)
    assert {layer.name: layer.shape for layer in report.layers}["conv2"] == (32, 16, 3, 3)
    assert [layer.name for layer in report.layers if layer.why_dense] == ["conv1", "logits"]
    assert report.schedule[-1].sparsity == pytest.approx(0.8)
    assert {each.shape: each.zeros for each in facts_of(served(result)).weights}[(64, 1568)] == int(
        (weights["dense"] == 0).sum()
    )
    assert len(gzip.compress(served(result))) < 0.4 * len(gzip.compress(served(bundle)))


def test_two_of_every_four_inputs_become_zero(bundle: ModelBundle, tmp_path: Path) -> None:
    _, result = applied(KerasPruning(zeros="2:4", epochs=1), bundle, tmp_path)
    weights = weights_of(result)
    fours = weights["conv2"].transpose(3, 0, 1, 2).reshape(-1, 4), weights["dense"].T.reshape(-1, 4)
    assert all(((each == 0).sum(1) == 2).all() for each in fours)
    assert result.sparsity
    assert result.sparsity.pattern == "2:4"


def test_clusters_are_few_and_zeros_stay(clustered: ModelBundle, pruned: tuple[list[Event], ModelBundle]) -> None:
    weights, before = weights_of(clustered), weights_of(pruned[1])
    assert all(len(np.unique(weight)) <= 16 for weight in weights.values())
    assert all((weights[name][before[name] == 0] == 0).all() for name in KERNELS)
    assert clustered.sparsity
    assert clustered.sparsity.sparsity == pytest.approx(zeros(weights, *KERNELS))
    assert clustered.applied == ("keras_pruning", "keras_clustering")


def test_layers_that_are_not_clustered_keep_their_zeros(
    pruned: tuple[list[Event], ModelBundle], tmp_path: Path
) -> None:
    technique = KerasClustering(epochs=1, layers="dense", learning_rate=0.001)
    weights, before = weights_of(applied(technique, pruned[1], tmp_path)[1]), weights_of(pruned[1])
    assert len(np.unique(weights["dense"])) <= 16 < len(np.unique(weights["conv2"]))
    assert (weights["conv2"] != before["conv2"]).any()
    assert all((weights[name][before[name] == 0] == 0).all() for name in KERNELS)


def test_what_the_toolkit_cannot_keep_is_told_and_not_claimed(bundle: ModelBundle, tmp_path: Path) -> None:
    made = result_of(ask(TENSORFLOW, "tests.bridges.keras.networks:pruned", {"folder": str(tmp_path)}))
    network = KerasModel((tmp_path / "pruned.npz").read_bytes(), b"")
    report = sparsity_report(made["layers"], "Magnitude", [])
    given = replace(bundle, network=network, applied=("keras_pruning",), sparsity=report)
    few = replace(given, data=replace(bundle.data, train=bundle.data.train.take(64)))
    events, result = applied(KerasQuantizationAware(epochs=1, learning_rate=0.01), few, tmp_path / "run")
    told = [event for event in events if isinstance(event, Note)]
    assert told[0].text.startswith("PQAT: ")
    assert [event.text for event in told if event.warning] == [
        "Not everything that was made before is kept: TensorFlow's toolkit keeps zeros and clusters in Conv2D and "
        "Dense layers only, and lets go of those in `apart` (zeros), `across` (zeros)."
    ]
    tensors = {each.shape: each for each in facts_of(served(result)).weights}
    found = {layer.name: layer for layer in result.sparsity.layers} if result.sparsity else {}
    assert {name: layer.zeros for name, layer in found.items()} == {
        "plain": tensors[(4, 3, 3, 1)].zeros,
        "across": tensors[(8, 2, 2, 8)].zeros,
        "last": tensors[(10, 1, 1, 8)].zeros,
    }
    assert found["plain"].zeros >= 18
    assert found["across"].zeros < 64
    again = applied(KerasQuantizationAware(epochs=1, learning_rate=0.01), few, tmp_path / "again")[1]
    assert served(again) == served(result), "nothing of the task before is left, not even in names"


def test_quantization_aware_training_keeps_zeros_and_clusters_or_does_not(
    clustered: ModelBundle, bundle: ModelBundle, tmp_path: Path
) -> None:
    events, kept = applied(KerasQuantizationAware(epochs=1), clustered, tmp_path / "kept")
    _, free = applied(KerasQuantizationAware(epochs=1, preserve=False), clustered, tmp_path / "free")
    dense, other = (
        next(each for each in facts_of(served(result)).weights if each.shape == (64, 1568)) for result in (kept, free)
    )
    assert (dense.dtype, other.dtype) == ("int8", "int8")
    assert dense.distinct <= 16 < other.distinct
    assert dense.zeros >= 0.8 * dense.count
    assert (kept.form, kept.precision, free.sparsity) == ("tflite", "int8", None)
    assert kept.sparsity
    assert {layer.name: layer.zeros for layer in kept.sparsity.layers}["dense"] == dense.zeros
    assert [layer.shape for layer in kept.sparsity.layers] == [(16, 1, 3, 3), (32, 16, 3, 3), (64, 1568), (10, 64)]
    assert any(isinstance(event, Note) and event.text.startswith("PCQAT: ") for event in events)
    assert len(gzip.compress(served(kept))) < 0.1 * len(served(bundle))
    assert facts_of(served(kept)).input_type == facts_of(served(kept)).output_type == "float32"
    assert len(served(free)) <= 0.28 * len(served(bundle))
    loss = accuracy(served(clustered), bundle) - accuracy(served(free), bundle)
    assert loss < 2, "ranges of activations that begin at 6, as the toolkit has it, cost this network six points"


def test_what_would_change_nothing_is_told(
    clustered: ModelBundle, pruned: tuple[list[Event], ModelBundle], tmp_path: Path
) -> None:
    with pytest.raises(NothingDone, match="more than 256 different weights"):
        applied(KerasClustering(clusters=256), clustered, tmp_path)
    with pytest.raises(NothingDone, match=r"80\.0 % of these weights were zero before"):
        applied(KerasPruning(epochs=1, sparsity=0.1), pruned[1], tmp_path)


def test_a_loss_that_is_not_finite_and_images_without_classes_end_the_run(bundle: ModelBundle, tmp_path: Path) -> None:
    def trained(given: ModelBundle, **plan: Any) -> None:
        arguments = {**hand_over(given, tmp_path), "plan": {"epochs": 1, "learning_rate": 1e-4, **plan}}
        result_of(ask(TENSORFLOW, "bridges.keras.training:fine_tune", arguments))

    with pytest.raises(RunFailed, match=r"loss became (nan|inf) at step .* Lower the learning rate"):
        trained(bundle, learning_rate=1e6, schedule="constant", epochs=4)
    train = bundle.data.train
    unlabelled = replace(bundle.data, train=Split(train.pixels, np.full_like(train.labels, -1)))
    with pytest.raises(BadInput, match="none of them with a class"):
        trained(replace(bundle, data=unlabelled))
