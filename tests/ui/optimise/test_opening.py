"""What the controls begin with, and where on the page a setting is."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st

from core.errors import BadInput
from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from ui.optimise import opening

MINE = Recipe(
    model="vit_fmnist", techniques=(TECHNIQUES["int8"](), TECHNIQUES["structured_pruning"]()), runtime="openvino"
)


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The session state of a first visit, at an address without anything asked for."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(opening, "STATE", found)
    monkeypatch.setattr(st, "query_params", {})
    return found


def test_a_first_visit_begins_without_techniques_in_the_order_in_which_they_compose() -> None:
    assert opening.start().techniques == ()
    assert opening.order() == tuple(TECHNIQUES)


def test_opening_a_recipe_begins_every_control_anew_with_its_techniques_first(state: dict[str, Any]) -> None:
    before = opening.key_of("seed")
    opening.open_recipe(MINE)
    assert opening.start() == MINE
    assert opening.order()[:2] == ("int8", "structured_pruning")
    assert sorted(opening.order()) == sorted(TECHNIQUES)
    assert state["model"] == st.query_params["model"] == "vit_fmnist"
    once = opening.key_of("seed")
    opening.open_recipe(MINE)
    assert len({before, once, opening.key_of("seed")}) == 3


def test_a_recipe_of_a_model_that_is_not_here_changes_nothing(state: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="own-gone"):
        opening.open_foreign(MINE.model_copy(update={"model": "own-gone"}))
    assert state == {}


def test_what_another_page_sent_is_opened_once(state: dict[str, Any], store: Store) -> None:
    state["optimise.open"] = MINE
    opening.open_asked()
    once = dict(state)
    opening.open_asked()
    assert opening.start() == MINE
    assert state == once


def test_the_address_chooses_only_a_model_that_is_offered(state: dict[str, Any], store: Store) -> None:
    st.query_params["model"] = "own-gone"
    opening.open_asked()
    assert state == {}
    assert opening.why_missing("own-gone") == "The model own-gone, which the address names, is not here"
    st.query_params["model"] = "dwcnn_fmnist"
    opening.open_asked()
    assert state == {"model": "dwcnn_fmnist"}


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ("runtime", "**Runtime** at the top"),
        ("device", "**Device** at the top"),
        ("measurement.batch_size", "**Batch size** under **Measurement**"),
        ("int8.keep", f"**{TECHNIQUES['int8'].model_fields['keep'].title}** under **{TECHNIQUES['int8'].title}**"),
        ("measurement.nope", ""),
        ("int8.nope", ""),
        ("int8", ""),
        ("nope.keep", ""),
        ("", ""),
    ],
)
def test_a_setting_is_pointed_at_where_it_is(setting: str, where: str) -> None:
    assert opening.where_is(setting) == where
