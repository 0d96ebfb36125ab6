"""What is known about a network that lost channels, layer by layer: plain data for the result and the pages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict

from core.packed import Packed, PackedField

Target = Literal["ratio", "macs", "latency"]
"""What is asked for: a share of the channels, fewer multiply-accumulates, or a measured speed-up."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ChannelGroup(_Frozen):
    """Channels of layers that are joined, so that number n goes from all of them or from none."""

    layers: tuple[str, ...]
    """Layers whose outputs these are, the one that leads first; a transformer's heads go by its attention module."""
    before: int
    after: int
    importance: Annotated[Packed, PackedField("<u4", per_unit=1_000_000)]
    """float [before]: the very scores that were ranked before the first cut, relative to what the importance relates
    them to: mostly the mean of the group."""
    removed: Annotated[Packed, PackedField("<u4")]
    """int: which of the channels before the first cut are gone, ascending."""
    prunable: bool = True
    """Whether channels may go at all."""
    multiple: int = 1
    """The width is a multiple of this afterwards, where it changes: heads, channel groups, and what was asked for."""
    parts: int = 1
    """Equal parts that lose the same channels: the heads of an attention block, the groups of a convolution."""
    whole: bool = False
    """Parts go as a whole: heads."""


class InputPart(_Frozen):
    """Where a share of a layer's inputs comes from."""

    group: int | None
    """Index into `PruningReport.groups`; None for inputs that never go, like an image's colours."""
    share: float


class PrunedLayer(_Frozen):
    """One layer with weights, or the products of an attention block, before and after."""

    name: str
    kind: str
    inputs_before: int
    inputs_after: int
    outputs_before: int
    outputs_after: int
    macs_before: int
    """Multiply-accumulates for one image."""
    macs_after: int
    parameters_before: int
    parameters_after: int
    out_group: int | None
    """Index into `PruningReport.groups`; None where its outputs all stay."""
    in_parts: tuple[InputPart, ...] = ()
    """Empty where the arithmetic does not follow its inputs: depthwise convolutions, attention products."""
    why_kept: str = ""
    """One sentence where its outputs all stay."""


class RatioPoint(_Frozen):
    """The network cut at once at one ratio, BatchNorm's statistics taken anew but no weight trained, on calibration
    images."""

    ratio: float
    macs: int
    correct: int
    images: int


class SearchPoint(_Frozen):
    """One ratio tried on the way to a target."""

    ratio: float
    value: float
    """Speed-up: multiply-accumulates or milliseconds of the uncut network over those of this one."""


class Search(_Frozen):
    """How the ratio for a target was found."""

    target: Target
    wanted: float
    points: tuple[SearchPoint, ...]
    """In the order they were tried, but for the one that was taken, which comes last."""


class Round(_Frozen):
    """One cut of an iterative schedule, with the accuracy on calibration images around its fine-tuning."""

    ratio: float
    """Share of the original channels that is gone after it."""
    macs: int
    correct_after_cut: int
    correct_after_tuning: int | None
    """None where nothing was fine-tuned."""
    images: int


class PruningReport(_Frozen):
    """What structured pruning did."""

    importance: str
    """How channels were ranked, in words."""
    everywhere_alike: bool
    """The same share in every layer; else one ranking over all layers."""
    ratio: float
    round_to: int
    max_ratio: float = 1.0
    """One ranking took no more than this share of any group."""
    staggered: bool = False
    """Whether widths were rounded up or down in turn, to come close to a target."""
    groups: tuple[ChannelGroup, ...]
    layers: tuple[PrunedLayer, ...]
    """In the order of execution."""
    macs_before: int
    """Of the whole network, what no layer accounts for included."""
    macs_after: int
    parameters_before: int
    parameters_after: int
    scan: tuple[RatioPoint, ...] = ()
    """Accuracy at rising ratios before any fine-tuning, where it was asked for."""
    search: Search | None = None
    rounds: tuple[Round, ...] = ()
