"""Images as networks of Keras take them, compared with what the torch networks get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bridges.keras.data import Augmentation, Images, augmented, read_images
from core.data import InputContract, Split

CONTRACT = InputContract(3, 6, 5, (10.0, 20.0, 30.0), (2.0, 3.0, 4.0), ("a", "b", "c"))


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """Twenty, of which every fourth has no class and one has two."""
    random = np.random.default_rng(0)
    labels = np.stack([np.arange(20) % 3, np.full(20, -1)], axis=1)
    labels[::4] = -1
    labels[1] = (2, 0)
    np.save(tmp_path / "train.npy", random.integers(0, 256, (20, 3, 6, 5), np.uint8))
    np.save(tmp_path / "train-labels.npy", labels)
    return read_images(str(tmp_path), "train", CONTRACT.mean, CONTRACT.std)


def test_pixels_become_what_the_contract_says_with_channels_last(images: Images) -> None:
    split = Split(images.pixels, images.labels)
    wanted = CONTRACT.prepare(split.pixels).transpose(0, 2, 3, 1)
    whole = np.concatenate(list(images.in_order(8)))
    np.testing.assert_allclose(whole, wanted, rtol=1e-6)
    assert (whole.dtype, whole.shape) == (np.float32, (20, 6, 5, 3))
    assert [len(x) for x in images.in_order(8, 12)] == [8, 4]


def test_a_pass_brings_every_labelled_image_at_most_once_with_its_first_class(images: Images) -> None:
    batches = list(images.shuffled(4, np.random.default_rng(1), "none"))
    assert [len(y) for _, y in batches] == [4, 4, 4], "three of the fifteen fill no batch"
    known = {x.tobytes(): int(y) for x, y in zip(images.normalised(images.pixels), images.labels[:, 0], strict=True)}
    seen = [(x.tobytes(), int(y)) for xs, ys in batches for x, y in zip(xs, ys, strict=True)]
    assert len({x for x, _ in seen}) == 12
    assert all(known[x] == y >= 0 for x, y in seen)


def test_another_pass_comes_in_another_order_and_the_same_seed_in_the_same(images: Images) -> None:
    def classes(seed: int) -> list[list[int]]:
        return [y.tolist() for _, y in images.shuffled(4, np.random.default_rng(seed), "none")]

    assert classes(1) == classes(1) != classes(2)


def test_mirrored_images_are_mirrored_and_half_of_them_stay() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (400, 1, 4, 5), np.uint8)
    found = augmented(pixels, np.random.default_rng(1), "mirror")
    same, turned = ((found == each).all((1, 2, 3)) for each in (pixels, pixels[..., ::-1]))
    assert (same | turned).all()
    assert 150 < same.sum() < 250


def test_shifted_images_keep_their_middle_and_repeat_their_edge() -> None:
    column = np.arange(20, dtype=np.uint8)
    pixels = np.broadcast_to(column, (200, 1, 12, 20)).copy()
    found = augmented(pixels, np.random.default_rng(1), "shift")
    moved = {
        tuple(np.clip(column[::way].astype(int) if way < 0 else column.astype(int), 0, 19)[np.clip(places, 0, 19)])
        for way in (1, -1)
        for move in range(-2, 3)
        for places in (np.arange(20) + move,)
    }
    assert {tuple(row) for row in found[:, 0, 5].tolist()} == moved


@pytest.mark.parametrize("how", ["none", "mirror", "shift"])
def test_augmentation_keeps_the_form(how: Augmentation) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 6, 5), np.uint8)
    found = augmented(pixels, np.random.default_rng(1), how)
    assert (found.shape, found.dtype) == (pixels.shape, np.uint8)
