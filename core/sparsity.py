"""What is known about a network with zeros among its weights: plain data for the result and the pages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Pattern = Literal["scattered", "2:4"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class SparseLayer(_Frozen):
    """One layer with weights."""

    name: str
    kind: str
    weights: int
    zeros: int
    blocks: int = 0
    """Runs of four weights along the inputs; 0 where its inputs cannot be cut into fours."""
    blocks_with_pattern: int = 0
    """Those of them with at least two zeros."""
    output_error: float | None = None
    """||y - y_sparse|| / ||y|| of its outputs on calibration images right after the zeros were set; None if unknown."""
    why_dense: str = ""
    """One sentence where it was left as it is."""


class SchedulePoint(_Frozen):
    """The share of zeros at one moment of training."""

    step: int
    sparsity: float


class SparsityReport(_Frozen):
    """What setting weights to zero did."""

    pattern: Pattern
    method: str
    """In words: `Magnitude, one ranking for all`."""
    layers: tuple[SparseLayer, ...]
    """In the order of the network."""
    schedule: tuple[SchedulePoint, ...] = ()
    """How sparsity rose during training; empty where all zeros came at once."""

    @property
    def sparsity(self) -> float:
        """Share of the weights of all its layers that are zero."""
        return sum(layer.zeros for layer in self.layers) / sum(layer.weights for layer in self.layers)
