"""The chain of stages between two runs."""

from __future__ import annotations

import numpy as np
import pytest

import sample_models
from experiments.flips import Flips
from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import finished
from ui.comparison import stages
from ui.comparison.case import Case, answers_of

MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
PRUNED = Recipe(model=MODEL, runtime="onnxruntime", techniques=(TECHNIQUES["structured_pruning"](),))
BOTH = PRUNED.model_copy(update={"techniques": (*PRUNED.techniques, TECHNIQUES["int8"]())})
SPLIT = sample_models.test_split(MODEL)


def case_in(store: Store, before: Recipe, after: Recipe) -> Case:
    records = [store.run(finished(store, recipe, predictions=SPLIT.targets)) for recipe in (before, after)]
    answers = [answers_of(store.results([record.id])[record.id]) for record in records if record]
    return Case(records[0], records[1], Flips(SPLIT, *answers), np.arange(10).astype(object))


@pytest.fixture
def watched(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(stages, "store", lambda: store)
    return store


def test_what_has_not_been_run_is_missing(watched: Store) -> None:
    chain = stages.chain_of(case_in(watched, BASELINE, BOTH))
    assert chain
    assert [recipe.title for recipe in chain.missing] == ["FP32 · ONNX Runtime", PRUNED.title]
    assert [title for title, _ in chain.known] == ["FP32", "INT8"]


def test_a_stage_that_cannot_run_here_is_joined_to_the_next(watched: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "why_refused", lambda recipe, kind: "" if recipe == PRUNED else "No.")
    finished(watched, PRUNED, predictions=SPLIT.targets)
    chain = stages.chain_of(case_in(watched, BASELINE, BOTH))
    assert chain
    assert chain.missing == []
    assert chain.refused == {"ONNX Runtime": "No."}
    assert [title for title, _ in chain.known] == ["FP32", "ONNX Runtime + Pruned 50 %", "INT8"]


def test_two_recipes_of_which_neither_builds_on_the_other_have_no_chain(watched: Store) -> None:
    assert stages.chain_of(case_in(watched, BOTH, PRUNED)) is None
    assert stages.chain_of(case_in(watched, PRUNED, PRUNED.model_copy(update={"seed": 1}))) is None
