"""What a call is made of, as a bar: kinds of layers that take no time are left out."""

from __future__ import annotations

import pytest

from core.layers import LayerKind
from tests.experiments.profiled import layer, layer_profile, profile_result
from ui.figures.shares import KIND_COLOURS, call_bar
from ui.profile.overview import pieces_of

TITLES = {"compute": "Multiplying", "conversion": "Converting formats", "other": "Other layers"}


@pytest.mark.parametrize("kinds", [("compute",), ("compute", "other"), ("conversion", "other"), tuple(TITLES)])
def test_each_kind_keeps_its_colour_whichever_others_there_are(kinds: tuple[LayerKind, ...]) -> None:
    layers = [layer(kind, 0.1, kind=kind) for kind in kinds]
    pieces = pieces_of(profile_result(layers=layer_profile(layers)))
    bars = call_bar(pieces, p50_ms=0.55, dark=False, ink="#000000").data
    shown = {bar.name.rpartition(" ")[0].rpartition(" ")[0]: bar.marker.color for bar in bars}
    colours = KIND_COLOURS["light"]
    assert shown == {TITLES[kind]: colours[kind] for kind in kinds} | {"Residual": colours["residual"]}
