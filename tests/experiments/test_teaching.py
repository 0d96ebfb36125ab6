"""What a teacher and its student answer, against scipy and counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from core.data import Split
from core.errors import BadInput
from experiments.teaching import OUTCOMES, Agreement, entropy_bits, shown_answers, softened
from tests.experiments.distillations import report

NAMES = ("bag", "boot", "coat")


@pytest.mark.parametrize("temperature", [0.5, 1, 4, 20])
def test_softened_answers_are_scipys_softmax_of_divided_logits(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 30, (5, 7))
    assert np.allclose(softened(logits, temperature), softmax(logits / temperature, axis=-1))
    assert np.isfinite(softened(1e4 * logits, temperature)).all()


def test_entropy_is_scipys_in_bits() -> None:
    shares = softmax(np.random.default_rng(1).normal(0, 2, 6))
    assert entropy_bits(shares) == pytest.approx(entropy(shares, base=2))
    assert entropy_bits(np.array([0.0, 1.0])) == 0
    assert entropy_bits(np.full(8, 1 / 8)) == pytest.approx(3)


def agreement() -> Agreement:
    """Six images: right alike, right both ways, teacher, student, wrong alike, wrong differently."""
    labels = np.array([[0, -1], [0, 1], [1, -1], [1, -1], [2, -1], [2, -1]])
    split = Split(np.zeros((6, 1, 2, 2), np.uint8), labels)
    return Agreement(split, np.array([0, 0, 1, 0, 0, 0]), np.array([0, 1, 2, 1, 0, 1]), 3)


def test_every_image_has_one_outcome() -> None:
    found = agreement()
    assert found.outcome.tolist() == [
        "both_right", "both_right", "only_teacher", "only_student", "same_mistake", "other_mistake",
    ]  # fmt: skip
    assert found.counts() == dict(zip(OUTCOMES, (2, 1, 1, 1, 1), strict=True))
    assert found.images("both_right").tolist() == [0, 1]


def test_agreement_counts_what_both_put_into_the_same_class() -> None:
    found = agreement()
    assert found.share == pytest.approx(2 / 6)
    assert found.interval[0] < found.share < found.interval[1]
    assert found.confusion.tolist() == [[2, 3, 0], [0, 0, 1], [0, 0, 0]]
    table = found.by_class(NAMES)
    assert table["class"].tolist() == ["boot", "bag", "coat"]
    assert table.teacher.tolist() == [1, 5, 0]
    assert table.student.tolist() == [3, 2, 1]
    assert np.allclose(table.agreement, [0, 0.4, np.nan], equal_nan=True)
    assert table.goes_to.tolist() == ["coat", "boot", ""]


def test_answers_to_other_images_are_refused() -> None:
    found = agreement()
    with pytest.raises(BadInput, match="6 labelled test images"):
        Agreement(found.split, found.teacher[:5], found.student, 3)


def test_shown_answers_carry_the_logits_of_their_image() -> None:
    shown = report()
    answers = shown_answers(shown)
    assert [each.image for each in answers] == shown.shown.integers.tolist()
    width = len(shown.teacher_logits) // len(answers)
    assert np.allclose(answers[1].teacher_logits, shown.teacher_logits.array[width : 2 * width])
    assert answers[1].student_logits.shape == (width,)
