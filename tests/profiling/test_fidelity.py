from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from core.data import Floats
from core.errors import BadInput
from core.progress import Progress
from profiling.fidelity import (
    TOLERANCES,
    Fidelity,
    compared,
    measure_fidelity,
    relative_difference,
    source_logits,
)
from tests.optimizers.conftest import CONTRACT, DATA, TinyNet, events_and_result

SOURCE = np.array([[3.0, -1.0], [0.0, 2.0], [1.0, 0.5], [-4.0, 0.0]], np.float32)


def fidelity(**changes: Any) -> Fidelity:
    same = {"images": 1000, "agreeing": 1000, "largest_difference": 0.0, "mean_difference": 0.0, "relative": 0.0}
    return Fidelity(**{**same, "largest_logit": 4.0, **changes})


def test_figures_are_those_worked_out_by_hand() -> None:
    given = SOURCE + np.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [0.0, 0.2]], np.float32)
    found = compared(given, SOURCE)
    assert (found.images, found.agreeing, found.agreement) == (4, 3, 0.75)
    assert found.largest_difference == 1.0
    assert found.mean_difference == pytest.approx(1.2 / 8)
    # Squares: 1.04 of the differences, 9 + 1 + 4 + 1 + 0.25 + 16 of the source's logits.
    assert found.relative == pytest.approx((1.04 / 31.25) ** 0.5)
    assert found.largest_logit == 4.0
    # Wilson's formula at 3 of 4 with z = 1.96: centre (0.75 + 0.48) / (1 + 0.96).
    assert found.interval == pytest.approx((0.3006, 0.9544), abs=1e-4)


def test_images_whose_logits_are_not_finite_disagree_and_are_in_no_difference() -> None:
    given = SOURCE.copy()
    given[0, 1] = np.nan
    given[3, 0] = -np.inf
    found = compared(given, SOURCE)
    assert (found.not_finite, found.agreeing, found.largest_difference, found.relative) == (2, 2, 0.0, 0.0)
    assert found.differs
    assert found.verdict == "Its logits are not finite for 2 of 4 images."
    nothing = compared(np.full_like(SOURCE, np.nan), SOURCE)
    assert (nothing.agreeing, nothing.mean_difference) == (0, 0.0)
    assert Fidelity.model_validate_json(nothing.model_dump_json()) == nothing


@pytest.mark.parametrize("precision", TOLERANCES)
def test_the_bound_of_each_precision_decides(precision: str) -> None:
    bound = TOLERANCES[precision]
    within, beyond = (fidelity(relative=factor * bound, judged_as=precision) for factor in (1, 1.01))
    assert not within.differs
    assert within.verdict.startswith("Still the same model: it agrees with its source on")
    assert beyond.differs
    assert beyond.verdict.startswith("Not the same model any more")


def test_what_was_trained_since_differs_on_purpose() -> None:
    trained = fidelity(relative=0.9, agreeing=900, judged_as="int8", retrained=True)
    assert not trained.differs
    assert trained.verdict.startswith(
        "Another model on purpose, trained with rounding switched on: it agrees with the network that this training "
        "began with on 90 % of 1,000 images"
    )
    assert trained.model_copy(update={"not_finite": 1}).differs


def test_in_fp32_one_image_in_a_thousand_may_not_change_its_class() -> None:
    one = fidelity(agreeing=999, relative=1e-5)
    assert one.differs
    assert one.verdict == (
        "Not quite the same model: it agrees with its source on 99.9 % of 1,000 images (95 % interval 99.4 to "
        "100.0 %), where FP32 should agree on all."
    )
    assert not one.model_copy(update={"judged_as": "int8"}).differs


def test_a_difference_of_nothing_has_no_scale_but_its_own() -> None:
    zeros = np.zeros(3, np.float32)
    assert relative_difference(zeros, zeros) == 0.0
    assert relative_difference(np.array([3.0, 0.0, 0.0]), zeros) == pytest.approx(3**0.5)
    assert relative_difference(np.array([np.inf]), np.array([1.0])) is None


class _Shifted:
    """Answers like the network, but for the first class, which gets 0.5 more."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network, self.batches = network, []

    def run(self, x: Floats) -> Floats:
        self.batches.append(len(x))
        with torch.inference_mode():
            logits: Floats = self._network(torch.from_numpy(x)).numpy().copy()
        logits[:, 0] += 0.5
        return logits


def test_a_session_is_compared_in_batches_with_progress() -> None:
    torch.manual_seed(0)
    network = TinyNet()
    pixels = np.concatenate([DATA.train.pixels, DATA.test.pixels])
    before = copy.deepcopy(network.state_dict())
    told, expected = events_and_result(source_logits(network, pixels, CONTRACT))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.eval()
    with torch.inference_mode():
        np.testing.assert_allclose(expected, network(torch.from_numpy(CONTRACT.prepare(pixels))).numpy(), atol=1e-5)

    session: Any = _Shifted(network)
    events, found = events_and_result(measure_fidelity(session, expected, pixels, CONTRACT))
    assert session.batches == [128, 64]
    assert [event.done for event in (*told, *events) if isinstance(event, Progress)] == [128, 192, 128, 192]
    assert found.largest_difference == pytest.approx(0.5, abs=1e-5)
    assert found.mean_difference == pytest.approx(0.5 / 4, abs=1e-5)


def test_an_engine_is_given_no_more_images_than_it_takes() -> None:
    session: Any = _Shifted(TinyNet().eval())
    session.largest_batch = 30
    events_and_result(measure_fidelity(session, np.zeros((64, 4), np.float32), DATA.test.pixels, CONTRACT))
    assert session.batches == [30, 30, 4]


def test_as_many_logits_as_images_are_wanted() -> None:
    session: Any = _Shifted(TinyNet().eval())
    for pixels, expected in ((DATA.test.pixels, SOURCE), (DATA.test.pixels[:0], SOURCE[:0])):
        with pytest.raises(BadInput, match="as many of both"):
            events_and_result(measure_fidelity(session, expected, pixels, CONTRACT))
