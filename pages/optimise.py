"""The main screen: pick a model and where it runs, switch techniques on, move sliders, run."""

import streamlit as st

from experiments.recipe import MeasurementSettings, Recipe
from ui.optimise.opening import draw_asked, key_of, open_asked, start
from ui.optimise.place import Place, choose_place
from ui.optimise.summary import ask_name, draw_file, draw_run, draw_summary
from ui.optimise.techniques import Chosen, choose_techniques
from ui.widgets import controls

STYLE = """<style>
div:has(> .st-key-recipe) { position: sticky; top: 4rem; }
.stButtonGroup [role="radiogroup"] { flex-wrap: wrap; }
</style>"""
"""Keeps the recipe and its Run button in sight while the techniques scroll, and all runtimes in a narrow window."""
SEED_HELP = "Fixes every random choice: the same recipe on the same machine gives the same model."
MAX_SEED = 2**31 - 1


def choose_measurement() -> tuple[MeasurementSettings, int]:
    """How to measure, and the seed."""
    with st.expander("Measurement", key="measurement"):
        measurement = controls(start().measurement, key=key_of("measurement"))
        seed = st.number_input(
            "Seed", 0, MAX_SEED, start().seed, help=SEED_HELP, key=key_of("seed"), persist_state="session"
        )
    return measurement, seed


def draw_recipe(place: Place, chosen: Chosen, measurement: MeasurementSettings, seed: int) -> None:
    """What was chosen as a recipe, in words and as a file, and its Run button."""
    recipe = Recipe(
        model=place.model.key,
        techniques=chosen.techniques,
        runtime=place.runtime.key,
        engine=place.runtime.settings,
        device=place.device.id,
        measurement=measurement,
        seed=seed,
    )
    st.subheader("Recipe")
    recipe = recipe.model_copy(update={"name": ask_name(recipe.title)})
    draw_summary(recipe, place)
    draw_run(recipe, place.misfit or chosen.misfit)
    draw_file(recipe)


open_asked()
st.title("Optimise")
st.caption("Switch techniques on, move their sliders, and run. Every variant is compared with the untouched model.")
draw_asked()
left, right = st.columns([5, 3], gap="large")
with left:
    st.subheader("Model and place")
    place = choose_place()
    st.subheader("Techniques")
    chosen = choose_techniques(place)
    measurement, seed = choose_measurement()
with right, st.container(key="recipe"):
    st.html(STYLE)
    draw_recipe(place, chosen, measurement, seed)
