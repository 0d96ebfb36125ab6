from __future__ import annotations

import numpy as np

from core.packed import Packed
from experiments.recipe import Recipe
from experiments.reproduction import reproduction
from experiments.result import RunResult
from tests.pages.left_behind import IMAGES, measured

RECIPE = Recipe(model="resnet_fmnist")


def result(p50_ms: float = 1.0) -> RunResult:
    return measured(RECIPE, wrong=100, p50_ms=p50_ms, size_bytes=1000)


def test_the_same_numbers_are_reproduced() -> None:
    again = reproduction(result(1.01), result(1.0))
    assert again.holds
    assert again.sentence.startswith(f"Reproduced: all {IMAGES:,} predictions are the same")


def test_a_latency_outside_the_interval_is_not() -> None:
    again = reproduction(result(1.2), result(1.0))
    assert not again.holds
    assert "outside its interval" in again.sentence


def test_other_predictions_are_counted() -> None:
    earlier = result()
    predictions = np.zeros(IMAGES)
    predictions[:7] = 3
    accuracy = earlier.accuracy.model_copy(update={"predictions": Packed.of(predictions, "<i4")})
    again = reproduction(earlier.model_copy(update={"accuracy": accuracy}), earlier)
    assert not again.holds
    assert f"7 of {IMAGES:,} predictions differ" in again.sentence


def test_what_changed_meanwhile_is_named() -> None:
    earlier = result()
    here = earlier.conditions.model_copy(
        update={"threads": 2, "libraries": {"torch": "2.15.0", "onnxruntime": "1.32.0"}}
    )
    again = reproduction(earlier.model_copy(update={"conditions": here}), earlier)
    assert again.changed == ("threads", "torch")


def test_a_library_that_only_one_of_them_recorded_did_not_change() -> None:
    now = result()
    then = now.conditions.model_copy(update={"libraries": {"torch": "2.13.0", "torch-pruning": "1.6.1"}})
    assert reproduction(now, now.model_copy(update={"conditions": then})).changed == ("torch",)
