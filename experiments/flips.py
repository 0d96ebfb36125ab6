"""Who pays: the images whose answer changed, the classes that lost, and the stage of a recipe that did it.

Predictions are class[N] of the labelled test images in the order of `profiling.accuracy`, as `sample_models.test_split`
gives them. An image is right when its predicted class is one of its acceptable ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.data import Split
from core.errors import BadInput
from core.judging import LABELLED, Judging
from experiments.models import untouched_title
from experiments.recipe import Recipe
from experiments.references import baseline_of, reference_of
from profiling.statistics import SIGNIFICANCE, mcnemar_p, wilson_interval
from runtimes import RUNTIMES

Indices = NDArray[np.int64]
Predictions = NDArray[np.integer[Any]]
KINDS = {
    "right_to_wrong": "right to wrong",
    "wrong_to_right": "wrong to right",
    "wrong_to_wrong": "wrong to another wrong",
    "right_to_right": "right to another right",
}

KINDS_OF_AGREEMENT = {
    "right_to_wrong": "agreed to differing",
    "wrong_to_right": "differing to agreed",
    "wrong_to_wrong": "differing to differing otherwise",
    "right_to_right": "agreed to agreed otherwise",
}
"""The same without labels: what is right is what the untouched network answers."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a variant predicted for each labelled test image."""

    predictions: Predictions
    """[N]."""
    confidences: NDArray[np.floating[Any]]
    """[N]: softmax share of the predicted class."""


@dataclass(frozen=True, eq=False)
class Flips:
    """The images that a variant answers otherwise than the reference did.

    Each array holds positions in the split, the most surprising first: where both were sure of their answer and yet
    disagree, so by the lower of both confidences. Raises `BadInput` for answers to other images than the split's.
    """

    split: Split
    before: Answers
    after: Answers
    judging: Judging = LABELLED

    def __post_init__(self) -> None:
        _refuse_other_images(self.split, self.before.predictions, self.after.predictions)

    @cached_property
    def right_to_wrong(self) -> Indices:
        """Lost: the reference was right."""
        return self._of(was_right=True, is_right=False)

    @cached_property
    def wrong_to_right(self) -> Indices:
        """Gained: the reference was wrong."""
        return self._of(was_right=False, is_right=True)

    @cached_property
    def wrong_to_wrong(self) -> Indices:
        """Another wrong answer than before: accuracy does not show these."""
        return self._of(was_right=False, is_right=False)

    @cached_property
    def right_to_right(self) -> Indices:
        """From one acceptable class of the image to another."""
        return self._of(was_right=True, is_right=True)

    def _of(self, *, was_right: bool, is_right: bool) -> Indices:
        before, after = self.before, self.after
        matches = (self.split.is_correct(before.predictions) == was_right) & (
            self.split.is_correct(after.predictions) == is_right
        )
        found = np.flatnonzero(matches & (before.predictions != after.predictions))
        both_sure = np.minimum(before.confidences, after.confidences)[found]
        return found[np.argsort(-both_sure, kind="stable")]

    @property
    def counts(self) -> dict[str, int]:
        """Images by kind of flip, in the order of `KINDS`."""
        return {kind: len(getattr(self, kind)) for kind in KINDS}

    @property
    def kinds(self) -> Mapping[str, str]:
        """What each kind of flip is called."""
        return KINDS if self.judging.has_labels else KINDS_OF_AGREEMENT

    @property
    def churn(self) -> float:
        """Share of the images that are answered differently, right or wrong."""
        return sum(self.counts.values()) / len(self.split)

    @property
    def p_value(self) -> float:
        """Exact McNemar p-value that both are equally accurate."""
        return mcnemar_p(len(self.right_to_wrong), len(self.wrong_to_right))

    @property
    def sentence(self) -> str:
        """How many images changed their answer, and how."""
        kinds = [f"{count:,} {self.kinds[kind]}" for kind, count in self.counts.items() if count]
        if not kinds:
            return f"All {len(self.split):,} {self.split.unit} are answered as before."
        changed = sum(self.counts.values())
        share = f"{changed:,} of {len(self.split):,} {self.split.unit} ({100 * self.churn:.2f} %)"
        return f"{share} are answered differently: {', '.join(kinds)}."

    def table(self, names: Sequence[str]) -> pd.DataFrame:
        """A row for each flip: image, kind, and target, before, after as class names with both confidences."""
        rows = [(image, kind) for kind in KINDS for image in getattr(self, kind)]
        images = np.array([image for image, _ in rows], np.int64)
        classes = np.asarray(names, object)
        return pd.DataFrame(
            {
                "image": images,
                "kind": [self.kinds[kind] for _, kind in rows],
                "target": classes[self.split.targets[images]],
                "before": classes[self.before.predictions[images]],
                "after": classes[self.after.predictions[images]],
                "confidence_before": self.before.confidences[images],
                "confidence_after": self.after.confidences[images],
            }
        )


