"""Where the time of one inference goes, layer by layer, as the engine that ran it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

LayerKind = Literal["compute", "conversion", "other"]

BITS: Mapping[str, int] = {
    "fp64": 64, "fp32": 32, "tf32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "int4": 4,
    "nvfp4": 4, "int16": 16, "w16": 32, "w8": 32, "w4": 32,
}  # fmt: skip
"""Bits of a stored number of each precision that can be multiplied; TF32 is fp32 in memory.

Weights that are kept in fewer bits (`w16`, `w8`, `w4`) are multiplied as floats.
"""

FUSED = " + "
"""Between the names of what an engine made into one layer."""


class Layer(BaseModel):
    """One operation as the engine executed it; written as a plain list of its values, in the order below."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The module whose weights it multiplies (`features.3`) where the engine lets that be found, else its own name."""
    op: str
    """What the engine calls it: `QLinearConv`, `brgconv_avx512_I8`, `aten::addmm`."""
    kind: LayerKind
    """compute: multiplies and accumulates. conversion: only changes number format or layout. other: all the rest."""
    time_ms: float
    """Of a typical inference, without what the profiler itself takes as far as that can be told."""
    precision: str
    """Of the numbers it really worked on, whatever was asked for: a key of `BITS`, or another type's name."""
    macs: int = 0
    """Multiply-accumulates for the whole batch, without padding; 0 where the engine does not say what it fused."""
    weight_bytes: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    channels: tuple[int, int] | None = None
    """(in, out) of a layer with weights, as the model has them."""
    groups: int = 1
    padding: float = 0.0
    """Share of its multiplications that fill up vectors, as far as the engine shows; not counted in `macs`."""
    output_shape: tuple[int, ...] | None = None
    """Of its first result, the batch included; None where the engine does not say, and in profiles of version 0.1."""

    @property
    def moved_bytes(self) -> int:
        """What has to pass through memory or cache once."""
        return self.weight_bytes + self.input_bytes + self.output_bytes

    @model_serializer
    def _as_row(self) -> list[Any]:
        return [getattr(self, name) for name in type(self).model_fields]

    @model_validator(mode="before")
    @classmethod
    def _from_row(cls, values: Any) -> Any:
        if not isinstance(values, list | tuple):
            return values
        if len(values) > len(cls.model_fields):
            raise ValueError(f"a layer has at most {len(cls.model_fields)} values, not {len(values)}")
        return dict(zip(cls.model_fields, values, strict=False))  # earlier versions knew fewer


class LayerProfile(BaseModel):
    """Every operation of one inference, with the time that all of it took."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    calls: int
    """Inferences behind each figure."""
    call_ms: float
    """A whole inference, without the profiler where the engine lets it be switched off."""
    layers: tuple[Layer, ...]
    """In the order of execution."""
    resolution_ms: float = 0.0
    """The engine rounds each layer's time down to a multiple of this; 0 where it does not."""

    @property
    def layers_ms(self) -> float:
        """All layers together."""
        return sum_ms(self.layers)

    @property
    def overhead_ms(self) -> float:
        """What a call takes beyond its layers: launching them, allocating, Python. Negative where layers overlap."""
        return self.call_ms - self.layers_ms

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the batch."""
        return sum(layer.macs for layer in self.layers)

    def of(self, kind: LayerKind) -> tuple[Layer, ...]:
        """The layers of one kind."""
        return tuple(layer for layer in self.layers if layer.kind == kind)


def sum_ms(layers: Sequence[Layer]) -> float:
    """The time of some layers together."""
    return sum(layer.time_ms for layer in layers)


def middle_mean(values: Sequence[float]) -> float:
    """Of the middle half: as robust as the median, and finer where a clock shows whole microseconds."""
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    return sum(middle) / len(middle)
