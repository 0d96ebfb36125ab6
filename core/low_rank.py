"""What is known about a network whose layers were factorised: plain data for the result and the pages."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from core.packed import Packed, PackedField


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
    """float [full rank]: its singular values, descending, relative to the largest."""
    energy: float
    """Share of the sum of squared singular values that is left."""
    parameters_before: int
    parameters_after: int
    macs_before: int
    """Multiply-accumulates for one image."""
    macs_after: int
    why_kept: str = ""
    """One sentence where it was kept whole."""


class LowRankReport(BaseModel):
    """What factorising did."""

    model_config = ConfigDict(frozen=True)

    energy: float
    """The share that every factorised layer was to keep."""
    layers: tuple[FactorisedLayer, ...]
    """Linear layers and pointwise convolutions, in the order of execution."""

    @property
    def factorised(self) -> tuple[FactorisedLayer, ...]:
        """The layers that became two."""
        return tuple(layer for layer in self.layers if not layer.why_kept)
