from __future__ import annotations

from typing import Any

import pytest

from experiments.ahead import AheadResult
from experiments.duel import Duel, DuelResult
from experiments.profile import ProfileResult
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.result_kinds import kind_of_result
from experiments.scan import ScanResult
from experiments.simulation import SimulatedResult
from experiments.store import Store
from experiments.study import ProfileStudy, ScanStudy
from tests.pages.left_behind import finished

MODEL = "resnet_fmnist"


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, RunResult),
        ({"techniques": ["simulated"]}, SimulatedResult),
        ({"runtime": "tensorrt", "engine": {"build_for": "SM89"}}, AheadResult),
    ],
)
def test_a_recipe_decides_what_its_run_finds(store: Store, settings: dict[str, Any], kind: type) -> None:
    record = store.run(store.enqueue(Recipe.model_validate({"model": MODEL} | settings)))
    assert record
    assert kind_of_result(record) is kind


def test_studies_and_duels_find_something_else_than_their_recipe(store: Store) -> None:
    recipe = Recipe(model=MODEL)
    both = [finished(store, recipe), finished(store, recipe.model_copy(update={"seed": 1}))]
    ids = [store.enqueue_study(study, recipe) for study in (ProfileStudy(), ScanStudy())]
    ids.append(store.enqueue_duel(Duel(first=both[0], second=both[1])))
    kinds = [kind_of_result(record) for record in map(store.run, ids) if record]
    assert kinds == [ProfileResult, ScanResult, DuelResult]
