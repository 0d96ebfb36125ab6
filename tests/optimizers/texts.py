"""The tiny classifier of texts as a bundle."""

from __future__ import annotations

import copy
from functools import cache

from core.bundle import ModelBundle
from core.data import DataSplits, Split, TextContract
from tests.intake.tiny_texts import LABELS, LENGTH, encoder, texts, tokens_of

CONTRACT = TextContract(LENGTH, 0, LABELS)


def split(count: int, *, seed: int) -> Split:
    return Split(*tokens_of(texts(count, seed=seed)))


@cache
def _data() -> DataSplits:
    return DataSplits(split(96, seed=1), split(60, seed=2), split(120, seed=3))


def text_bundle(*, trained: bool = True) -> ModelBundle:
    """A network of its own each time."""
    from intake.text_networks import TextClassifier

    network = TextClassifier(copy.deepcopy(encoder(trained=trained))).eval()
    return ModelBundle("own-tiny-texts", "transformer", network, CONTRACT, _data(), task="text")
