"""What is known about a network whose layers were factorised: plain data for the result and the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.packed import Numbers, Packed, PackedField

_SLACK = 1e-12
"""By which rounded sums may miss the energy they are to reach."""


class FactorisedLayer(BaseModel):
    """One linear layer or pointwise convolution."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    inputs: int
    outputs: int
    rank: int
    """Of the product of its two new layers; the full rank where it was kept whole."""
    spectrum: Annotated[Packed, PackedField("<u4", per_unit=1_000_000)]
    """float [full rank]: its singular values, descending, relative to the largest.

    Of the whitened weight where the report is activation-aware, else of the weight itself. Empty where nobody looked.
    """
    energy: float
    """Share of the sum of squared singular values that is left."""
    parameters_before: int
    parameters_after: int
    macs_before: int
    """Multiply-accumulates for one image; 0 where the layer is not called, so that nobody counted."""
    macs_after: int
    why_kept: str = ""
    """One sentence where it was kept whole."""
    is_fixed: bool = False
    """Whether it is kept whole at any energy."""

    @property
    def full_rank(self) -> int:
        """The largest rank that a weight of its shape can have."""
        return min(self.inputs, self.outputs)


class LowRankReport(BaseModel):
    """What factorising did."""

    model_config = ConfigDict(frozen=True)

    energy: float
    """The share that every factorised layer was to keep."""
    activation_aware: bool
    """Whether energy is that of the outputs, as seen on calibration images, instead of that of the weights."""
    images: int
    """Calibration images that were looked at; 0 where it was not activation-aware."""
    round_to: int
    """Ranks are multiples of this."""
    layers: tuple[FactorisedLayer, ...]
    """Linear layers and pointwise convolutions, in the order of execution."""
    parameters_before: int
    """Of the whole network, as are those below."""
    parameters_after: int
    macs_before: int
    macs_after: int

    @property
    def factorised(self) -> tuple[FactorisedLayer, ...]:
        """The layers that became two."""
        return tuple(layer for layer in self.layers if not layer.why_kept)


@dataclass(frozen=True)
class Choice:
    """What becomes of a layer at some energy."""

    rank: int
    """The full rank where it is kept whole."""
    energy: float
    """The share that is left: 1 where it is kept whole."""
    why_kept: str = ""


def cumulative_energy(spectrum: Numbers) -> Numbers:
    """float [R]: the share of the sum of squares that the first 1, 2, ... R singular values have; 1 of nothing."""
    sums = (spectrum**2).cumsum()
    shares: Numbers = sums / sums[-1] if sums[-1] else np.ones(len(sums))
    return shares


def largest_saving_rank(inputs: int, outputs: int, *, multiple: int = 1) -> int:
    """The largest multiple with rank (inputs + outputs) < inputs x outputs; 0 where there is none."""
    return (inputs * outputs - 1) // (inputs + outputs) // multiple * multiple


def choose_rank(spectrum: Numbers, inputs: int, outputs: int, *, energy: float, multiple: int = 1) -> Choice:
    """The smallest multiple, 1 at least, whose first singular values keep that share; or why the layer stays whole."""
    shares, full = cumulative_energy(spectrum), min(inputs, outputs)
    needed = int((shares < energy - _SLACK).sum()) + 1
    rank = -(-needed // multiple) * multiple
    most = largest_saving_rank(inputs, outputs, multiple=multiple)
    if rank > most:
        limit = f"only up to {most} is there less to multiply" if most else "no rank leaves less to multiply"
        return Choice(full, 1.0, f"It takes rank {min(rank, full)} of {full} to keep this energy, and {limit}.")
    return Choice(rank, float(shares[rank - 1]))
