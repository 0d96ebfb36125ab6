"""A torch module as an ONNX graph. Imports torch inside its function."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.data import InputContract

if TYPE_CHECKING:
    from torch import nn

OPSET = 18


def export_onnx(module: nn.Module, contract: InputContract) -> bytes:
    """The serialised graph `input`[batch, C, H, W] -> `logits`[batch, classes], for any batch size.

    The module is exported in eval mode from a copy on the CPU and stays as it is. Never call it from two threads at
    once: the exporter keeps global state.
    """
    import torch

    network = copy.deepcopy(module).cpu().eval()
    example = torch.zeros(2, *contract.shape)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["input"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
        assert program is not None
        content: bytes = program.model_proto.SerializeToString()
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
