"""Sample models as the rest of the studio sees them, and cards that a recount confirms."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from safetensors.torch import load_file, save_file
from scipy.stats import hypergeom

import sample_models
from bridges.keras.form import described
from core.data import Split
from core.errors import BadInput, Unavailable
from optimizers import TECHNIQUES
from profiling.accuracy import _labelled
from sample_models import build_keras, networks, registry
from sample_models.architectures import NETWORKS, VisionTransformer
from sample_models.training import count_correct

ROOT = Path(__file__).parents[2]
IN_TORCH = [key for key, model in sample_models.MODELS.items() if model.form == "torch"]
KERAS = "keras_cnn_fmnist"


def _macs_by_hooks(network, x):
    """Multiply-accumulates from layer shapes, and two T x T x D products a transformer block."""
    counts = []

    def count(layer, _, output):
        inputs = layer.weight[0].numel()
        counts.append(inputs * output.numel())

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    network(x)
    for handle in handles:
        handle.remove()
    attention = 2 * 49 * 49 * 96 * len(network.blocks) if isinstance(network, VisionTransformer) else 0
    return sum(counts) + attention


def test_importing_and_reading_needs_no_torch():
    code = """
import sys, sample_models
for key in sample_models.MODELS:
    sample_models.card(key), sample_models.contract(key)
    sample_models.sample_images(key, 2), sample_models.test_split(key)
