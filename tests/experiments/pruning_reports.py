"""Reports on pruned networks with known figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.packed import Packed
from core.pruning import ChannelGroup, InputPart, PrunedLayer, PruningReport, RatioPoint, Round, Search, SearchPoint


def group_of(layers: Sequence[str], importance: Sequence[float], gone: Sequence[int], **changes: Any) -> ChannelGroup:
    """A group of layers with so important channels, of which some are gone."""
    before = len(importance)
    return ChannelGroup(
        layers=tuple(layers), before=before, after=before - len(gone),
        importance=Packed.of(importance, "<u4", 1_000_000), removed=Packed.of(sorted(gone), "<u4"), **changes,
    )  # fmt: skip


def layer_of(
    name: str, widths: tuple[int, int, int, int], *, out: int | None, parts: Sequence[InputPart], pixels: int = 100
) -> PrunedLayer:
    """A 3x3 convolution without bias; widths are its inputs before and after, then its outputs before and after."""
    inputs_before, inputs_after, outputs_before, outputs_after = widths
    before, after = 9 * inputs_before * outputs_before, 9 * inputs_after * outputs_after
    return PrunedLayer(
        name=name, kind="Conv2d", inputs_before=inputs_before, inputs_after=inputs_after,
        outputs_before=outputs_before, outputs_after=outputs_after, macs_before=pixels * before,
        macs_after=pixels * after, parameters_before=before, parameters_after=after, out_group=out,
        in_parts=tuple(parts), why_kept="" if out is not None else "It gives the classes.",
    )  # fmt: skip


def report(**changes: Any) -> PruningReport:
    """A stem of 8 channels joined to a shortcut, a body of 16 and a head, with half of the channels gone."""
    wide = np.linspace(0.1, 1.9, 16).tolist()
    groups = (
        group_of(("stem", "second"), [0.2, 1.8, 0.4, 1.6, 0.6, 1.4, 0.8, 1.2], (0, 2, 4, 6)),
        group_of(("first",), wide, range(8)),
    )
    image, stem, body = InputPart(group=None, share=1), InputPart(group=0, share=1), InputPart(group=1, share=1)
    layers = (
        layer_of("stem", (3, 3, 8, 4), out=0, parts=[image]),
        layer_of("first", (8, 4, 16, 8), out=1, parts=[stem]),
        layer_of("second", (16, 8, 8, 4), out=0, parts=[body]),
        layer_of("head", (8, 4, 10, 10), out=None, parts=[stem], pixels=1),
    )
    settings = {
        "importance": "L2 norm of the weights", "everywhere_alike": True, "ratio": 0.5, "round_to": 1,
        "groups": groups, "layers": layers,
        **{f"{what}_{when}": sum(getattr(each, f"{what}_{when}") for each in layers)
           for what in ("macs", "parameters") for when in ("before", "after")},
        "scan": scan_of((0.98, 0.97, 0.965, 0.96, 0.94, 0.8, 0.6, 0.35, 0.15)),
    }  # fmt: skip
    return PruningReport(**(settings | changes))


def scan_of(shares: Sequence[float], images: int = 1000) -> tuple[RatioPoint, ...]:
    """So many of the images right at 0.1, 0.2 and so on."""
    return tuple(
        RatioPoint(
            ratio=round(0.1 * step, 1),
            macs=round(1e6 * (1 - 0.1 * step) ** 2),
            correct=round(share * images),
            images=images,
        )
        for step, share in enumerate(shares, start=1)
    )


ROUNDS = (
    Round(ratio=0.3, macs=160_000, correct_after_cut=700, correct_after_tuning=920, images=1000),
    Round(ratio=0.5, macs=80_000, correct_after_cut=600, correct_after_tuning=910, images=1000),
)
SEARCH = Search(
    target="latency",
    wanted=2.0,
    points=tuple(SearchPoint(ratio=ratio, value=value) for ratio, value in ((0.45, 1.7), (0.7, 2.9), (0.55, 1.97))),
)


def wide_report() -> PruningReport:
    """Two dozen layers, up to 2048 channels wide, with long names."""
    random = np.random.default_rng(0)
    groups, layers, before, kept = [], [], 3, 3
    for number in range(24):
        width = 64 * 2 ** (number // 4)
        importance = random.gamma(4, 0.25, width)
        gone = np.argsort(importance)[: width // 2]
        name = f"backbone.stages.{number // 4}.blocks.{number % 4}.conv2"
        groups.append(group_of((name,), importance.tolist(), gone.tolist()))
        inputs = InputPart(group=number - 1 if number else None, share=1)
        layers.append(layer_of(name, (before, kept, width, width // 2), out=number, parts=[inputs]))
        before, kept = width, width // 2
    sums = {
        f"{what}_{when}": sum(getattr(each, f"{what}_{when}") for each in layers)
        for what in ("macs", "parameters")
        for when in ("before", "after")
    }
    return report(groups=tuple(groups), layers=tuple(layers), **sums)
