"""Which techniques are offered, on, and first."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import streamlit as st

from core.bundle import Form
from experiments.recipe import Recipe
from optimizers import TECHNIQUES
from ui.optimise import opening
from ui.optimise.switches import FEWER_BITS, groups, is_on, offered, steps, swap, switch_of


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The session state of a page on which pruning and INT8 were opened."""
    techniques = (TECHNIQUES["structured_pruning"](), TECHNIQUES["int8"]())
    found: dict[str, Any] = {"optimise.start": Recipe(model="vit_fmnist", techniques=techniques)}
    monkeypatch.setattr(opening, "STATE", found)
    monkeypatch.setattr(st, "session_state", found)
    return found


@pytest.mark.parametrize("form", get_args(Form))
def test_each_technique_that_could_work_on_a_form_is_in_exactly_one_group(form: Form) -> None:
    grouped = [key for keys in groups(form).values() for key in keys]
    assert sorted(grouped) == sorted(key for key, kind in TECHNIQUES.items() if form in kind.takes)
    assert all(groups(form).values())
    assert set(groups(form).get("Fewer bits", ())) == set(FEWER_BITS) & set(grouped)


def test_every_name_among_those_of_fewer_bits_is_a_technique() -> None:
    assert set(FEWER_BITS) <= set(TECHNIQUES)


def test_a_technique_is_on_as_opened_until_its_switch_is_turned(state: dict[str, Any]) -> None:
    assert steps("torch") == ["structured_pruning", "int8"]
    state[switch_of("int8")] = False
    state[switch_of("distillation")] = True
    assert [is_on(key) for key in ("structured_pruning", "int8", "distillation")] == [True, False, True]
    assert set(steps("torch")) == {"structured_pruning", "distillation"}


def test_what_is_on_for_models_of_another_form_is_no_step() -> None:
    assert is_on("structured_pruning")
    assert steps("keras") == []


def test_swapping_moves_two_techniques_and_no_other() -> None:
    before = opening.order()
    swap("int8", "structured_pruning")
    assert steps("torch") == ["int8", "structured_pruning"]
    moved = {key for key, other in zip(before, opening.order(), strict=True) if key != other}
    assert moved == {"int8", "structured_pruning"}
    swap("int8", "structured_pruning")
    assert opening.order() == before
    assert offered("torch") == [key for key in TECHNIQUES if "torch" in TECHNIQUES[key].takes]
