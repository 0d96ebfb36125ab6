from __future__ import annotations

import pytest
import streamlit as st

from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.profiled import profiled
from tests.pages.left_behind import finished
from ui.profile.choice import address_of, not_here

MODEL = "student_cnn_fmnist"
UNTOUCHED = Recipe(model=MODEL, runtime="onnxruntime")
INT8 = UNTOUCHED.model_copy(update={"techniques": (TECHNIQUES["int8"](),)})


def in_batches(recipe: Recipe, size: int) -> Recipe:
    return recipe.model_copy(update={"measurement": recipe.measurement.model_copy(update={"batch_size": size})})


def test_a_profile_is_addressed_by_itself_exactly_where_no_control_leads_to_it(store: Store) -> None:
    def address(recipe: Recipe, run: str = "") -> dict[str, str]:
        return address_of(store.run(profiled(store, recipe, run=run)))

    usual = {"model": MODEL, "runtime": "onnxruntime", "device": "cpu"}
    older = store.run(profiled(store, in_batches(UNTOUCHED, 8)))
    assert address_of(older) == {**usual, "batch": "8"}
    assert address(in_batches(UNTOUCHED, 8)) == {**usual, "batch": "8"}
    assert address_of(older) == {"profile": older.id}  # the controls lead to the newer one
    first = finished(store, INT8)
    again = finished(store, INT8)
    store.delete(first)
    assert address(INT8, first) == {**usual, "variant": again, "batch": "1"}
    store.delete(again)
    assert list(address(INT8, again)) == ["profile"]
    basic = UNTOUCHED.engine.model_copy(update={"rewriting": "basic"})
    gone = UNTOUCHED.model_copy(update={"device": "cuda:7"})
    for recipe in (in_batches(UNTOUCHED, 5), UNTOUCHED.model_copy(update={"engine": basic}), gone):
        assert list(address(recipe)) == ["profile"]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ({}, ""),
        ({"model": MODEL, "runtime": "pytorch", "device": "cpu", "batch": "32"}, ""),
        ({"model": "nope", "runtime": "nope"}, "model “nope” and runtime “nope”"),
        ({"batch": "-1"}, "batch size “-1”"),
        ({"batch": "5"}, "batch size “5”"),
        ({"device": "cuda:7", "runtime": "pytorch"}, "device “cuda:7”"),
    ],
)
def test_what_an_address_asks_for_and_is_not_here_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch, address: dict[str, str], told: str
) -> None:
    monkeypatch.setattr(st, "query_params", address)
    assert not_here().startswith(f"The address asks for {told}, not to be had here." if told else "")
    assert bool(not_here()) == bool(told)


def test_a_variant_is_asked_for_with_its_own_model_and_runtime(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = finished(store, in_batches(INT8, 5))
    for address, told in (
        ({"model": MODEL, "variant": run_id, "runtime": "onnxruntime", "device": "cpu", "batch": "5"}, ""),
        ({"variant": run_id, "runtime": "pytorch"}, "runtime “pytorch”"),
        ({"variant": run_id, "model": "resnet_fmnist", "batch": "5"}, f"variant “{run_id}” and batch size “5”"),
    ):
        monkeypatch.setattr(st, "query_params", address)
        assert told in not_here()
        assert bool(not_here()) == bool(told)
