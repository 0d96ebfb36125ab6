"""How PyTorch's compiler has to be set for networks in INT8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.bundle import Precision
from core.devices import Device
from core.torchao_import import import_x86_quantizer, quiet

QUANTIZED: frozenset[Precision] = frozenset({"int8", "w8", "w4", "fp8", "nvfp4"})
_MOST_SIZES = 256
"""Batch sizes that can be compiled for; PyTorch stops at eight."""


def has_fixed_shapes(precision: Precision, device: Device) -> bool:
    """Whether each batch size has to be compiled for by itself."""
    return precision == "int8" and device.kind == "cpu"


@contextmanager
def compiling(precision: Precision, device_kind: str) -> Iterator[None]:
    """Inside the block, what is compiled for INT8 on a CPU uses INT8 kernels; everything else is as it was.

    What is compiled later, outside, would compute in float.
    """
    if precision != "int8" or device_kind != "cpu":
        yield
        return
    import torch._dynamo.config as tracer
    import torch._inductor.config as compiler

    x86 = import_x86_quantizer()
    settings = {"freezing": True, "pre_grad_custom_pass": x86.quant_lift_up}
    with compiler.patch(settings), tracer.patch(recompile_limit=_MOST_SIZES), quiet():
        yield
