"""Every model that a recipe can start from: those that come with the studio, and those that people brought."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import sample_models
from core.bundle import ModelBundle, precision_title
from core.catalogue import ModelEntry
from core.data import Contract, Pixels, Split
from core.errors import BadInput, Unavailable
from core.judging import LABELLED, Judging
from intake import library
from intake import texts as own_texts

FALLBACK = next(iter(sample_models.MODELS))
"""What is chosen where nothing else is."""


def offered(owner: str = "") -> dict[str, ModelEntry]:
    """All models that this person may use, by key: those of the studio first, then the own ones, the newest first."""
    return {key: _of_sample(key) for key in sample_models.MODELS} | {each.key: each for each in library.entries(owner)}


def is_here(key: str, owner: str | None = None) -> bool:
    """Whether there is a model of that key, whoever brought it or, with an owner, one that this person may use."""
    if key in sample_models.MODELS:
        return True
    own = library.entry(key)
    return own is not None and (owner is None or own.owner in ("", owner))


def find(key: str) -> ModelEntry:
    """What is known of a model. Raises `BadInput` for a key that nothing has."""
    if key in sample_models.MODELS:
        return _of_sample(key)
    if own := library.entry(key):
        return own
    raise _missing(key)


def _missing(key: str) -> BadInput:
    return BadInput(
        f"There is no model {key}",
        expected=" or ".join(sample_models.MODELS) + " or a model that was added here",
        action="Choose one of these, or add it on the page Bring your own",
    )


def check_usable(key: str, owner: str) -> None:
    """Raises `BadInput` for a model that is not here or is another person's, which both read alike."""
    if not is_here(key, owner):
        raise _missing(key)


def baseline_runtime(key: str) -> str:
    """The runtime in which the untouched model is what every variant of it is compared with.

    Eager PyTorch where that can run it, else what runs the file that was brought: ONNX Runtime or LiteRT. The key alone
    tells, so that runs of a model that was deleted still know.
    """
    if key.startswith(library.GRAPH_PREFIX):
        return "onnxruntime"
    is_sample_of_keras = key in sample_models.MODELS and sample_models.find(key).form == "keras"
    return "litert" if is_sample_of_keras or key.startswith(library.LITERT_PREFIXES) else "pytorch"


def untouched_title(key: str) -> str:
    """What the untouched model computes in: `FP32`, or `INT8` where it was brought quantized."""
    is_own = key not in sample_models.MODELS and is_here(key)
    return precision_title(find(key).precision if is_own else "fp32")


def title_of(key: str, owner: str | None = None) -> str:
    """What the model is called, or was until it was deleted; its key where, with an owner, it is another person's."""
    return find(key).title if is_here(key, owner) else library.deleted_title(key, owner) or key


def was_deleted(key: str, owner: str | None = None) -> bool:
    """Whether there was a model of that key once or, with an owner, one that this person could use, and is no more."""
    return not is_here(key, owner) and bool(library.deleted_title(key, owner))


def judging_of(key: str) -> Judging:
    """What is counted of the model's examples, in words; as of images with labels where it was deleted."""
    if key in sample_models.MODELS or not is_here(key):
        return LABELLED
    return Judging(find(key).metric, contract(key).unit)


def contract(key: str) -> Contract:
    """What the model expects as input and the names of its outputs."""
    return sample_models.contract(key) if key in sample_models.MODELS else library.contract(key)


def load(key: str) -> ModelBundle:
    """The model with its data: a torch module in eval mode on the CPU, or a network as plain data."""
    return sample_models.load(key) if key in sample_models.MODELS else library.load(key)


def sample_images(key: str, count: int) -> tuple[Pixels, tuple[str, ...]]:
    """uint8 [count, C, H, W] of the test set and the class name of each, or of fewer where there are not as many."""
    return sample_models.sample_images(key, count) if key in sample_models.MODELS else library.samples(key, count)


def test_split(key: str) -> Split:
    """The labelled test examples, in the order in which accuracy is measured; read-only."""
    return sample_models.test_split(key) if key in sample_models.MODELS else library.test_split(key)


def texts(key: str, rows: Sequence[int]) -> tuple[str, ...]:
    """The texts of these rows of `test_split`, of a model of texts; each cut where it is very long."""
    return own_texts.test_texts(key, rows)


def tokenizer(key: str) -> Path:
    """The file that turns texts into tokens, of a model of texts. Raises `BadInput` where the model is not here."""
    return own_texts.tokenizer_file(key)


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
        form=model.form,
        refusals=_refusals_of_sample(key),
    )


def _refusals_of_sample(key: str) -> dict[str, str]:
    """What its card tells; nothing without one."""
    try:
        eligibility = sample_models.card(key).eligibility
    except Unavailable:
        return {}
    return {technique: reason for technique, reason in eligibility.items() if reason}
