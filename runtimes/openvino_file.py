"""The files that OpenVINO opens: its own, ONNX and TFLite. Imports openvino: import it inside functions only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino

from core.data import Inputs
from core.errors import BadInput
from core.unsupported import naming_the_operator
from runtimes.openvino_ends import with_float_ends

_FLOAT, _TOKENS = openvino.Type.f32, openvino.Type.i64
_CHANNELS_LAST = (0, 2, 3, 1)


def read_model(file: Path | bytes) -> Any:
    """The model in an `.xml`, `.onnx` or `.tflite` file, or in the bytes of an ONNX graph, for any batch if it allows.

    Raises `RunFailed` with the name of an operator that OpenVINO lacks, and `BadInput` for a model that does not turn
    one tensor of floats, or of tokens, into one of floats; a `.tflite` file may have integers at its ends.
    """
    with unsupported_named():
        given = (file, b"") if isinstance(file, bytes) else (file,)
        model = openvino.Core().read_model(*given)
    if isinstance(file, Path) and file.suffix == ".tflite" and len(model.inputs) == len(model.outputs) == 1:
        model = with_float_ends(model, file)
    ports = (*model.inputs, *model.outputs)
    types = tuple(port.get_element_type() for port in ports)
    if len(model.inputs) != 1 or types not in ((_FLOAT, _FLOAT), (_TOKENS, _FLOAT)):
        raise BadInput(
            "a model with " + ", ".join(f"{port.get_element_type()} {port.get_partial_shape()}" for port in ports),
            expected="one float32 input and one float32 output",
            action="Convert it anew with float32 inputs and outputs",
        )
    return _for_any_batch(model)


def unsupported_named() -> Any:
    """A context manager that turns OpenVINO's errors about an operator into a `RunFailed` with its name."""
    return naming_the_operator("OpenVINO", (RuntimeError,), action="Choose another runtime")


def arranged(x: Inputs, port: Any) -> Inputs:
    """x[N, C, H, W] as an input wants it: as it is, or as [N, H, W, C], which TFLite files have.

    Where both would fit it stays as it is. Raises `BadInput` where neither fits.
    """
    wanted = port.get_partial_shape()
    for turned in (x, x.transpose(_CHANNELS_LAST)) if x.ndim == len(_CHANNELS_LAST) else (x,):
        if wanted.compatible(openvino.PartialShape(list(turned.shape))):
            return np.ascontiguousarray(turned)
    raise BadInput(
        f"images of the shape {list(x.shape)} for a model that takes {wanted}",
        expected="that shape, with the channels before or behind the sides",
        action="Use a batch of 1 where the model takes no other",
    )


def _for_any_batch(model: Any) -> Any:
    """The model with its first dimension open; as it is where something inside is made for one batch size only."""
    shape = model.input(0).get_partial_shape()
    if shape[0].is_dynamic:
        return model
    shape[0] = -1
    freed = model.clone()
    try:
        freed.reshape({freed.input(0): shape})
    except RuntimeError:
        return model
    # A reshape to a fixed size inside would let any batch in, and fail when the model is run.
    return freed if freed.output(0).get_partial_shape()[0].is_dynamic else model
