"""Which stage of a recipe turned how many images."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core.errors import CannotCompose
from experiments.checking import why_refused
from experiments.flips import Predictions, StagesOfFlips, stage_of_flip, stages
from experiments.recipe import Recipe
from ui import text
from ui.comparison.case import Case
from ui.comparison.missing import draw_missing
from ui.figures.classes import stage_bars
from ui.figures.frame import PLAIN
from ui.state import is_dark, store


@dataclass(frozen=True, eq=False)
class Chain:
    """The stages between two runs of which the first is a stage of the second."""

    known: list[tuple[str, Predictions]]
    """Title and predictions of each, those that cannot be run here joined to the next one."""
    missing: list[Recipe]
    refused: dict[str, str]
    """By title why a stage cannot be run here."""


def chain_of(case: Case) -> Chain | None:
    """The stages from the first run to the second; None where the first is none of the second's stages."""
    steps = stages(case.after.recipe)
    digests = [recipe.digest for _, recipe in steps]
    if case.before.recipe.digest not in digests[:-1]:
        return None
    start = digests.index(case.before.recipe.digest)
    known: list[tuple[str, Predictions]] = [(steps[start][0], case.flips.before.predictions)]
    missing: list[Recipe] = []
    refused: dict[str, str] = {}
    joined = ""
    for title, recipe in steps[start + 1 :]:
        if recipe.digest == case.after.recipe.digest:
            known.append((joined + title, case.flips.after.predictions))
        elif record := store().finished_before(recipe):
            known.append((joined + title, store().results([record.id])[record.id].accuracy.predictions.integers))
            joined = ""
        elif reason := why_refused(recipe, CannotCompose):
            refused[title] = reason
            joined = f"{joined}{title} + "
        else:
            missing.append(recipe)
    return Chain(known, missing, refused)


def draw_stages(case: Case, *, ink: str) -> StagesOfFlips | None:
    """Which stage of the recipe turned how many images; None where that cannot be told."""
    judging = case.flips.judging
    with st.container(border=True, height="stretch"):
        st.markdown("**Which stage of the recipe did it**")
        chain = chain_of(case)
        if chain is None:
            st.caption("Only told against the baseline, or against another variant that the recipe builds upon.")
            return None
        for title, reason in chain.refused.items():
            st.caption(text.escape(f"{title} cannot be measured by itself here: {reason}"))
        if chain.missing:
            st.markdown("These stages in between have to be measured first, in the same way:")
            draw_missing(chain.missing, key="stages")
            return None
        found = stage_of_flip(chain.known, case.flips.split)
        if not len(found.stage):
            kinds = " or from ".join(case.flips.kinds[kind] for kind in ("right_to_wrong", "wrong_to_right"))
            st.caption(f"No {judging.example} went from {kinds}.")
            return found
        figure = stage_bars(found.counts, judging, ink=ink, dark=is_dark())
        st.plotly_chart(figure, key="pays.stages", config=PLAIN, alt="What each stage of the recipe turned")
        lost, gained = judging.turned
        st.caption(
            f"{judging.unit.capitalize()} turned {lost} (left) and {gained} (right) for good by each stage."
            if len(found.counts) > 1
            else f"Only one stage lies between the two. Turned {lost} to the left, turned {gained} to the right."
        )
        return found
