"""What is counted of a model's examples, in words: what labels say or, without labels, what it answered before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Metric = Literal["accuracy", "agreement"]
"""What counts as right: what a label says or, where there are none, what the untouched network answers."""


@dataclass(frozen=True)
class Judging:
    """By what the answers of a model and of its variants are judged, and what its examples are called."""

    metric: Metric = "accuracy"
    unit: str = "images"
    """`images` or `texts`."""

    @property
    def has_labels(self) -> bool:
        """Whether right and wrong are told by labels."""
        return self.metric == "accuracy"

    @property
    def noun(self) -> str:
        """`accuracy` or `agreement`."""
        return str(self.metric)

    @property
    def title(self) -> str:
        """`Accuracy` or `Agreement`."""
        return self.noun.capitalize()

    @property
    def help(self) -> str:
        """What the figure is, as a sentence."""
        if self.has_labels:
            return f"Share of the test {self.unit} that are right."
        return f"Share of the test {self.unit}, which have no labels, that are answered as by the untouched network."

    @property
    def example(self) -> str:
        """`image` or `text`."""
        return self.unit.removesuffix("s")

    @property
    def superlative(self) -> str:
        """What the best of several variants is."""
        return "most accurate" if self.has_labels else "closest to the untouched network"

    @property
    def right(self) -> str:
        """What follows a share of the examples: `right` or `answered as by the untouched network`."""
        return "right" if self.has_labels else "answered as by the untouched network"

    @property
    def target(self) -> str:
        """What the class is that an example should get."""
        return "True class" if self.has_labels else "Untouched network"

    @property
    def turned(self) -> tuple[str, str]:
        """What an answer turned that was good before, and one that was not: wrong and right, or away and back."""
        return ("wrong", "right") if self.has_labels else ("away", "back")

    def counted(self, correct: int, total: int) -> str:
        """`9,283 of 10,000 test images right`."""
        return f"{correct:,} of {total:,} test {self.unit} {self.right}"


LABELLED = Judging()
"""Images with labels."""
