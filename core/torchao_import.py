"""torchao without what it prints and what it leaves behind. Imports torch inside its functions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings and log messages, those of errors included: what fails raises besides."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def import_torchao() -> None:
    """Import it: networks with its tensors can be opened then."""
    with quiet():
        import torchao.quantization  # noqa: F401


def import_x86_quantizer() -> Any:
    """torchao's module for PyTorch's compiler on CPUs, which knows INT8 kernels from then on.

    On import it changes a setting of the compiler for the whole process. That is undone: who compiles INT8 sets it.
    """
    import torch._inductor.config as compiler

    with quiet(), compiler.patch(pre_grad_custom_pass=compiler.pre_grad_custom_pass):
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer
    return x86_inductor_quantizer
