"""A network that is about to compute in 16 bits, tried on calibration images. Imports torch: inside functions only."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.errors import RunFailed
from core.progress import Note, Progress, Steps
from core.reduced import cast, float32_modules, reduced
from optimizers.overflow import Overflow, repaired
from optimizers.state import on_device, torch_state
from optimizers.technique import Context

HalfPrecision = Literal["fp16", "bf16"]

WATCHED_IMAGES = 16
"""Calibration images on which every operation is watched."""
COMPARED_IMAGES = 128
"""Calibration images on which answers are compared with FP32's."""
LOWEST_AGREEMENT = 0.98
_BATCH = 32
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def safely_reduced(bundle: ModelBundle, context: Context, precision: HalfPrecision) -> Steps[ModelBundle]:
    """The bundle with those modules marked that have to stay in float32; the same network where none has to.

    Raises `RunFailed` where an overflow cannot be mended, or not in the context's runtime.
    """
    images, dtype, network = bundle.data.calibrate.pixels, _DTYPES[precision], bundle.module
    if not len(images):
        yield Note(text=f"Without calibration images nobody looked whether {precision} overflows.", warning=True)
        return bundle
    yield Progress(done=0, total=1, unit="passes", doing=f"looking for overflow in {precision}")
    with torch_state(context):
        x = torch.from_numpy(bundle.contract.prepare(images[:COMPARED_IMAGES])).to(context.device.id)
        moved, found = repaired(on_device(network, context), x[:WATCHED_IMAGES], dtype)
        agreement = _agreement(moved, x, dtype)
    if found:
        _refuse_runtime(context.runtime, found, precision)
        network = moved.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        yield Note(text=_repair(found, float32_modules(network), precision), warning=True)
    yield _exported(precision, agreement, len(x), found, context.runtime)
    return replace(bundle, network=network)


def _agreement(network: nn.Module, x: Tensor, dtype: torch.dtype) -> float:
    """Share of the images x[N, C, H, W] with the same answer in 16 bits."""
    exact, coarse = copy.deepcopy(network).eval(), reduced(copy.deepcopy(network).eval(), dtype)
    with torch.inference_mode():
        same = [exact(part).argmax(1) == coarse(cast(part, dtype)).argmax(1) for part in torch.split(x, _BATCH)]
    return float(torch.cat(same).float().mean())


def _repair(found: Sequence[Overflow], kept: Sequence[str], precision: str) -> str:
    reasons: dict[str, list[str]] = defaultdict(list)
    for overflow in found:
        reasons[overflow.module].append(overflow.operation)
    why = "; ".join(f"{', '.join(operations)} in {module}" for module, operations in reasons.items())
    return (
        f"Values left the range of {precision} on {WATCHED_IMAGES} calibration images ({why}). "
        f"{_listed(kept)} {'stays' if len(kept) == 1 else 'stay'} in FP32."
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _exported(precision: str, agreement: float, images: int, found: Sequence[Overflow], runtime: str) -> Note:
    what = "Weights stay in FP32 and arithmetic is" if runtime == "openvino" else "Weights and arithmetic are exported"
    text = (
        f"{what} in {precision}, inputs and outputs in float32; {100 * agreement:.1f} % of {images} calibration images "
        "are answered as in FP32."
    )
    if agreement >= LOWEST_AGREEMENT:
        return Note(text=text)
    overflowed = "after the repair" if found else "although nothing overflowed"
    return Note(text=f"{text} That is little, {overflowed}: {precision} is too coarse for this network.", warning=True)


def _refuse_runtime(runtime: str, found: Sequence[Overflow], precision: str) -> None:
    """OpenVINO gets the network in FP32 and lowers all of it by itself."""
    if runtime == "openvino":
        where = ", ".join(f"{overflow.operation} in {overflow.module}" for overflow in found)
        raise RunFailed(
            f"Values leave the range of {precision} ({where}), and OpenVINO cannot keep single modules in FP32",
            action="Choose PyTorch or torch.compile as the runtime",
        )
