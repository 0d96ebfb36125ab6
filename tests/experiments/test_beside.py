"""Which models may stand beside another: told by the examples that judge them, not by their names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.data import Split
from core.errors import BadInput
from core.judging import Judging
from experiments import beside
from experiments.models import find

PHOTOGRAPHS = "efficientnet_lite0"


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> dict[str, Split]:
    """The test examples of made-up models, by key; all have as many examples as they say."""
    found: dict[str, Split] = {}
    entry = find("resnet_fmnist")

    def test_split(key: str) -> Split:
        if key not in found:
            raise BadInput("gone")
        return found[key]

    beside.examples_digest.cache_clear()
    monkeypatch.setattr(beside, "test_split", test_split)
    monkeypatch.setattr(beside, "is_here", lambda key: key in found)
    monkeypatch.setattr(beside, "find", lambda key: replace(entry, key=key, test=len(found[key])))
    monkeypatch.setattr(beside, "judging_of", lambda key: Judging("agreement" if key == "unlabelled" else "accuracy"))
    yield found
    beside.examples_digest.cache_clear()


def examples(seed: int, count: int = 700) -> Split:
    """Random images with random classes."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (count, 1, 4, 4), np.uint8)
    return Split(pixels, draw.integers(0, 10, (count, 1)))


def test_samples_that_share_a_test_set_may_stand_beside_each_other() -> None:
    keys = ["dwcnn_fmnist", PHOTOGRAPHS, "vit_fmnist", "resnet_fmnist", "own-deleted-0000"]
    assert beside.judged_alike("resnet_fmnist", keys) == ["dwcnn_fmnist", "vit_fmnist"]
    assert beside.judged_alike(PHOTOGRAPHS, keys) == []


def test_equal_examples_are_found_whatever_the_models_are_called(splits: dict[str, Split]) -> None:
    splits |= {"mine": examples(1), "yours": examples(1), "others": examples(2)}
    assert beside.judged_alike("mine", ["yours", "others"]) == ["yours"]


def test_one_other_label_another_order_or_other_pixels_are_another_test_set(splits: dict[str, Split]) -> None:
    split = examples(1)
    labels = split.labels.copy()
    labels[333] = (labels[333] + 1) % 10
    splits |= {
        "mine": split,
        "relabelled": Split(split.pixels, labels),
        "reversed": Split(split.pixels[::-1], split.labels[::-1]),
        "brighter": Split(split.pixels // 2, split.labels),
        "shorter": split.take(699),
    }
    assert beside.judged_alike("mine", ["relabelled", "reversed", "brighter", "shorter"]) == []


def test_models_without_labels_agree_with_themselves_and_stand_alone(splits: dict[str, Split]) -> None:
    splits |= {"mine": examples(1), "unlabelled": examples(1)}
    assert beside.judged_alike("mine", ["unlabelled"]) == []
    assert beside.judged_alike("unlabelled", ["mine"]) == []


def test_what_cannot_be_read_stands_beside_nothing(splits: dict[str, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "is_here", lambda key: True)
    monkeypatch.setattr(beside, "find", lambda key: find("resnet_fmnist"))
    assert beside.judged_alike("gone", ["lost"]) == []
