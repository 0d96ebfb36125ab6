"""One colour a variant, the same on every page. The baseline is always grey."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.recipe import Recipe

LIGHT = ("#1D62D3", "#D97706", "#076350", "#834986", "#4898DD", "#EB5B4B", "#302177", "#483B05")
DARK = ("#4273F2", "#FFC822", "#40D38F", "#9949A3", "#AFFCF3", "#D6583B", "#D6ADFF", "#D8FF8D")
"""Searched so that every pair, grey included, stays apart under protan-, deutan- and tritanopia; tests hold it so."""
BASELINE_LIGHT, BASELINE_DARK = "#8A93A0", "#8E97A3"


def colour_of(history: Iterable[Recipe], *, dark: bool = False) -> dict[str, str]:
    """The colour of each recipe's digest, `#RRGGBB`.

    Pass every recipe that ever ran on the model, oldest first: a variant then keeps its colour as others join.
    Eight variants differ; the ninth begins anew.
    """
    palette, grey = (DARK, BASELINE_DARK) if dark else (LIGHT, BASELINE_LIGHT)
    recipes = {recipe.digest: recipe for recipe in history}
    variants = [digest for digest, recipe in recipes.items() if not recipe.is_baseline]
    colours = {digest: palette[index % len(palette)] for index, digest in enumerate(variants)}
    return {digest: colours.get(digest, grey) for digest in recipes}
