"""The techniques, each a switch, an explanation and, when it is on, its sliders."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from bridges.environments import ENVIRONMENTS, Environment
from core.bundle import form_title
from core.catalogue import ModelEntry
from core.errors import BadInput
from experiments.fitting import why_unfit
from experiments.other_teachers import other_teachers
from optimizers import TECHNIQUES
from optimizers.technique import Technique
from runtimes import RUNTIMES
from ui import tables, text
from ui.missing import draw_missing
from ui.optimise.opening import key_of, start
from ui.optimise.place import Place, serves
from ui.optimise.switches import groups, is_on, offered, steps, swap, switch_of
from ui.state import models, store
from ui.widgets import controls, takes_models, takes_variants

MOST_RUNS = 100
"""Among which finished variants are looked for; the newest of them."""
ONLY_COMPRESSED = (
    "Pruning and clustering shrink a .tflite file only once it is compressed, and speed nothing up. The page of a run "
    "shows both sizes."
)


@dataclass(frozen=True)
class Chosen:
    """What is switched on, in the order in which it applies."""

    techniques: tuple[Technique, ...]
    misfit: str = ""
    """Why the settings of one of them do not fit, so that it has those it began with; else empty."""


def choose_techniques(place: Place) -> Chosen:
    """All that is offered, in groups, with what keeps any of it from working here; what is chosen of it."""
    form, on = place.model.form, steps(place.model.form)
    _draw_left_out(place)
    unfit = {key: why_unfit(key, place.model.key, place.runtime, place.device) or "" for key in offered(form)}
    for environment in ENVIRONMENTS.values():
        if any(_needs(reason, environment) for reason in unfit.values()):
            draw_missing(environment)
    drawn: dict[str, tuple[Technique, str]] = {}
    for title, keys in groups(form).items():
        with st.container(border=True, gap="xsmall", key=f"group-{title}"):
            st.markdown(f":small[:gray[**{title}**]]")
            if title == "Smaller file":
                st.caption(ONLY_COMPRESSED)
            for key in keys:
                with st.container(border=key in on, key=f"technique-{key}", gap="xsmall" if key in on else "xxsmall"):
                    _draw_technique(key, unfit[key], on)
                    if key in on:
                        drawn[key] = _set(key, place)
    return Chosen(tuple(drawn[key][0] for key in on), next((misfit for _, misfit in drawn.values() if misfit), ""))


def _draw_left_out(place: Place) -> None:
    """What the opened recipe has and never works on the chosen model, and the runtime taken instead of its own."""
    kind, wanted = form_title(place.model.form), start().runtime
    if start().model and wanted != place.runtime.key and not serves(wanted, place.model, place.device):
        st.info(
            f"The recipe asks for {RUNTIMES[wanted].title}, which never serves a model {kind}: "
            f"{place.runtime.title} is chosen instead.",
            icon=":material/info:",
        )
    able = offered(place.model.form)
    if left := [each.title for each in start().techniques if is_on(each.key) and each.key not in able]:
        st.info(
            f"Left out of the recipe, because they never work on a model {kind}: {', '.join(left)}.",
            icon=":material/info:",
        )


def _needs(reason: str, environment: Environment) -> bool:
    """Whether it is for want of that environment that something does not work here."""
    return not environment.is_installed and str(environment.why_missing) in reason


def _draw_technique(key: str, unfit: str, on: list[str]) -> None:
    """A technique's switch, its place among those that are on, and what it is.

    `unfit` is the reason why no setting makes it work here, if there is one: then it can only be switched off.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        _draw_switch(key, on=key in on, is_offered=key in on or not unfit)
        if key in on and len(on) > 1:
            _draw_step(key, on)
        st.space("stretch")
        with st.popover("Learn", icon=":material/school:", type="tertiary"):
            st.markdown(TECHNIQUES[key].learn)
    absent = next((each.title for each in ENVIRONMENTS.values() if _needs(unfit, each)), "")
    if key in on or absent or not unfit:
        st.caption(TECHNIQUES[key].summary)
    if unfit:
        st.caption(f":material/block: Not here: {f'needs {absent}' if absent else text.sentence(unfit)}")


def _draw_switch(key: str, *, on: bool, is_offered: bool) -> None:
    """The switch of a technique; where it is not offered another one, as disabling a switch undoes its last move."""
    title = f"**{TECHNIQUES[key].title}**"
    if is_offered:
        st.toggle(title, on, key=switch_of(key), persist_state="session")
    else:
        st.toggle(title, False, key=key_of(f"{key}.not-offered"), disabled=True)


def _draw_step(key: str, on: list[str]) -> None:
    """Which step a technique is, and the button that makes it an earlier one."""
    step = on.index(key)
    st.badge(f"step {step + 1}", color="blue")
    if step:
        st.button(
            ":material/arrow_upward:", type="tertiary", help="Earlier: apply this before the step above",
            on_click=swap, args=(key, on[step - 1]), key=f"earlier-{key}",
        )  # fmt: skip


def _set(key: str, place: Place) -> tuple[Technique, str]:
    """The settings as they are set on screen; where those do not fit, as they were, and the reason."""
    model = place.model
    begin = next((each for each in start().techniques if each.key == key), TECHNIQUES[key]())
    try:
        teachers = other_teachers(model.key, models()) if takes_models(type(begin)) else {}
        variants = _finished_variants(model) if takes_variants(type(begin)) else {}
        fitting = begin.fitting(model.task, place.runtime.key)
        return controls(begin, key=key_of(key), variants=variants, models=teachers, fitting=fitting), ""
    except BadInput as error:
        return begin, f"{TECHNIQUES[key].title}: {error}"


def _finished_variants(model: ModelEntry) -> dict[str, str]:
    """Titles, by digest, of a model's finished variants."""
    runs = store().runs(states=("finished",), model=model.key, limit=MOST_RUNS)
    newest = {each.recipe.digest: each for each in reversed(runs) if each.summary}
    unique = tables.unique_titles(list(newest.values()))
    return {digest: unique[record.id] for digest, record in newest.items()}
