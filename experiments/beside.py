"""Variants of other models that may stand beside those of one: judged by the same answers to the same test images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from core.errors import StudioError
from experiments.models import find, is_here, judging_of, test_split

LOOKED_AT = 512
"""Test images of which every value is compared; of all others the labels."""


def judged_alike(model: str, others: Iterable[str]) -> list[str]:
    """Those of the other models whose test examples are those of the model, in the same order with the same labels.

    None where either has no labels: agreement with one's own untouched network says nothing of another one's.
    """
    if not _has_labels(model):
        return []
    candidates = [key for key in others if key != model and _has_labels(key) and find(key).test == find(model).test]
    return [key for key in candidates if examples_digest(key) == examples_digest(model) != ""]


def _has_labels(key: str) -> bool:
    return is_here(key) and judging_of(key).has_labels


@lru_cache(maxsize=256)
def examples_digest(key: str) -> str:
    """16 hex digits that two models share when they are judged by the same examples; empty where these are not here.

    Made of the labels of all test examples and the values of `LOOKED_AT` of them, evenly spaced. A model's examples
    never change, so that each is read once.
    """
    try:
        split = test_split(key)
    except StudioError:
        return ""
    rows = np.linspace(0, len(split) - 1, min(LOOKED_AT, len(split))).astype(int)
    pixels = np.ascontiguousarray(split.pixels[rows])
    found = hashlib.sha256(f"{pixels.dtype} {split.pixels.shape} {split.labels.shape}".encode())
    found.update(np.ascontiguousarray(split.labels).tobytes())
    found.update(pixels.tobytes())
    return found.hexdigest()[:16]