def _refuse_other_images(split: Split, *predictions: Predictions) -> None:
    counts = {len(each) for each in predictions}
    if counts != {len(split)}:
        raise BadInput(
            f"Predictions for {' and '.join(f'{count:,}' for count in sorted(counts))} images",
            expected=f"one for each of the {len(split):,} labelled test images",
            action="Measure the variants again on this test set",
        )


def class_accuracy(split: Split, predictions: Predictions, names: Sequence[str]) -> pd.DataFrame:
    """The share right of each class that has images, with its 95 % Wilson interval, in the order of the classes.

    An image belongs to its first acceptable class. Indexed by class number: name, images, correct, accuracy, low, high.
    """
    _refuse_other_images(split, predictions)
    present, images = np.unique(split.targets, return_counts=True)
    correct = _by_class(split, split.is_correct(predictions))
    intervals = [wilson_interval(int(right), int(total)) for right, total in zip(correct, images, strict=True)]
    low, high = np.array(intervals).reshape(-1, 2).T
    return pd.DataFrame(
        {
            "name": class_names(names)[present],
            "images": images,
            "correct": correct,
            "accuracy": correct / images,
            "low": low,
            "high": high,
        },
        index=pd.Index(present, name="class"),
    )


def _by_class(split: Split, chosen: NDArray[np.bool_]) -> Indices:
    """int64 [classes with images]: how many of the chosen images each has."""
    present, position = np.unique(split.targets, return_inverse=True)
    return np.bincount(position[chosen], minlength=len(present))


def class_names(names: Sequence[str]) -> NDArray[np.object_]:
    """The names, those that several classes share told apart by their number, as ImageNet's two cranes."""
    plain = pd.Series(list(names), dtype=object)
    numbered = plain + " (" + plain.index.astype(str) + ")"
    return plain.where(~plain.duplicated(keep=False), numbered).to_numpy(object)


@dataclass(frozen=True, eq=False)
class ClassChanges:
    """How each class fares in each variant: classes as rows, the worst change first, variants as columns."""

    images: pd.Series[int]
    """Of each class."""
    points: pd.DataFrame
    """Change of the class's accuracy against the baseline, in percentage points."""
    lost: pd.DataFrame
    """Images of the class that only the baseline has right."""
    gained: pd.DataFrame
    """Images of the class that only the variant has right."""
    p_values: pd.DataFrame
    """Exact McNemar on the images of the class, corrected for the number of cells (`holm`)."""

    @property
    def significant(self) -> pd.DataFrame:
        """Which changes are more than chance, with a 5 % risk that any one of them is not."""
        return self.p_values < SIGNIFICANCE


