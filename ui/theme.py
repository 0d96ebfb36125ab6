"""One colour a variant, the same on every page. The baseline is always grey."""

from __future__ import annotations

LIGHT = ("#1D62D3", "#D97706", "#076350", "#834986", "#4898DD", "#EB5B4B", "#302177", "#483B05")
DARK = ("#4273F2", "#FFC822", "#40D38F", "#9949A3", "#AFFCF3", "#D6583B", "#D6ADFF", "#D8FF8D")
"""Searched so that every pair, grey included, stays apart under protan-, deutan- and tritanopia; tests hold it so."""
INK_LIGHT, INK_DARK = "#334155", "#C8D2DF"
BASELINE_LIGHT, BASELINE_DARK = "#8A93A0", "#8E97A3"


def colour_of(slot: int, *, dark: bool = False) -> str:
    """The colour `#RRGGBB` of a model's variant by its slot (`RunRecord.slot`): 0, the baseline, is grey.

    Eight variants differ; the ninth begins anew.
    """
    palette, grey = (DARK, BASELINE_DARK) if dark else (LIGHT, BASELINE_LIGHT)
    return palette[(slot - 1) % len(palette)] if slot else grey
