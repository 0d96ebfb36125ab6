from __future__ import annotations

import numpy as np
import torch

from optimizers.images import TrainingImages, mirror
from tests.optimizers.conftest import CONTRACT, DATA


def training_images() -> TrainingImages:
    return TrainingImages(DATA.train, CONTRACT, torch.device("cpu"))


def test_only_the_chosen_images_are_mirrored() -> None:
    pixels = DATA.train.pixels[:4]
    flipped = mirror(torch.from_numpy(pixels), torch.tensor([1, 0, 0, 1])).numpy()
    np.testing.assert_array_equal(flipped[[0, 3]], pixels[[0, 3], :, :, ::-1])
    np.testing.assert_array_equal(flipped[[1, 2]], pixels[[1, 2]])


def test_an_epoch_shows_every_image_once_with_its_own_label() -> None:
    batches = list(training_images().batches(16))
    rows = torch.cat([batch.rows for batch in batches])
    assert sorted(rows.tolist()) == list(range(128))
    assert rows.tolist() != list(range(128))
    np.testing.assert_array_equal(torch.cat([batch.targets for batch in batches]), DATA.train.targets[rows.numpy()])


def test_images_are_normalised_as_the_contract_says() -> None:
    images = training_images()
    np.testing.assert_allclose(images.normalised(images.pixels), CONTRACT.prepare(DATA.train.pixels), rtol=1e-6)
