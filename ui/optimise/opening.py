"""The recipe that the controls begin with: opened from the address, another page or a file."""

from __future__ import annotations

import streamlit as st

from core.errors import BadInput
from experiments.models import check_usable, is_here, title_of, was_deleted
from experiments.recipe import MeasurementSettings, Recipe
from optimizers import TECHNIQUES
from ui import text
from ui.identity import owner
from ui.state import models, store

STATE = st.session_state
FIRST = Recipe(model="", runtime="onnxruntime")
"""Before any was opened; the model is the first of the list."""


def start() -> Recipe:
    """The recipe that was opened last."""
    recipe: Recipe = STATE.get("optimise.start", FIRST)
    return recipe


def order() -> tuple[str, ...]:
    """The keys of all techniques in the order in which they apply."""
    keys: tuple[str, ...] = STATE.get("optimise.order", tuple(TECHNIQUES))
    return keys


def set_order(keys: tuple[str, ...]) -> None:
    """Let the techniques apply in that order from now on."""
    STATE["optimise.order"] = keys


def key_of(name: str) -> str:
    """A widget key that begins anew when a recipe is opened."""
    return f"optimise.{STATE.get('optimise.generation', 0)}.{name}"


def open_recipe(recipe: Recipe) -> None:
    """Set every control to the recipe."""
    applied = [technique.key for technique in recipe.techniques]
    set_order((*applied, *(key for key in TECHNIQUES if key not in applied)))
    STATE["optimise.start"] = recipe
    STATE["optimise.generation"] = STATE.get("optimise.generation", 0) + 1
    STATE["model"] = recipe.model
    show_model_in_address()


def open_foreign(recipe: Recipe) -> None:
    """The same for one that may be of anywhere. Raises `BadInput` for models that whoever is looking may not use."""
    for key in recipe.models:
        check_usable(key, owner())
    open_recipe(recipe)


def show_model_in_address() -> None:
    """Make the address lead back to the chosen model."""
    st.query_params["model"] = STATE["model"]


def open_asked() -> None:
    """Open what the address or another page asks for, or say that it is not here."""
    if run_id := st.query_params.pop("run", None):
        _open_run(run_id)
    if sent := STATE.pop("optimise.open", None):
        try:
            open_foreign(sent)
        except BadInput as error:
            st.warning(text.escape(str(error)), icon=":material/info:")
    asked = st.query_params.get("model", "")
    if asked in models():
        STATE["model"] = asked


def _open_run(run_id: str) -> None:
    record = store().run(run_id)
    if record and is_here(record.recipe.model, owner()):
        open_recipe(record.recipe)
    else:
        st.warning("That run, or its model, is not here any more.", icon=":material/info:")


def draw_asked() -> None:
    """The model that the address asks for and is not offered, and the setting that another page sent someone for."""
    asked = st.query_params.get("model", "")
    if asked and asked not in models():
        st.warning(f"{why_missing(asked)}. What the controls say is used instead.", icon=":material/info:")
    if where := where_is(st.query_params.get("look", "")):
        st.info(f"The recipe is set as it was run. What to try here: {where}.", icon=":material/arrow_downward:")


def why_missing(model: str) -> str:
    """That a model was deleted, or was never here, in markdown without a full stop."""
    if was_deleted(model, owner()):
        return f"The model {text.escape(title_of(model, owner()))}, which the address names, was deleted"
    return f"The model {text.escape(model[:60])}, which the address names, is not here"


def where_is(setting: str) -> str:
    """Where on the page a setting like `int8.keep` is, in markdown; empty for what is not on it."""
    place, _, name = setting.partition(".")
    if place in ("runtime", "device"):
        return f"**{place.capitalize()}** at the top"
    if place in TECHNIQUES:
        fields, title = TECHNIQUES[place].model_fields, TECHNIQUES[place].title
    elif place == "measurement":
        fields, title = MeasurementSettings.model_fields, "Measurement"
    else:
        return ""
    return f"**{fields[name].title}** under **{title}**" if name in fields else ""
