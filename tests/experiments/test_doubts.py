"""What is found of the preparation of images, beside the formula of a network whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.bundle import ModelBundle, OnnxGraph
from core.data import DataSplits, Floats, Pixels, Split
from core.progress import result_of
from experiments.doubts import MOST_IMAGES, Preparations, guessing, usual_preparations
from intake.preprocessing import Preprocessing

CHOSEN = Preprocessing(height=4, width=4, mean=(127.5,) * 3, std=(127.5,) * 3)
BY_255 = ((0.0,) * 3, (255.0,) * 3)
BRIGHT = np.array([[0.0, 1.0]] * 3, np.float32)
"""Scores of means of channels: the first is 0."""


def bundle(pixels: Pixels, labels: list[int], weight: Floats = BRIGHT, bias: float = -1.5) -> ModelBundle:
    """scores[N, 2] = means of the channels of x[N, 3, 4, 4] @ weight + (0, bias)."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "bright",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([0, bias], np.float32), "bias")],
    )  # fmt: skip
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    split = Split(pixels, np.asarray(labels, np.int64)[:, None])
    return ModelBundle(
        "b", "cnn", OnnxGraph(content), CHOSEN.contract(("dark", "bright")), DataSplits(split, split, split)
    )


def plain(count: int) -> Pixels:
    """Images of one brightness each, from 0 to 255."""
    values = np.linspace(0, 255, count).astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, 3, 4, 4)).copy()


def tried(made: ModelBundle, chosen: Preprocessing = CHOSEN) -> Preparations:
    found = result_of(usual_preparations(made, chosen))
    assert found
    return found


def test_each_preparation_is_judged_by_what_the_network_answers_with_it() -> None:
    pixels = plain(60)
    means = pixels.mean((1, 2, 3), dtype=np.float64)
    labels = (means / 255 > 0.5).astype(int)
    found = tried(bundle(pixels, labels.tolist()))
    right = {each.words: each.right for each in (found.chosen, *found.others)}
    expected = {"pixels as they are": means, "pixels / 255": means / 255, "pixels / 127.5 - 1": means / 127.5 - 1}
    for words, x in expected.items():
        assert right[words] == int(((3 * x > 1.5) == labels).sum()), words
    assert (found.images, found.chosen.words, right["pixels / 255"]) == (60, "pixels / 127.5 - 1", 60)
    assert found.advised
    assert (found.advised.mean, found.advised.std) == BY_255
    assert "with pixels / 255 (mean 0, deviation 255) 100.0 % of 60 images" in found.doubt
    assert f"(mean 127.5, deviation 127.5) {100 * found.chosen.right / 60:.1f} %" in found.doubt
    assert "pixels / 127.5 - 1 75.0 % (chosen)" in found.found


def test_nothing_is_doubted_where_the_chosen_one_is_as_good_or_the_images_too_few_to_tell() -> None:
    pixels = plain(60)
    labels = (pixels.mean((1, 2, 3)) / 255 > 0.5).astype(int).tolist()
    right = CHOSEN.model_copy(update=dict(zip(("mean", "std"), BY_255, strict=True)))
    assert (tried(bundle(pixels, labels), right).doubt, tried(bundle(pixels, labels), right).advised) == ("", None)
    few = slice(0, 60, 3)  # 20 images, of which 15 and 20 are right: the intervals overlap
    assert not tried(bundle(pixels[few], labels[few])).doubt


def test_bgr_is_tried_with_the_channels_turned_round_and_read_as_such() -> None:
    """As VGG and ResNet of Keras have it: blue first, less the mean of each channel."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3, 4, 4), np.uint8)
    pixels[::2, 0] //= 3
    less = pixels.mean((2, 3))[:, ::-1] - np.array([103.53, 116.28, 123.675])
    labels = (less[:, 2] - less[:, 0] > 0).astype(int)
    weight = np.array([[0, -1], [0, 0], [0, 1]], np.float32)
    found = tried(bundle(pixels, labels.tolist(), weight, bias=0.0))
    assert found.better
    assert (found.better.words, found.better.right) == ("BGR less ImageNet's mean", 200)
    assert "(colour BGR, mean 123.675, 116.28, 103.53, deviation 1)" in found.doubt
    chosen = found.better.way
    turned = tried(bundle(pixels, labels.tolist(), weight[::-1].copy(), bias=0.0), chosen)
    assert (turned.chosen.right, turned.doubt) == (200, "")  # once turned round, it takes RGB and answers alike


@pytest.mark.parametrize("labels", [[-1] * 60, [-1] * 41 + [1] * 19])
def test_without_enough_labels_nothing_is_said(labels: list[int]) -> None:
    assert result_of(usual_preparations(bundle(plain(60), labels), CHOSEN)) is None


def test_only_so_many_images_are_looked_at() -> None:
    count = MOST_IMAGES + 40
    assert tried(bundle(plain(count), [0] * count)).images == MOST_IMAGES


def test_time_ends_the_trial_after_images_of_which_all_ways_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.doubts.SECONDS", 0.0)
    assert tried(bundle(plain(100), [0] * 100)).images == 32


def test_a_network_that_guesses_is_told_by_its_interval() -> None:
    one, other = np.zeros(40, np.int64), np.arange(40) % 2
    assert len(guessing(20, one, 2, "images")) == 2
    assert guessing(35, other, 2, "images") == ()
    assert guessing(5, one[:10], 2, "images") == ()
    assert "20 of 40 test texts are right" in guessing(20, other, 2, "texts")[0]
