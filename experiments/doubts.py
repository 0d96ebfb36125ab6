"""What is likely to be wrong with a network as it was set up, found out while it is added.

A wrong preparation of the images fails nowhere and costs accuracy, so that the usual ones are tried as well.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from core.bundle import KerasModel, ModelBundle
from core.data import InputContract, Labels, Split
from core.errors import BadInput
from core.progress import Progress, Steps, result_of
from intake.litert_files import turned_round
from intake.preprocessing import Preprocessing, usual_ones
from profiling.statistics import wilson_interval

ENOUGH = 20
"""Examples from which on a doubt is worth saying."""
MOST_IMAGES, AT_ONCE, SECONDS = 256, 32, 20.0
"""For each preparation; and after how long no further images are looked at."""


@dataclass(frozen=True)
class Prepared:
    """One preparation, and how many of the images the network got right with it."""

    words: str
    way: Preprocessing
    right: int


@dataclass(frozen=True)
class Preparations:
    """What the usual preparations came to on the same images."""

    images: int
    chosen: Prepared
    others: tuple[Prepared, ...]

    @property
    def better(self) -> Prepared | None:
        """The best of the others, where its 95 % interval lies above that of the chosen one; None where it does not."""
        best = max(self.others, key=lambda each: each.right)
        above = wilson_interval(best.right, self.images)[0] > wilson_interval(self.chosen.right, self.images)[1]
        return best if above else None

    @property
    def advised(self) -> Preprocessing | None:
        """The same as the input of a network."""
        source = "the most accurate of the usual ones on images to calibrate on"
        return self.better.way.model_copy(update={"source": source}) if self.better else None

    @property
    def found(self) -> str:
        """The accuracy with each, in a sentence."""
        shares = [f"{each.words} {self._share(each)}" for each in self.others]
        return (
            f"Preparations tried on {self.images:,} images to calibrate on, and the share of them that is right: "
            f"{', '.join([f'{self.chosen.words} {self._share(self.chosen)} (chosen)', *shares])}."
        )

    @property
    def doubt(self) -> str:
        """That another is clearly better, and how it is set; empty where none is."""
        if not (better := self.better):
            return ""
        colour = f"colour {better.way.colour}, " if better.way.colour != self.chosen.way.colour else ""
        return (
            f"Another preparation of the images is clearly better: with {better.words} ({colour}{better.way.scale}) "
            f"{self._share(better)} of {self.images:,} images to calibrate on are right, with the chosen one "
            f"({self.chosen.way.scale}) {self._share(self.chosen)}. Compare it with the training, and add the model "
            "again with what it was trained on."
        )

    def _share(self, each: Prepared) -> str:
        return f"{100 * each.right / self.images:.1f} %"


def guessing(correct: int, predicted: Labels, classes: int, unit: str) -> tuple[str, ...]:
    """What is likely to be wrong with a network that is hardly right, in sentences; `unit` says what is counted."""
    found = []
    if len(predicted) >= ENOUGH and wilson_interval(correct, len(predicted))[0] <= 1 / classes:
        found.append(
            f"{correct:,} of {len(predicted):,} test {unit} are right, about what guessing gets. The order of the "
            "classes or the preparation of the input is likely to be another one than in training."
        )
    if len(predicted) >= ENOUGH and len(np.unique(predicted)) == 1:
        found.append(f"It answers with one and the same class for all test {unit}.")
    return tuple(found)


def usual_preparations(bundle: ModelBundle, chosen: object) -> Steps[Preparations | None]:
    """What each usual preparation comes to on images to calibrate on, which judge nothing.

    At most `MOST_IMAGES` are looked at, and none any more after `SECONDS`. None for texts, and where fewer than
    `ENOUGH` of the images have labels.
    """
    contract, images = bundle.contract, _drawn(bundle.data.calibrate)
    if not isinstance(chosen, Preprocessing) or not isinstance(contract, InputContract) or len(images) < ENOUGH:
        return None
    ways = usual_ones(chosen, turns=_turns(bundle))
    right, done, until = dict.fromkeys(ways, 0), 0, time.monotonic() + SECONDS
    while not done or (done < len(images) and time.monotonic() < until):
        part = Split(images.pixels[done : done + AT_ONCE], images.labels[done : done + AT_ONCE])
        for words, way in ways.items():
            right[words] += _right(bundle, contract, part, way, turned=way.colour != chosen.colour)
        done += len(part)
        yield Progress(done=done, total=len(images), unit="images", doing="trying the usual preparations")
    first, *others = (Prepared(words, way, right[words]) for words, way in ways.items())
    return Preparations(done, first, tuple(others))


def _drawn(split: Split) -> Split:
    """Of the labelled ones as many as are tried, in an order in which the first are of all classes too."""
    labelled = np.flatnonzero((split.labels >= 0).any(axis=1))
    rows = np.random.default_rng(0).permutation(labelled)[:MOST_IMAGES]
    return Split(np.asarray(split.pixels[rows]), split.labels[rows])


def _turns(bundle: ModelBundle) -> bool:
    """Whether the network can be turned round from RGB to BGR."""
    if not isinstance(bundle.network, KerasModel):
        return bundle.form != "tflite"
    try:
        turned_round(bundle.network.content)
    except BadInput:
        return False
    return True


def _right(bundle: ModelBundle, contract: InputContract, images: Split, way: Preprocessing, *, turned: bool) -> int:
    """How many the network gets right with images of that preparation, of which the channels may be turned round."""
    from profiling.fidelity import source_logits

    order = slice(None, None, -1 if turned else 1)
    prepared = replace(contract, mean=way.mean[order], std=way.std[order])
    logits = result_of(source_logits(bundle.network, images.pixels[:, order], prepared))
    is_right = images.is_correct(np.asarray(logits.argmax(1), np.int64)) & np.isfinite(logits).all(1)
    return int(is_right.sum())
