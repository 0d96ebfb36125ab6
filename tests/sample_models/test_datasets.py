"""The bundled data: sizes, balance, licences, and splits that share nothing."""

import json

import numpy as np
import pytest
from PIL import Image

from sample_models import datasets

SPLITS = {
    "fashion": (datasets.fashion_mnist, datasets.FASHION_MNIST),
    "photographs": (datasets.photographs, datasets.PHOTOGRAPHS),
}


@pytest.fixture(scope="module", params=SPLITS)
def splits_and_facts(request):
    read, facts = SPLITS[request.param]
    return read(), facts


def test_sizes_are_the_ones_stated(splits_and_facts):
    splits, facts = splits_and_facts
    assert (len(splits.train), len(splits.calibrate), len(splits.test)) == (facts.train, facts.calibrate, facts.test)


def test_no_image_is_in_two_splits(splits_and_facts):
    splits, _ = splits_and_facts
    images = [image.tobytes() for split in (splits.train, splits.calibrate, splits.test) for image in split.pixels]
    assert len(set(images)) == len(images)


def test_every_prefix_of_the_fashion_splits_is_balanced():
    splits = datasets.fashion_mnist()
    for split in (splits.train, splits.calibrate):
        for count in (10, 500, len(split)):
            assert np.bincount(split.take(count).targets, minlength=10).tolist() == [count // 10] * 10


def test_fashion_normalisation_fits_the_training_images():
    pixels = datasets.fashion_mnist().train.pixels
    assert datasets.FASHION_CONTRACT.mean == pytest.approx((pixels.mean(),), rel=0.01)
    assert datasets.FASHION_CONTRACT.std == pytest.approx((pixels.std(),), rel=0.01)


def test_photographs_carry_the_labels_of_the_manifest():
    entries = json.loads((datasets.PHOTOS / "manifest.json").read_text())
    acceptable = [entry["imagenet"] for entry in entries if entry["imagenet"]]
    splits = datasets.photographs()
    assert [[label for label in row if label >= 0] for row in splits.test.labels.tolist()] == acceptable
    assert (splits.calibrate.labels == -1).all()


def test_a_photograph_is_its_centred_square():
    """A reference with plain crop and resize, which may round a pixel differently."""
    entry = next(entry for entry in json.loads((datasets.PHOTOS / "manifest.json").read_text()) if entry["imagenet"])
    with Image.open(datasets.PHOTOS / entry["file"]) as image:
        side, (left, top) = min(image.size), ((length - min(image.size)) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
        expected = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC, box=box))
    found = datasets.labelled_photos(1).pixels[0].transpose(1, 2, 0)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_every_photograph_is_free_and_listed():
    entries = json.loads((datasets.PHOTOS / "manifest.json").read_text())
    assert {entry["license"].lower() for entry in entries} == {"public domain", "cc0-1.0"}
    assert all(entry["author"] for entry in entries)
    assert sum(not entry["source"] for entry in entries) == 4
    assert {entry["file"] for entry in entries} == {path.name for path in datasets.PHOTOS.glob("*.webp")}


def test_the_licence_notice_ships_with_the_data():
    notice = (datasets.FOLDER / "LICENSES.md").read_text()
    assert "Zalando SE" in notice
    assert "WITHOUT WARRANTY OF ANY KIND" in notice
