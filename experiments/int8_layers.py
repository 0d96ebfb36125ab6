"""Which layers a run computed in INT8, and how long each of them took: by the names of their modules."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from core.layers import BITS, FUSED, Layer, LayerProfile
from core.quantization import FLOAT_BITS
from experiments.result import RunResult

PRECISION = "int8"


def int8_times(int8: RunResult | None, names: Collection[str]) -> dict[str, float]:
    """ms of each named layer that a run computed in INT8; empty without a run, or without its profile."""
    if int8 is None or int8.layers is None:
        return {}
    computed = in_int8(int8)
    return {name: ms for name, ms in times_by_layer(int8.layers.layers, names).items() if name in computed}


def times_by_layer(profiled: Iterable[Layer], names: Collection[str]) -> dict[str, float]:
    """ms of each named layer that multiplies. What an engine fused of several is divided among them alike."""
    times: dict[str, float] = {}
    for layer in profiled:
        parts = [part for part in _parts(layer) if part in names] if layer.kind == "compute" else []
        for part in parts:
            times[part] = times.get(part, 0.0) + layer.time_ms / len(parts)
    return times


def _parts(layer: Layer) -> list[str]:
    return list(dict.fromkeys(layer.name.split(FUSED)))


def in_int8(result: RunResult) -> frozenset[str]:
    """The layers that a run really computes in INT8: as its engine's profile says, else as it was quantized.

    Engines round layers between two rounded ones that were meant to stay in float.
    """
    layers = result.quantization.layers if result.quantization else ()
    executed = {part: layer.precision for layer in _multiplying(result.layers) for part in _parts(layer)}
    asked = {layer.name: layer.bits < FLOAT_BITS for layer in layers}
    told = {name: executed[name] == PRECISION for name in asked if BITS.get(executed.get(name, ""))}
    return frozenset(name for name, rounded in (asked | told).items() if rounded)


def unasked(result: RunResult) -> frozenset[str]:
    """The layers that were to stay in float and that the engine computes in INT8 nevertheless."""
    layers = result.quantization.layers if result.quantization else ()
    return in_int8(result) & {layer.name for layer in layers if layer.bits == FLOAT_BITS}


def _multiplying(profile: LayerProfile | None) -> tuple[Layer, ...]:
    return profile.of("compute") if profile else ()
