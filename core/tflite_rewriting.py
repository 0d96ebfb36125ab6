"""A `.tflite` file written anew: as every reader understands it, or for any batch. Imports LiteRT inside functions.

Source: the schema, https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

SIGNATURE, INPUT, OUTPUT = "serving_default", "input", "logits"
"""What the one signature of a file that was written anew is called, and its ends."""
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
"""Bytes; kernels read weights in vectors of so many."""
_LAST_OLD_CODE = 127
"""Operators above it came when the field for their number had become too small."""
_OUTSIDE = 1
"""An offset above it says that a buffer lies behind the tables."""


def plain_form(content: bytes) -> bytes:
    """The same network as OpenVINO and older readers understand it too.

    Weights lie inside the tables, operators have their number in the old field as well, no two tensors share a name,
    and the one signature is `SIGNATURE` with `INPUT` and `OUTPUT`. The file has to be a good one.
    """
    model = _read(content)
    for buffer in model.buffers:
        if buffer.offset > _OUTSIDE:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, _LAST_OLD_CODE)
    graph = model.subgraphs[0]
    _name_apart(graph.tensors)
    model.signatureDefs = [_signature(graph)]
    return _written(model)


def named_by_operator(content: bytes) -> bytes:
    """The same network with every tensor called after the operator that makes or first reads it: `conv_2d_3/2`.

    For files whose converter knew no better names; input and output are `INPUT` and `OUTPUT`.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = {value: name.lower() for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = _read(content)
    graph = model.subgraphs[0]
    names = {int(graph.inputs[0]): INPUT, int(graph.outputs[0]): OUTPUT}
    for place, operator in enumerate(graph.operators):
        name = f"{kinds[model.operatorCodes[operator.opcodeIndex].builtinCode]}_{place}"
        for index in operator.outputs:
            names.setdefault(int(index), name)
        for which, index in enumerate(operator.inputs):
            names.setdefault(int(index), f"{name}/{which}")
    for index, tensor in enumerate(graph.tensors):
        tensor.name = names.get(index, f"unused_{index}")
    return _written(model)


def for_any_batch(content: bytes, *, made_for: int) -> bytes:
    """The same network for one image, whose input can be resized to any number of them.

    The file has to be in `plain_form` and made for a batch of that prime number, which divides no size of the network
    itself: every size that it divides is the batch's. It stays open at the ends and in what RESHAPE and SLICE make; a
    network in which something else depends on it comes out wrong, so that whoever uses it has to try.
    """
    model = _read(content)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        if tensor.shape is not None and model.buffers[tensor.buffer].data is None:
            tensor.shape = np.where(tensor.shape % made_for, tensor.shape, tensor.shape // made_for)
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)
    for operator in graph.operators:
        _open_sizes(model, operator, made_for)
    return _written(model)


def _open_sizes(model: Any, operator: Any, made_for: int) -> None:
    """Where the operator is told the batch among sizes, tell it `whatever there is` there."""
    from ai_edge_litert import schema_py_generated as schema

    tensors, code = model.subgraphs[0].tensors, model.operatorCodes[operator.opcodeIndex].builtinCode
    if code == schema.BuiltinOperator.RESHAPE:
        sizes = tensors[operator.inputs[1]]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.NONE, None
    elif code == schema.BuiltinOperator.SLICE:
        sizes, made = tensors[operator.inputs[2]], tensors[operator.outputs[0]]
        made.shapeSignature = np.full_like(made.shape, -1)  # else its kernel keeps the shape that the file has
    else:
        return
    buffer = model.buffers[sizes.buffer]
    if buffer.data is not None:
        told = np.frombuffer(buffer.data.tobytes(), np.int32)
        buffer.data = np.frombuffer(np.where((told > 0) & (told % made_for == 0), -1, told).tobytes(), np.uint8)


def _name_apart(tensors: list[Any]) -> None:
    counts = Counter(_text(tensor.name) for tensor in tensors)
    for place, tensor in enumerate(tensors):
        name = _text(tensor.name)
        if counts[name] > 1 or not name:
            tensor.name = f"{name}/{place}"


def _signature(graph: Any) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs, signature.outputs = [_end(INPUT, graph.inputs[0])], [_end(OUTPUT, graph.outputs[0])]
    return signature


def _end(name: str, index: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    end = schema.TensorMapT()
    end.name, end.tensorIndex = name, index
    return end


def _text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""


def _read(content: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def _written(model: Any) -> bytes:
    import flatbuffers

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        """Begins what a buffer holds where the schema wants it, which Python's writer leaves to chance."""

        def CreateNumpyVector(self, x: Any) -> int:
            if x.dtype == np.uint8:
                self.Prep(_ALIGNMENT, x.size)
            return int(super().CreateNumpyVector(x))

    builder = Aligned(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())