def class_changes(
    split: Split, baseline: Predictions, variants: Mapping[str, Predictions], names: Sequence[str]
) -> ClassChanges:
    """What each variant changed in each class that has images, against the baseline on the same images."""
    _refuse_other_images(split, baseline, *variants.values())
    was_right = split.is_correct(baseline)
    is_right = {title: split.is_correct(predictions) for title, predictions in variants.items()}
    present, images = np.unique(split.targets, return_counts=True)
    index = pd.Index(class_names(names)[present], name="class")
    lost = pd.DataFrame({title: _by_class(split, was_right & ~right) for title, right in is_right.items()}, index)
    gained = pd.DataFrame({title: _by_class(split, ~was_right & right) for title, right in is_right.items()}, index)
    points = 100 * (gained - lost).div(images, axis=0)
    worst_first = np.argsort(points.min(axis=1).to_numpy(float), kind="stable")
    p_values = pd.DataFrame(_mcnemar(lost.to_numpy(), gained.to_numpy()), index, lost.columns)
    tables = (table.iloc[worst_first] for table in (points, lost, gained, p_values))
    return ClassChanges(pd.Series(images, index).iloc[worst_first], *tables)


def _mcnemar(lost: Indices, gained: Indices) -> NDArray[np.float64]:
    """Holm-corrected p-values of a table of counts; pairs of counts repeat, so each is computed once."""
    if not lost.size:
        return np.ones(lost.shape)
    pairs, position = np.unique(np.stack([lost.ravel(), gained.ravel()]), axis=1, return_inverse=True)
    p_of_pair = np.array([mcnemar_p(int(first), int(second)) for first, second in pairs.T])
    return holm(p_of_pair[position.ravel()]).reshape(lost.shape)


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values [N] adjusted so that the risk of one false finding among all N stays the level (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, stepped)
    return adjusted


def stages(recipe: Recipe) -> list[tuple[str, Recipe]]:
    """How the recipe comes about: the baseline, its runtime, then one technique more at a time, each with a title."""
    chain = [(untouched_title(recipe.model), baseline_of(recipe))]
    if recipe.runtime != baseline_of(recipe).runtime:
        chain.append((RUNTIMES[recipe.runtime].title, reference_of(recipe)))
    for count, label in enumerate(recipe.labels, start=1):
        chain.append((label, reference_of(recipe).model_copy(update={"techniques": recipe.techniques[:count]})))
    return chain


@dataclass(frozen=True, eq=False)
class StagesOfFlips:
    """After which stage of a chain each image turned right or wrong for good."""

    stage: pd.Series[str]
    """Titles by position in the split, for the images that are right at one end of the chain and wrong at the other."""
    counts: pd.DataFrame
    """Stages but the first as rows, in order: right_to_wrong and wrong_to_right, in images."""


def stage_of_flip(chain: Sequence[tuple[str, Predictions]], split: Split) -> StagesOfFlips:
    """For each finally flipped image the first stage from which on it is as it ends.

    `chain` is the baseline's predictions, then those after each stage, with titles. An image that turns and turns back
    before the end is counted where it turned for good; one that ends as it began is not counted at all. Raises
    `BadInput` for fewer than two stages or two of one title.
    """
    titles = [title for title, _ in chain]
    if len(titles) < 2 or len(set(titles)) < len(titles):
        raise BadInput(
            f"A chain of {', '.join(titles) or 'no stages'}", expected="at least two stages with titles of their own"
        )
    _refuse_other_images(split, *(predictions for _, predictions in chain))
    right = np.stack([split.is_correct(predictions) for _, predictions in chain])
    flipped = np.flatnonzero(right[0] != right[-1])
    differs = right[:, flipped] != right[-1, flipped]
    # The last stage at which an image is not yet as it ends; the next one turned it.
    turned = len(chain) - np.argmax(differs[::-1], axis=0)
    ends_right = right[-1, flipped]
    counts = {
        "right_to_wrong": np.bincount(turned[~ends_right], minlength=len(chain))[1:],
        "wrong_to_right": np.bincount(turned[ends_right], minlength=len(chain))[1:],
    }
    return StagesOfFlips(
        pd.Series([titles[stage] for stage in turned], flipped, dtype=object),
        pd.DataFrame(counts, pd.Index(titles[1:], name="stage")),
    )
