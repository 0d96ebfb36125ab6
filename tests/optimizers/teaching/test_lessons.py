"""What is kept of the answers of teacher and student."""

import numpy as np
import pytest
from scipy.special import softmax

from core.errors import BadInput
from optimizers.teaching.lessons import kept


def test_ordinary_logits_are_kept_as_they_are() -> None:
    logits = np.array([[1.25, -3.5], [199_999, -199_999]], np.float32)
    assert kept(logits).array.reshape(2, 2) == pytest.approx(logits)


def test_logits_too_large_to_keep_have_the_same_softmax() -> None:
    logits = np.array([[3e6 + 2, 3e6, -1e9], [0.5, 0.25, 0.0]], np.float32)
    found = kept(logits).array.reshape(2, 3)
    assert softmax(found, 1) == pytest.approx(softmax(logits.astype(np.float64), 1), abs=1e-4)
    assert found[1] == pytest.approx(logits[1])


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(BadInput, match="not finite"):
        kept(np.array([[np.nan, 1.0]], np.float32))
