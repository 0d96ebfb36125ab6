"""What is known about a network with zeros among its weights: plain data for the result and the pages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from core.devices import Device

Pattern = Literal["scattered", "2:4"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class SparseLayer(_Frozen):
    """One layer with weights."""

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    """Of its weight: outputs first, inputs of a group second, then the kernel."""
    weights: int
    zeros: int
    blocks: int = 0
    """Runs of four weights along the inputs; 0 where its inputs cannot be cut into fours."""
    blocks_with_pattern: int = 0
    """Those of them with at least two zeros."""
    output_error: float | None = None
    """||y - y_sparse|| / ||y|| of its outputs right after the zeros were set, on what calibration images bring to it in
    the dense network; None if unknown."""
    why_dense: str = ""
    """One sentence where it was left as it is."""

    @property
    def has_pattern(self) -> bool:
        """Whether no more than two of any four neighbours along its inputs are left."""
        return 0 < self.blocks == self.blocks_with_pattern


class SchedulePoint(_Frozen):
    """The share of zeros from one step of training on."""

    step: int
    """Of the optimizer, the first being 1."""
    sparsity: float
    """Of the weights that may become zero."""


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


_AMPERE = (8, 0)
_TILE = 16
"""Rows and columns that PyTorch's packed FP16 and BF16 products (cuSPARSELt) come in."""


def skips_fours(device: Device) -> bool:
    """Whether the device has sparse tensor cores, which skip zeros in the 2:4 pattern: NVIDIA's from Ampere on."""
    return device.compute_capability is not None and device.compute_capability >= _AMPERE


def can_be_packed(shape: tuple[int, ...]) -> bool:
    """Whether PyTorch can pack a 2:4 weight of that shape: a matrix in whole tiles."""
    return len(shape) == 2 and all(size % _TILE == 0 for size in shape)
