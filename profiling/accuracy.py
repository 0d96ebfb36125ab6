"""How many test images a session gets right."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from core.data import Contract, Floats, Split
from core.errors import BadInput, RunFailed
from core.judging import LABELLED, Judging
from core.judging import Metric as MetricName
from core.packed import Packed, PackedField
from core.progress import Metric, Note, Progress, Steps
from profiling.statistics import Interval, mcnemar_p, wilson_interval
from profiling.subject import Subject
from profiling.sweep import engine_errors, is_out_of_memory

REPORT_SECONDS = 0.3


class Accuracy(BaseModel):
    """What was predicted for each labelled image of the test split, in its order."""

    model_config = ConfigDict(frozen=True)

    predictions: Annotated[Packed, PackedField("<i4")]
    confidences: Annotated[Packed, PackedField("<u2", 10_000)]
    """Softmax share of the predicted class, to 4 decimals."""
    wrong: Annotated[Packed, PackedField("<i4")]
    """Positions of the predictions that are not among the image's acceptable classes."""
    judging: Judging = LABELLED
    """What the predictions are judged by, and what was predicted for."""

    @property
    def total(self) -> int:
        """Labelled images."""
        return len(self.predictions)

    @property
    def correct(self) -> int:
        """Images predicted right."""
        return self.total - len(self.wrong)

    @property
    def value(self) -> float:
        """Share predicted right."""
        return self.correct / self.total

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the share."""
        return wilson_interval(self.correct, self.total)

    def agreement_with(self, other: Accuracy) -> float:
        """Share of the same images that both predict alike. Raises `BadInput` on different test sets."""
        self._refuse_other_images(other)
        return float(np.mean(self.predictions.integers == other.predictions.integers))

    def mcnemar_against(self, other: Accuracy) -> float:
        """Exact p-value that both are equally accurate. Raises `BadInput` on different test sets."""
        self._refuse_other_images(other)
        return mcnemar_p(len(_only_in(other.wrong, self.wrong)), len(_only_in(self.wrong, other.wrong)))

    def _refuse_other_images(self, other: Accuracy) -> None:
        if self.total != other.total:
            raise BadInput(
                f"predictions for {self.total} and for {other.total} images",
                expected="two variants measured on the same test images",
                action="Measure both on the same model's test split",
            )


def _only_in(these: Packed, others: Packed) -> NDArray[np.int64]:
    return np.setdiff1d(these.integers, others.integers, assume_unique=True)


def measure_accuracy(
    session: Subject, split: Split, contract: Contract, *, metric: MetricName = "accuracy", batch_size: int = 256
) -> Steps[Accuracy]:
    """Predict every labelled image of the split. Raises `RunFailed` on logits that are not finite.

    The labels are what the untouched network answered where `metric` is `agreement`. Should memory run out, it goes on
    with half as many at once.
    """
    split, batch_size = _labelled(split), min(batch_size, getattr(session, "largest_batch", batch_size))
    logits: list[Floats] = []
    reported, done, size = time.monotonic(), 0, batch_size
    while done < len(split):
        try:
            answers = session.run(contract.prepare(split.pixels[done : done + size]))
        except engine_errors() as error:
            if size < max(2, batch_size) or not is_out_of_memory(error):
                raise
            size //= 2
            yield Note(text=f"Memory ran out with {batch_size} {contract.unit} at once: {size} follow.", warning=True)
            continue
        logits.append(_finite(answers, contract))
        done += len(answers)
        if time.monotonic() - reported > REPORT_SECONDS or done == len(split):
            reported = time.monotonic()
            doing = f"classifying the test {contract.unit}"
            yield Progress(done=done, total=len(split), unit=contract.unit, doing=doing)
            yield Metric(name="accuracy", value=_share_right(logits, split), step=done, series="test")
    return _summary(np.concatenate(logits), split, Judging(metric, contract.unit))


def _labelled(split: Split) -> Split:
    is_labelled = (split.labels >= 0).any(axis=1)
    if not is_labelled.any():
        raise BadInput(
            f"a test split of {len(split)} images without a label",
            expected="at least one labelled image",
            action="Add labels, or choose another data set",
        )
    return Split(split.pixels[is_labelled], split.labels[is_labelled])


def _finite(logits: Floats, contract: Contract) -> Floats:
    if broken := int((~np.isfinite(logits)).any(1).sum()):
        raise RunFailed(
            f"Non-finite: {broken:,} of {len(logits):,} {contract.unit} have answers that are not finite",
            expected="numbers, neither NaN nor infinity",
            action="Choose bf16 or fp32 instead of fp16, a smaller learning rate, or undo the last technique",
        )
    return logits


def _share_right(batches: list[Floats], split: Split) -> float:
    predicted = np.concatenate([batch.argmax(1) for batch in batches])
    return float(split.take(len(predicted)).is_correct(predicted).mean())


def _summary(logits: Floats, split: Split, judging: Judging) -> Accuracy:
    predicted: NDArray[np.int64] = logits.argmax(1)
    shares = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
    confidences = shares.max(1) / shares.sum(1)
    return Accuracy(
        predictions=Packed.of(predicted, "<i4"),
        confidences=Packed.of(confidences, "<u2", 10_000),
        wrong=Packed.of(np.flatnonzero(~split.is_correct(predicted)), "<i4"),
        judging=judging,
    )
