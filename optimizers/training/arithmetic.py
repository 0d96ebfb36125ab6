"""The precision that training computes in. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from core.quantization import TrainingPrecision


@contextmanager
def arithmetic(device: torch.device, precision: TrainingPrecision) -> Iterator[None]:
    """Convolutions and matrix products in `precision`, what needs the range in float32; afterwards as before."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    cast = torch.autocast(device.type, dtype, enabled=precision in ("fp16", "bf16"))
    with _tf32() if precision == "tf32" else nullcontext(), cast:
        yield


@contextmanager
def _tf32() -> Iterator[None]:
    """Float32 products of a GPU with 10 bits of mantissa, as its tensor cores multiply them."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.fp32_precision
    with convolutions.flags(
        enabled=convolutions.enabled,
        benchmark=convolutions.benchmark,
        deterministic=convolutions.deterministic,
        allow_tf32=True,
    ):
        products.fp32_precision = "tf32"
        try:
            yield
        finally:
            products.fp32_precision = before
