"""Whether images and the way they are prepared belong together: what a person should look at before a run."""

from __future__ import annotations

import math

from intake.items import ImageSet
from intake.preprocessing import Preprocessing

USUAL_MEAN, USUAL_SPREAD = 2.0, (0.1, 4.0)
"""After normalising: how far from 0 the mean may be, and between what the standard deviation."""
UNSHIFTED = 1.5
"""The largest number that pixels from 0 to 255 become where none becomes less than 0: usual is 1."""
ENLARGED, STRETCHED = 2.0, 1.5
_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in gray (ITU-R BT.601, as PIL converts)."""


def warnings(preprocessing: Preprocessing, images: ImageSet) -> tuple[str, ...]:
    """A sentence for each thing about these images that is unusual for this input; empty where nothing is."""
    found = (
        _numbers(preprocessing, images),
        _colour(preprocessing, images),
        _size(preprocessing, images),
        _shape(preprocessing, images),
    )
    return tuple(sentence for sentence in found if sentence)


def normalised(preprocessing: Preprocessing, images: ImageSet) -> tuple[float, float]:
    """Mean of the numbers that the network gets from these images, and their standard deviation within a channel."""
    means, spreads = _per_channel(images, preprocessing.channels)
    pairs = zip(means, spreads, preprocessing.mean, preprocessing.std, strict=True)
    each = [((mean - shift) / scale, spread / scale) for mean, spread, shift, scale in pairs]
    average = sum(mean for mean, _ in each) / len(each)
    return average, math.sqrt(sum(spread**2 for _, spread in each) / len(each))


def _per_channel(images: ImageSet, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the images in as many channels as the network has."""
    if images.channels == channels:
        return images.mean, images.std
    if channels == 3:
        return images.mean * 3, images.std * 3
    return (_gray(images.mean),), (_gray(images.std),)


def _gray(values: tuple[float, ...]) -> float:
    return sum(share * value for share, value in zip(_LUMA, values, strict=True))


def _numbers(preprocessing: Preprocessing, images: ImageSet) -> str:
    mean, spread = normalised(preprocessing, images)
    least, most = USUAL_SPREAD
    if not least <= spread <= most or abs(mean) > USUAL_MEAN:
        return _unusual(mean, spread, images)
    low, high = _range(preprocessing)
    if low < 0 < high or max(abs(low), abs(high)) <= UNSHIFTED:
        return ""
    return (
        f"Pixels from 0 to 255 become numbers from {low:.3g} to {high:.3g}. Usual are numbers from 0 to 1, or numbers "
        "on both sides of 0: the mean and the deviation seem not to belong together"
    )


def _range(preprocessing: Preprocessing) -> tuple[float, float]:
    """The least and the greatest number that a pixel can become."""
    pairs = list(zip(preprocessing.mean, preprocessing.std, strict=True))
    return min((0 - mean) / std for mean, std in pairs), max((255 - mean) / std for mean, std in pairs)


def _unusual(mean: float, spread: float, images: ImageSet) -> str:
    return (
        f"Prepared like this, the network gets numbers with a mean of {mean:.3g} and a spread of {spread:.3g}. Most "
        "networks were trained on a mean near 0 and a spread near 1, so this is right only for one that was trained on "
        f"other numbers. The pixels of these images have a mean of {_listed(images.mean)} and a spread of "
        f"{_listed(images.std)} on the scale 0-255"
    )


def _colour(preprocessing: Preprocessing, images: ImageSet) -> str:
    if images.channels < preprocessing.channels:
        return "The images are grayscale and the network expects colour: their one channel is repeated in all three"
    if images.channels > preprocessing.channels:
        return "The images have colour and the network expects grayscale: they are converted to gray"
    return ""


def _size(preprocessing: Preprocessing, images: ImageSet) -> str:
    height, width = images.sides[1], images.sides[3]
    times = min(preprocessing.height / height, preprocessing.width / width)
    if times < ENLARGED:
        return ""
    return (
        f"Even the largest images, {height} pixels high and {width} wide, are enlarged {times:.2g} times for the "
        "network: one that was trained on sharp images may be less accurate on them"
    )


def _shape(preprocessing: Preprocessing, images: ImageSet) -> str:
    """Of images of many sizes only the middle of their proportions is known, and that roughly."""
    if preprocessing.fit != "squash":
        return ""
    low_height, high_height, low_width, high_width = images.sides
    images_ratio = math.sqrt(low_width * high_width / (low_height * high_height))
    stretched = images_ratio / (preprocessing.width / preprocessing.height)
    if 1 / STRETCHED < stretched < STRETCHED:
        return ""
    way = "narrower" if stretched > 1 else "wider"
    return (
        f"The images are distorted: what they show becomes about {max(stretched, 1 / stretched):.2g} times {way}. "
        "Cutting out the middle keeps its proportions"
    )


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)
