"""How long the missing runs take, and what all techniques do together."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from experiments.attribution import Attribution
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.store import Store
from optimizers import TECHNIQUES
from ui.comparison.attribution import can_be_taken_apart, expected_time, total_sentence

PRUNING, INT8 = TECHNIQUES["structured_pruning"](), TECHNIQUES["int8"]()
BOTH = Recipe(model="resnet_fmnist", runtime="onnxruntime", techniques=(PRUNING, INT8))
NONE, A, B, AB = frozenset[str](), frozenset("a"), frozenset("b"), frozenset("ab")


def lasted(store: Store, seconds: float) -> RunRecord:
    record = store.run(store.begin_here(BOTH))
    assert record
    return replace(record, started_at=100.0, ended_at=100.0 + seconds)


def test_a_missing_run_is_expected_to_take_as_long_as_the_finished_one_most_like_it(store: Store) -> None:
    found = {NONE: lasted(store, 10), AB: lasted(store, 60)}
    assert "10 s" in expected_time({NONE: found[NONE]}, {A: BOTH})
    assert "1 min 00 s" in expected_time({AB: found[AB]}, {A: BOTH})
    more = {NONE: found[NONE], A: lasted(store, 30)}
    assert "30 s" in expected_time(more, {AB: BOTH})
    assert "40 s" in expected_time(more, {AB: BOTH, B: BOTH})


def test_without_known_durations_nothing_is_promised(store: Store) -> None:
    assert expected_time({}, {A: BOTH}) == ""
    assert expected_time({A: replace(lasted(store, 1), ended_at=None)}, {B: BOTH}) == ""


def test_the_whole_is_said_in_points_and_factors() -> None:
    found = Attribution(pd.DataFrame(), {"accuracy": -1.5, "p50": 2.0, "size": 0.5}, {}, ())
    assert total_sentence(BOTH, found).replace("\\", "") == (
        "**Pruned 50 % + INT8** against **FP32 · ONNX Runtime**: **-1.50 points**, **2.00x faster**, **2.00x larger**."
    )


def test_only_two_to_four_different_techniques_can_be_told_apart() -> None:
    assert can_be_taken_apart(BOTH)
    for techniques in ((), (INT8,), (INT8, INT8), tuple(TECHNIQUES[key]() for key in [*TECHNIQUES][:5])):
        assert not can_be_taken_apart(BOTH.model_copy(update={"techniques": techniques}))
