"""How PyTorch's compiler has to be set for networks in INT8, and for weights that it is to pack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from core.bundle import Precision
from core.devices import Device
from core.torchao_import import import_x86_quantizer, quiet

QUANTIZED: frozenset[Precision] = frozenset({"int8", "w8", "w4", "fp8", "nvfp4"})
_MOST_SIZES = 256
"""Batch sizes that can be compiled for; PyTorch stops at eight."""


def has_fixed_shapes(precision: Precision, device: Device, *, freeze: bool = False) -> bool:
    """Whether each batch size has to be compiled for by itself.

    Frozen for any, convolutions get the wrong memory layout: torch 2.14 stops there, or answers wrongly ahead of time.
    """
    return device.kind == "cpu" and (freeze or precision == "int8")


@contextmanager
def compiling(precision: Precision, device_kind: str, *, freeze: bool = False) -> Iterator[None]:
    """Inside the block, what is compiled on a CPU has its weights packed where asked; in INT8 it uses INT8 kernels.

    Everything else is as it was. What is compiled later, outside, would compute in float.
    """
    is_int8 = precision == "int8"
    if device_kind != "cpu" or not (freeze or is_int8):
        yield
        return
    import torch._dynamo.config as tracer
    import torch._inductor.config as compiler

    settings: dict[str, Any] = {"freezing": True}
    if is_int8:
        settings["pre_grad_custom_pass"] = import_x86_quantizer().quant_lift_up
    with compiler.patch(settings), tracer.patch(recompile_limit=_MOST_SIZES), quiet() if is_int8 else nullcontext():
        yield