found = {"torch", "streamlit", "plotly"} & set(sys.modules)
sys.exit(f"imported {found}" if found else 0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_registered_network_is_trained_here_or_published():
    assert set(sample_models.MODELS) == {*NETWORKS, networks.EFFICIENTNET, *build_keras.RECIPES}
    assert all(key == model.key for key, model in sample_models.MODELS.items())


@pytest.mark.parametrize("key", IN_TORCH)
def test_card_counts_are_those_of_the_loaded_model(key):
    card, bundle = sample_models.card(key), sample_models.load(key)
    assert card.parameter_count == sum(parameter.numel() for parameter in bundle.module.parameters())
    assert card.macs == _macs_by_hooks(bundle.module, torch.zeros(1, *bundle.contract.shape))
    assert card.size_bytes == networks.size_bytes(key)
    assert card.test_images == len(bundle.data.test)
    assert not bundle.module.training


def _answers_by_numpy(weights, x):
    """logits[N, 10] for x[N, 28, 28, 1]: two 3x3 convolutions with ReLU and 2x2 max pooling, then two dense layers."""
    for kernel, bias in (weights[0:2], weights[2:4]):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 2))
        x = np.maximum(np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias, 0)
        count, height, width, channels = x.shape
        x = x.reshape(count, height // 2, 2, width // 2, 2, channels).max((2, 4))
    hidden = np.maximum(x.reshape(len(x), -1) @ weights[4] + weights[5], 0)
    return hidden @ weights[6] + weights[7]


def _answers_by_litert(content, x):
    interpreter = Interpreter(model_content=content, num_threads=1)
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(source, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, x)
    interpreter.invoke()
    return interpreter.get_tensor(target)


def test_both_files_of_the_keras_sample_are_the_network_of_its_card():
    card, bundle = sample_models.card(KERAS), sample_models.load(KERAS)
    network = described(bundle.network.content)
    x = bundle.contract.prepare(bundle.data.test.pixels[:64]).transpose(0, 2, 3, 1).copy()
    wanted = _answers_by_numpy(network.weights, x)
    np.testing.assert_allclose(_answers_by_litert(bundle.network.tflite, x), wanted, atol=1e-4)
    assert (bundle.form, network.api) == ("keras", "tf_keras")
    assert card.parameter_count == sum(weight.size for weight in network.weights)
    assert card.macs == 28 * 28 * 9 * 16 + 14 * 14 * 9 * 16 * 32 + 7 * 7 * 32 * 64 + 64 * 10
    assert card.size_bytes == networks.size_bytes(KERAS) == len(bundle.network.tflite)


def test_the_keras_sample_scores_what_its_card_says():
    card, bundle = sample_models.card(KERAS), sample_models.load(KERAS)
    x = bundle.contract.prepare(bundle.data.test.pixels).transpose(0, 2, 3, 1).copy()
    correct = int((_answers_by_litert(bundle.network.tflite, x).argmax(1) == bundle.data.test.targets).sum())
    # Kernels of another machine round differently, which can turn a tie.
    assert abs(correct - card.correct) <= 3
    assert card.accuracy > 0.90


def test_every_technique_of_tensorflow_was_tried_on_the_keras_sample_and_works():
    eligibility = sample_models.card(KERAS).eligibility
    assert set(eligibility) == {key for key in TECHNIQUES if key.startswith("keras_")}
    assert not any(eligibility.values())


@pytest.mark.parametrize("key", sample_models.STUDENTS)
def test_students_score_what_their_card_says(key):
    bundle, card = sample_models.load(key), sample_models.card(key)
    correct = count_correct(bundle.module, bundle.data.test, bundle.contract)
    # Kernels of another machine round differently, which can turn a tie.
    assert abs(correct - card.correct) <= 3


@pytest.mark.parametrize("key", ["resnet_fmnist", "dwcnn_fmnist", "vit_fmnist"])
def test_larger_models_score_what_their_card_says_on_a_sample(key):
    """2,000 images drawn without replacement: the count follows the hypergeometric distribution exactly."""
    bundle, card = sample_models.load(key), sample_models.card(key)
    rows = np.random.default_rng(0).choice(card.test_images, 2_000, replace=False)
    sample = Split(bundle.data.test.pixels[rows], bundle.data.test.labels[rows])
    low, high = hypergeom(card.test_images, card.correct, len(sample)).interval(0.9999)
    assert low <= count_correct(bundle.module, sample, bundle.contract) <= high


def test_efficientnet_scores_what_its_card_says():
    bundle, card = sample_models.load(networks.EFFICIENTNET), sample_models.card(networks.EFFICIENTNET)
    assert abs(count_correct(bundle.module, bundle.data.test, bundle.contract) - card.correct) <= 1


def test_the_resnet_is_as_good_as_promised():
    assert sample_models.card("resnet_fmnist").accuracy >= 0.92


@pytest.mark.parametrize("key", sample_models.STUDENTS)
def test_students_come_untrained_and_small(key):
    student, trained = sample_models.build_student(key), sample_models.load(key).module
    assert student.state_dict().keys() == trained.state_dict().keys()
    assert not torch.equal(student.head.weight, trained.head.weight)
    assert sum(parameter.numel() for parameter in student.parameters()) < 20_000


def test_a_teacher_is_no_student():
    with pytest.raises(BadInput, match="student_cnn_fmnist or student_dw_fmnist"):
        sample_models.build_student("resnet_fmnist")


def test_an_unknown_key_names_the_known_ones():
    with pytest.raises(BadInput, match="resnet_fmnist"):
        sample_models.load("resnet")


@pytest.mark.parametrize("key", ["vit_fmnist", KERAS])
def test_missing_weights_name_the_build_command(tmp_path, monkeypatch, key):
    monkeypatch.setattr(networks, "FOLDER", tmp_path)
    with pytest.raises(Unavailable, match=rf"python -m sample_models\.build {key}"):
        sample_models.load(key)


@pytest.mark.parametrize("damage", ["missing", "unexpected"])
def test_weights_that_do_not_fit_are_refused(tmp_path, monkeypatch, damage):
    weights = load_file(networks.FOLDER / "student_dw_fmnist.safetensors")
    if damage == "missing":
        del weights["head.bias"]
    else:
        weights["head.scale"] = torch.ones(1)
    save_file(weights, tmp_path / "student_dw_fmnist.safetensors")
    monkeypatch.setattr(networks, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError, match=f"(?i){damage} key"):
        networks.trained("student_dw_fmnist")


@pytest.mark.parametrize("key", sample_models.MODELS)
def test_sample_images_are_the_first_of_the_test_set(key):
    pixels, names = sample_models.sample_images(key, 3)
    bundle = sample_models.load(key)
    np.testing.assert_array_equal(pixels, bundle.data.test.pixels[:3])
    assert names == tuple(bundle.contract.labels[target] for target in bundle.data.test.targets[:3])


@pytest.mark.parametrize("key", ["resnet_fmnist", networks.EFFICIENTNET])
def test_the_test_split_is_what_accuracy_is_measured_on(key):
    split, measured = sample_models.test_split(key), _labelled(sample_models.load(key).data.test)
    np.testing.assert_array_equal(split.pixels, measured.pixels)
    np.testing.assert_array_equal(split.labels, measured.labels)
    assert len(split) == sample_models.card(key).test_images
    assert not split.pixels.flags.writeable
    assert not split.labels.flags.writeable


def test_models_of_one_data_set_share_one_test_split_without_its_unlabelled_images(monkeypatch):
    assert sample_models.test_split("resnet_fmnist") is sample_models.test_split("vit_fmnist")
    labels = np.array([[3, -1], [-1, -1], [1, 2]])
    monkeypatch.setattr(registry, "_test_images", lambda *_: Split(np.arange(3, dtype=np.uint8)[:, None], labels))
    split = registry._labelled_test.__wrapped__(sample_models.find("resnet_fmnist").dataset)
    assert split.pixels.ravel().tolist() == [0, 2]
    assert split.labels.tolist() == [[3, -1], [1, 2]]
