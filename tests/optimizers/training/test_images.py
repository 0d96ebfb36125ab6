from __future__ import annotations

import numpy as np
import pytest
import torch

from optimizers.training.images import PAD, TrainingImages, erase, mirror, shift
from optimizers.training.settings import Augmentation
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


def test_a_shifted_image_is_a_crop_of_the_padded_one() -> None:
    pixels = DATA.train.pixels[:100]
    torch.manual_seed(0)
    shifted = shift(torch.from_numpy(pixels)).numpy()
    padded = np.pad(pixels, ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)))
    found = [
        {(y, x) for y in range(5) for x in range(5) if (image[:, y : y + 12, x : x + 12] == moved).all()}
        for image, moved in zip(padded, shifted, strict=True)
    ]
    assert [len(places) for places in found] == [1] * 100
    assert len(set.union(*found)) > 20, "every place is as likely"


def test_an_erased_image_lacks_one_rectangle_of_a_fitting_size() -> None:
    torch.manual_seed(0)
    erased = erase(torch.ones(1000, 3, 20, 30)).numpy() == 0
    assert (erased == erased[:, :1]).all()
    hit = [image[0] for image in erased if image.any()]
    assert 0.45 < len(hit) / 1000 < 0.55
    for holes in hit:
        rows, columns = np.flatnonzero(holes.any(1)), np.flatnonzero(holes.any(0))
        assert holes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    shares = [holes.mean() for holes in hit]
    assert 0.01 < min(shares) < 0.03
    assert 0.3 < max(shares) <= 0.42


@pytest.mark.parametrize(("augmentation", "is_known"), [("none", True), ("mirror", True), ("shift", False)])
def test_answers_fit_where_images_are_mirrored_at_most(augmentation: Augmentation, is_known: bool) -> None:
    images = training_images()
    torch.manual_seed(0)
    batch = next(images.batches(64, augmentation))
    if not is_known:
        assert batch.mirrored is None
        return
    assert batch.mirrored is not None
    assert (batch.mirrored.sum() > 0) == (augmentation == "mirror")
    expected = CONTRACT.prepare(DATA.train.pixels[batch.rows])
    expected = np.where(batch.mirrored.numpy()[:, None, None, None], expected[..., ::-1], expected)
    np.testing.assert_allclose(batch.x.numpy(), expected, rtol=1e-6)
