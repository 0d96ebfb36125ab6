"""Small `.tflite` files, written with the schema alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


@dataclass(frozen=True, eq=False)
class Tensor:
    """Of a graph; a constant where it has values."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "FLOAT32"
    values: np.ndarray | None = None
    scale: float = 0.0
    zero_point: int = 0
    signature: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Op:
    """An operator with the names of its tensors and the schema's options."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    options: Any = None


def constant(name: str, values: np.ndarray, dtype: str = "", **others: Any) -> Tensor:
    """A tensor with these values, in the type that they have."""
    return Tensor(name, others.pop("shape", values.shape), dtype or values.dtype.name.upper(), values, **others)


def file_of(tensors: list[Tensor], operators: list[Op], given: str, answer: str) -> bytes:
    """The file of one graph."""
    places = {tensor.name: place for place, tensor in enumerate(tensors)}
    kinds = list(dict.fromkeys(each.kind for each in operators))
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(tensor, place) for place, tensor in enumerate(tensors)]
    graph.operators = [_operator(each, places, kinds) for each in operators]
    graph.inputs, graph.outputs = [places[given]], [places[answer]]
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [_code(kind) for kind in kinds]
    model.subgraphs = [graph]
    model.buffers = [schema.BufferT(), *(_buffer(tensor) for tensor in tensors)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(tensor: Tensor, place: int) -> Any:
    found = schema.TensorT()
    found.name, found.shape, found.buffer = tensor.name, list(tensor.shape), place + 1
    found.shapeSignature = None if tensor.signature is None else list(tensor.signature)
    found.type = getattr(schema.TensorType, tensor.dtype)
    if tensor.scale:
        found.quantization = schema.QuantizationParametersT()
        found.quantization.scale, found.quantization.zeroPoint = [tensor.scale], [tensor.zero_point]
    return found


def _operator(op: Op, places: dict[str, int], kinds: list[str]) -> Any:
    found = schema.OperatorT()
    found.opcodeIndex = kinds.index(op.kind)
    found.inputs = [places[name] if name else -1 for name in op.inputs]
    found.outputs = [places[op.output]]
    if op.options is not None:
        found.builtinOptions = op.options
        found.builtinOptionsType = getattr(schema.BuiltinOptions, type(op.options).__name__.removesuffix("T"))
    return found


def _code(kind: str) -> Any:
    """Of an operator of the schema, else of a custom one of that name."""
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
    code.customCode = None if hasattr(schema.BuiltinOperator, kind) else kind
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    return code


def _buffer(tensor: Tensor) -> Any:
    buffer = schema.BufferT()
    if tensor.values is not None:
        buffer.data = np.frombuffer(np.ascontiguousarray(tensor.values).tobytes(), np.uint8)
    return buffer


def dense(weights: np.ndarray, bias: np.ndarray, **ends: Any) -> bytes:
    """[1, ...] flattened, times weights[classes, inputs], plus a bias. `ends` are for the tensors x and y."""
    shape = ends.pop("shape", (1, weights.shape[1]))
    tensors = [
        Tensor("x", shape, **ends.get("x", {})),
        constant("w", weights, **ends.get("w", {})),
        constant("b", bias, **ends.get("b", {})),
        Tensor("y", (1, len(weights)), **ends.get("y", {})),
    ]
    return file_of(tensors, [Op("FULLY_CONNECTED", ("x", "w", "b"), "y", schema.FullyConnectedOptionsT())], "x", "y")
