"""What each layer loses when it alone is changed: plain data for the result and the pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Change = Literal["int8", "int4", "int3", "w8", "w4", "w3", "prune25", "prune50", "prune75"]

CHANGES: Mapping[Change, str] = {
    "int8": "INT8",
    "int4": "INT4",
    "int3": "INT3",
    "w8": "INT8 weights",
    "w4": "INT4 weights",
    "w3": "INT3 weights",
    "prune25": "25 % pruned",
    "prune50": "50 % pruned",
    "prune75": "75 % pruned",
}
"""intN: weights and what comes in are rounded to N bits. wN: weights only. pruneN: so many per cent of the outputs fall
silent, those with the smallest weights."""

USUAL_CHANGES: tuple[Change, ...] = ("int8", "int4", "prune25", "prune50")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ScanCell(_Frozen):
    """The network with one layer changed, in float32, on the images of the scan."""

    layer: str
    change: Change
    correct: int | None
    """Images that are still right; None where they have no labels."""
    agreed: int
    """Images with the untouched network's answer."""
    divergence: float = Field(ge=0)
    """KL(untouched || changed) of the predictions, in nats an image."""
    output_error: float = Field(ge=0)
    """Norm of the difference of the logits over the norm of the logits."""


class Scan(_Frozen):
    """Every layer, changed alone in every way that was asked for."""

    images: int
    """Calibration images, which share none with the test set."""
    correct: int | None
    """Of the untouched network."""
    layers: tuple[str, ...]
    """In the order of execution."""
    kinds: tuple[str, ...]
    """Of the layers: `Conv2d`, `Linear`."""
    parameters: tuple[int, ...]
    """Of the layers."""
    changes: tuple[Change, ...]
    cells: tuple[ScanCell, ...]
    why_missing: dict[str, str] = {}
    """`layer|change` to one sentence, where a change does not fit a layer."""

    def cell(self, layer: str, change: Change) -> ScanCell | None:
        """What came of one change, or None where it does not fit."""
        return next((each for each in self.cells if (each.layer, each.change) == (layer, change)), None)

    def lost_points(self, cell: ScanCell) -> float:
        """Percentage points of accuracy lost or, without labels, of agreement; negative where some were gained."""
        if cell.correct is not None and self.correct is not None:
            return 100 * (self.correct - cell.correct) / self.images
        return 100 * (self.images - cell.agreed) / self.images
