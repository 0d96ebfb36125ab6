"""Texts come in shuffled batches, each as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.data import InputContract, Split, TextContract
from optimizers.training.examples import examples_of
from optimizers.training.images import TrainingImages
from optimizers.training.texts import TrainingTexts

TOKENS = np.arange(7 * 2 * 5, dtype=np.int32).reshape(7, 2, 5)
SPLIT = Split(TOKENS, np.arange(7, dtype=np.int64)[:, None])
CONTRACT = TextContract(5, 0, tuple("abcdefg"))


def test_the_contract_decides_what_is_trained_on() -> None:
    images = Split(np.zeros((2, 1, 4, 4), np.uint8), np.zeros((2, 1), np.int64))
    contract = InputContract(1, 4, 4, (0.0,), (1.0,), ("a", "b"))
    assert isinstance(examples_of(SPLIT, CONTRACT, torch.device("cpu")), TrainingTexts)
    assert isinstance(examples_of(images, contract, torch.device("cpu")), TrainingImages)


@pytest.mark.parametrize("augmentation", ["none", "mirror"])
def test_a_pass_shows_each_text_as_it_is_at_most_once(augmentation: str) -> None:
    torch.manual_seed(0)
    batches = list(examples_of(SPLIT, CONTRACT, torch.device("cpu")).batches(3, augmentation))  # type: ignore[arg-type]
    rows = torch.cat([batch.rows for batch in batches]).tolist()
    assert len(batches) == 2
    assert len(set(rows)) == 6
    for batch in batches:
        assert batch.x.dtype == torch.int64
        np.testing.assert_array_equal(batch.x.numpy(), TOKENS[batch.rows.numpy()])
        assert batch.targets.tolist() == batch.rows.tolist()
        assert batch.mirrored is not None
        assert not batch.mirrored.any()


def test_a_text_has_no_mirror_image() -> None:
    texts = TrainingTexts(SPLIT, torch.device("cpu"))
    np.testing.assert_array_equal(texts.seen(slice(2, 4)).numpy(), TOKENS[2:4])
    with pytest.raises(ValueError, match="no mirror image"):
        texts.seen(slice(2, 4), mirrored=True)
