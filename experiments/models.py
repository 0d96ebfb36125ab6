"""Every model that a recipe can start from: those that come with the studio, and those that people brought."""

from __future__ import annotations

from functools import cache

import intake
import sample_models
from core.bundle import ModelBundle
from core.catalogue import ModelEntry
from core.data import Contract, Pixels, Split
from core.errors import BadInput

FALLBACK = next(iter(sample_models.MODELS))
"""What is chosen where nothing else is."""


def offered(owner: str = "") -> dict[str, ModelEntry]:
    """All models that this person may use, by key: those of the studio first, then the own ones, the newest first."""
    return {key: _of_sample(key) for key in sample_models.MODELS} | {each.key: each for each in intake.entries(owner)}


def is_here(key: str) -> bool:
    """Whether there is a model of that key, whoever brought it."""
    return key in sample_models.MODELS or intake.entry(key) is not None


def find(key: str) -> ModelEntry:
    """What is known of a model. Raises `BadInput` for a key that nothing has."""
    if key in sample_models.MODELS:
        return _of_sample(key)
    if own := intake.entry(key):
        return own
    raise BadInput(
        f"There is no model {key}",
        expected=" or ".join(sample_models.MODELS) + " or a model that was added here",
        action="Choose one of these, or add it on the page Bring your own",
    )


def title_of(key: str) -> str:
    """The model's title; its key where it was deleted."""
    return find(key).title if is_here(key) else key


def contract(key: str) -> Contract:
    """What the model expects as input and the names of its outputs."""
    return sample_models.contract(key) if key in sample_models.MODELS else intake.contract(key)


def load(key: str) -> ModelBundle:
    """The model, a torch module in eval mode on the CPU or an ONNX graph, with its data."""
    return sample_models.load(key) if key in sample_models.MODELS else intake.load(key)


def sample_images(key: str, count: int) -> tuple[Pixels, tuple[str, ...]]:
    """uint8 [count, C, H, W] of the test set and the class name of each, or of fewer where there are not as many."""
    return sample_models.sample_images(key, count) if key in sample_models.MODELS else intake.samples(key, count)


def test_split(key: str) -> Split:
    """The labelled test examples, in the order in which accuracy is measured; read-only."""
    return sample_models.test_split(key) if key in sample_models.MODELS else intake.test_split(key)


@cache
def _of_sample(key: str) -> ModelEntry:
    model = sample_models.find(key)
    return ModelEntry(
        key=key,
        title=model.title,
        family=model.family,
        labels=sample_models.contract(key).labels,
        data_title=model.dataset.title,
        train=model.dataset.train,
        calibrate=model.dataset.calibrate,
        test=model.dataset.test,
    )
