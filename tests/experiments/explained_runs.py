"""Finished runs with layer profiles, so that one explains the other."""

from __future__ import annotations

from typing import Any

from core.layers import Layer, LayerProfile
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.profiles import conversion, other, peaks, product
from tests.pages.left_behind import measured

MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
ORT = Recipe(model=MODEL, runtime="onnxruntime")
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")


def profiled(store: Store, recipe: Recipe, layers: list[Layer], **facts: Any) -> str:
    """Leave a finished run whose layers took these times; its id."""
    call_ms = sum(layer.time_ms for layer in layers) + 0.1
    plain = measured(recipe, wrong=100, p50_ms=call_ms, size_bytes=1000)
    profile = LayerProfile(batch_size=1, calls=30, call_ms=call_ms, layers=tuple(layers))
    result = plain.model_copy(update={"layers": profile, "peaks": peaks(), **facts})
    run_id = store.begin_here(recipe)
    store.finish(run_id, RunResult.model_validate(result.model_dump(mode="json")))
    return run_id


def left(store: Store) -> tuple[str, str]:
    """FP32 and INT8 in ONNX Runtime, the latter with one layer left in float and costly conversions."""
    profiled(store, BASELINE, [product("features.0", 4.0), product("features.1", 4.0)])
    reference = profiled(store, ORT, [product("features.0", 2.0), product("features.1", 2.0)])
    quantized = [
        product("features.0", 0.5, precision="int8"),
        product("features.1", 2.0),
        conversion("quantize", 0.7),
        other("add", 0.2),
    ]
    return reference, profiled(store, INT8, quantized)
