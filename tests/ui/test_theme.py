"""Colours that stay apart for everyone, and stay with their variant."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ui import theme

CONFIG = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())["theme"]
MODES = {"light": (theme.LIGHT, theme.BASELINE_LIGHT), "dark": (theme.DARK, theme.BASELINE_DARK)}

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def linear(colour: str) -> np.ndarray:
    """sRGB hex to linear RGB."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB to CIELAB, D65."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    low, high = sorted(TO_XYZ[1] @ linear(colour) + 0.05 for colour in (one, other))
    return float(high / low)


def smallest_distance(colours: tuple[str, ...], matrix: np.ndarray) -> float:
    """The CIELAB distance of the closest pair as a person with that deficiency sees it."""
    seen = [lab(matrix @ linear(colour)) for colour in colours]
    return min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_every_pair_stays_further_apart_than_in_the_okabe_ito_palette(mode: str, deficiency: str) -> None:
    palette, grey = MODES[mode]
    matrix = DEFICIENCIES[deficiency]
    assert smallest_distance((*palette, grey), matrix) > smallest_distance(OKABE_ITO, matrix)


@pytest.mark.parametrize("mode", MODES)
def test_every_colour_stands_out_from_the_background(mode: str) -> None:
    palette, grey = MODES[mode]
    background = CONFIG[mode]["backgroundColor"]
    assert min(contrast(colour, background) for colour in (*palette, grey)) >= 3


@pytest.mark.parametrize("mode", MODES)
def test_charts_drawn_by_streamlit_use_the_same_palette(mode: str) -> None:
    assert tuple(CONFIG[mode]["chartCategoricalColors"]) == MODES[mode][0]


def test_the_baseline_is_grey_and_eight_variants_differ() -> None:
    assert theme.colour_of(0) == theme.BASELINE_LIGHT
    assert theme.colour_of(0, dark=True) == theme.BASELINE_DARK
    assert [theme.colour_of(slot) for slot in range(1, 9)] == list(theme.LIGHT)
    assert theme.colour_of(9, dark=True) == theme.DARK[0]
