"""Where the techniques of TensorFlow that train may stand in a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bridges.environments import Environment
from core.bundle import Situation
from core.errors import CannotCompose, Unavailable
from core.tflite_file import TfliteFacts, TfliteWeights
from optimizers import keras_fit
from optimizers.keras_clustering import KerasClustering
from optimizers.keras_fine_tuning import KerasFineTuning
from optimizers.keras_pruning import KerasPruning
from optimizers.keras_qat import KerasQuantizationAware, _told, form_of_training
from optimizers.keras_quantization import KerasQuantization
from optimizers.technique import Technique
from tests.optimizers.conftest import BF16_CPU

KERAS = Situation("cnn", 100, 10, BF16_CPU, "litert", form="keras", brought_as="keras")
TRAINING: tuple[type[Technique], ...] = (KerasFineTuning, KerasPruning, KerasClustering, KerasQuantizationAware)
each = pytest.mark.parametrize("kind", TRAINING)


@pytest.fixture
def with_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_fit, "TENSORFLOW", type("Here", (), {"why_missing": None}))


def check_all(*techniques: Technique) -> Situation:
    situation = KERAS
    for technique in techniques:
        situation = technique.check(situation)
    return situation


@pytest.mark.usefixtures("with_tensorflow")
def test_orders_that_make_sense_compose() -> None:
    whole = check_all(KerasFineTuning(), KerasPruning(), KerasClustering(), KerasQuantizationAware())
    assert (whole.form, whole.precision) == ("tflite", "int8")
    assert whole.applied == ("keras_fine_tuning", "keras_pruning", "keras_clustering", "keras_qat")
    pruned = check_all(KerasPruning())
    assert (pruned.form, pruned.precision, pruned.applied) == ("keras", "fp32", ("keras_pruning",))


@pytest.mark.usefixtures("with_tensorflow")
@pytest.mark.parametrize(
    ("techniques", "reason"),
    [
        ((KerasClustering(), KerasPruning()), "would break the clusters"),
        ((KerasPruning(), KerasFineTuning()), "would fill the zeros again"),
        ((KerasClustering(), KerasFineTuning()), "off its cluster"),
        ((KerasQuantizationAware(), KerasPruning()), "Move Magnitude pruning .* before quantization"),
        ((KerasQuantizationAware(), KerasQuantization()), "Keep one quantizing step"),
        ((KerasQuantization(), KerasQuantizationAware()), "Keep one quantizing step"),
        ((KerasPruning(), KerasClustering(clusters=2)), "at least 3, because one of them is zero"),
        ((KerasPruning(begin=0.5, end=0.3),), "an end after the beginning"),
    ],
)
def test_orders_and_settings_that_do_not_are_refused_with_the_reason(
    techniques: tuple[Technique, ...], reason: str
) -> None:
    with pytest.raises(CannotCompose, match=reason):
        check_all(*techniques)


@pytest.mark.usefixtures("with_tensorflow")
def test_two_clusters_do_where_zeros_need_none() -> None:
    assert check_all(KerasClustering(clusters=2)).applied == ("keras_clustering",)
    assert len(check_all(KerasPruning(), KerasClustering(clusters=2, preserve=False)).applied) == 2


@pytest.mark.usefixtures("with_tensorflow")
@each
def test_nothing_is_done_twice_nor_without_images(kind: type[Technique]) -> None:
    with pytest.raises(CannotCompose, match="a second time"):
        check_all(kind(), kind())
    with pytest.raises(CannotCompose, match="without training images"):
        kind().check(replace(KERAS, train_images=0))


@each
def test_without_tensorflow_the_way_to_get_it_is_told(
    kind: type[Technique], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keras_fit, "TENSORFLOW", Environment("tensorflow", "TensorFlow", tmp_path, "2.3 GB"))
    with pytest.raises(Unavailable, match=r"studio\.py install tensorflow"):
        kind().check(KERAS)


@each
def test_models_of_other_kinds_are_refused(kind: type[Technique]) -> None:
    assert kind.takes == ("keras",)
    with pytest.raises(CannotCompose, match="a model of Keras"):
        kind().check(replace(KERAS, form="torch", brought_as="torch"))


@pytest.mark.parametrize(
    ("kept", "name"),
    [
        ((), "QAT"),
        (("zeros",), "PQAT"),
        (("clusters",), "CQAT"),
        (("both",), "PCQAT"),
        (("zeros", "clusters"), "PCQAT"),
    ],
)
def test_quantization_aware_training_is_called_after_what_it_keeps(kept: tuple[str, ...], name: str) -> None:
    assert form_of_training({f"layer{number}": what for number, what in enumerate(kept)}) == name


def test_different_values_are_told_of_dense_layers_where_there_are_any() -> None:
    weights = {"name": "w", "shape": (2, 2), "dtype": "int8", "bits": 8, "count": 4, "zeros": 1, "distinct": 3}
    facts = {"operators": {}, "parameter_count": 4, "nonzero_count": 3, "macs": 4}

    def told(operator: str) -> str:
        found = TfliteFacts(
            **facts, weights=(TfliteWeights(**weights, operator=operator),), input_type="float32", output_type="float32"
        )
        return _told(found, {"w": "clusters"})

    assert told("CONV_2D") == "4 weights in 1 layers are INT8."
    assert told("FULLY_CONNECTED") == "4 weights in 1 layers are INT8; the fullest dense layer has 3 different values."
