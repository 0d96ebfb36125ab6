"""What is said of images that do not look like what a network was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intake.agreement import normalised, warnings
from intake.items import ImageSet
from intake.preprocessing import Preprocessing


def images(**changes: Any) -> ImageSet:
    """Photographs such as ImageNet has."""
    facts: dict[str, Any] = {
        "name": "photos.zip", "size_bytes": 1, "form": "folders", "classes": ("a", "b"), "counts": {"all": 2},
        "per_class": (1, 1), "conversions": {}, "channels": 3, "sides": (300, 500, 300, 500),
        "mean": (124.0, 116.0, 104.0), "std": (58.0, 57.0, 57.0),
    }  # fmt: skip
    return ImageSet(**facts | changes)


GRAY = Preprocessing(colour="gray", height=28, width=28, mean=(127.5,), std=(127.5,))


@pytest.mark.parametrize(
    ("preprocessing", "data"),
    [
        (Preprocessing(), images()),
        (Preprocessing(mean=(0.0,) * 3, std=(255.0,) * 3), images()),
        (Preprocessing(mean=(127.5,) * 3, std=(127.5,) * 3), images(mean=(20.0,) * 3, std=(40.0,) * 3)),
        (GRAY, images(channels=1, mean=(33.0,), std=(79.0,), sides=(28, 28, 28, 28))),
        (Preprocessing(fit="squash"), images()),
    ],
)
def test_nothing_is_said_where_nothing_is_unusual(preprocessing: Preprocessing, data: ImageSet) -> None:
    assert warnings(preprocessing, data) == ()


def test_numbers_from_0_to_255_where_normalised_ones_are_usual() -> None:
    (sentence,) = warnings(Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3), images())
    assert "a mean of 115 and a spread of 57.3" in sentence
    assert "124, 116, 104" in sentence


PHOTOGRAPHS = images(mean=(140.7, 144.4, 132.7), std=(74.8, 69.9, 77.4))
FASHION = images(channels=1, mean=(74.0,), std=(90.4,), sides=(28, 28, 28, 28))
DARK = images(mean=(20.0,) * 3, std=(40.0,) * 3)
UNSHIFTED = Preprocessing(mean=(0.0,) * 3)


@pytest.mark.parametrize("data", [PHOTOGRAPHS, images(), DARK])
def test_a_mean_that_was_left_at_0_beside_a_usual_deviation(data: ImageSet) -> None:
    assert len(warnings(UNSHIFTED, data)) == 1
    assert warnings(Preprocessing(), data) == ()


def test_the_same_for_grayscale_and_for_a_deviation_that_was_left_at_1() -> None:
    alike = {"colour": "gray", "height": 28, "width": 28}
    (sentence,) = warnings(Preprocessing(**alike, mean=(0.0,), std=(90.0,)), FASHION)
    assert "Pixels from 0 to 255 become numbers from 0 to 2.83" in sentence
    (sentence,) = warnings(Preprocessing(**alike, mean=(73.0,), std=(1.0,)), FASHION)
    assert "a spread of 90.4" in sentence
    for mean, std in ((73.0, 90.0), (0.0, 255.0), (127.5, 127.5)):
        assert warnings(Preprocessing(**alike, mean=(mean,), std=(std,)), FASHION) == ()


def test_pixels_that_were_divided_by_255_before() -> None:
    (sentence,) = warnings(Preprocessing(), images(mean=(0.5,) * 3, std=(0.2,) * 3))
    assert "a spread of 0.00347" in sentence


def test_what_the_network_gets_is_computed_as_from_the_pixels_themselves() -> None:
    pixels = np.random.default_rng(0).normal((90, 120, 150), (30, 50, 70), (4000, 3))
    data = images(mean=tuple(pixels.mean(0)), std=tuple(pixels.std(0)))
    prepared = (pixels - Preprocessing().mean) / Preprocessing().std
    assert normalised(Preprocessing(), data) == pytest.approx((prepared.mean(), prepared.var(0).mean() ** 0.5))


@pytest.mark.parametrize(
    ("preprocessing", "data", "says"),
    [
        (Preprocessing(), images(channels=1, mean=(120.0,), std=(60.0,)), "repeated in all three"),
        (GRAY, images(), "converted to gray"),
        (Preprocessing(), images(sides=(28, 32, 28, 32)), "32 pixels high and 32 wide, are enlarged 7 times"),
        (Preprocessing(fit="squash"), images(sides=(300, 300, 600, 600)), "about 2 times narrower"),
        (Preprocessing(fit="squash"), images(sides=(600, 600, 300, 300)), "about 2 times wider"),
    ],
)
def test_other_colour_size_and_shape(preprocessing: Preprocessing, data: ImageSet, says: str) -> None:
    (sentence,) = warnings(preprocessing, data)
    assert says in sentence
