"""What the pictures show is what the techniques do, on the same matrix."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from ui.learn import pictures
from ui.learn.pictures import PICTURES, factors, weights

W = weights()


def test_half_of_the_weights_are_zero_and_the_others_as_they_were() -> None:
    for left in (pictures.pruned(W), pictures.two_of_four(W)):
        assert np.count_nonzero(left) == W.size // 2
        np.testing.assert_array_equal(left[left != 0], W[left != 0])
    assert np.abs(W[pictures.pruned(W) == 0]).max() < np.abs(W[pictures.pruned(W) != 0]).min()
    assert (np.count_nonzero(pictures.two_of_four(W).reshape(-1, 4), axis=1) == 2).all()


def test_structured_pruning_leaves_the_strongest_rows_and_columns() -> None:
    rows, columns = (np.sort(np.argsort((W**2).sum(axis))[4:]) for axis in (1, 0))
    np.testing.assert_array_equal(pictures.narrower(W), W[np.ix_(rows, columns)])


def test_two_thin_matrices_leave_out_the_weaker_directions_alone() -> None:
    high, wide = factors(W)
    assert (high.shape, wide.shape) == ((8, 2), (2, 8))
    lost = float(((W - high @ wide) ** 2).sum())
    assert lost == pytest.approx(float((torch.linalg.svdvals(torch.from_numpy(W))[2:] ** 2).sum()), rel=1e-4)


def test_clusters_share_their_mean() -> None:
    shared = pictures.clustered(W)
    for value in (values := np.unique(shared)):
        assert value == pytest.approx(W[shared == value].mean(), rel=1e-5)
    assert len(values) == 4


def test_formats_have_the_numbers_that_torch_has() -> None:
    every_byte = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    assert pictures.fp8() == pytest.approx(np.unique(every_byte[~every_byte.isnan()].numpy()) / 448)
    assert [6 * each for each in pictures.fp4()] == pytest.approx(
        [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]
    )
    assert [7 * each for each in pictures.integers(4)] == pytest.approx(list(range(-7, 8)))


@pytest.mark.parametrize("group", PICTURES)
def test_each_picture_is_an_image_in_the_colour_of_the_text(group: str) -> None:
    draw, words = PICTURES[group]
    root = ElementTree.fromstring(draw("#123456"))
    assert root.attrib["color"] == "#123456"
    assert words.endswith(".")


def test_a_tick_for_each_number_stands_where_the_number_is() -> None:
    ticks = [
        each for each in ElementTree.fromstring(pictures.fewer_bits("#000000")).iter() if each.tag.endswith("rect")
    ]
    assert len(ticks) == 255 + 253 + 15 + 15
    middle = 60 + pictures.LINE / 2
    assert [float(ticks[number].attrib["x"]) for number in (0, 127, 254)] == [60, middle, 2 * middle - 60]
