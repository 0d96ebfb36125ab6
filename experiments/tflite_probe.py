"""The probe of `experiments.peaks` as a `.tflite` file, written with the schema, as no library here converts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data import Floats

_VERSION = 3
_IDENTIFIER = b"TFL3"
_OPEN = -1
"""A batch of any size."""


def probe_file(kernels: Sequence[Floats], biases: Sequence[Floats], side: int) -> bytes:
    """Convolutions with ReLU and a mean over all pixels: logits[N, O] of x[N, side, side, I], as float32.

    Each kernel[O, height, width, I] has the size of the next one's input; pictures are padded to stay as large.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    file = _Graph(schema)
    place = file.tensor("x", (1, side, side, kernels[0].shape[-1]))
    for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        weights = [file.tensor(f"{name}{number}", value.shape, value) for name, value in (("w", kernel), ("b", bias))]
        given, place = place, file.tensor(f"y{number}", (1, side, side, len(kernel)))
        file.operator("CONV_2D", [given, *weights], place, _convolution(schema))
    axes = np.asarray([1, 2], np.int32)
    inputs = [place, file.tensor("axes", axes.shape, axes)]
    file.operator("MEAN", inputs, file.tensor("logits", (1, len(kernels[-1]))), schema.ReducerOptionsT())
    builder = flatbuffers.Builder(0)
    builder.Finish(file.model().Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _convolution(schema: Any) -> Any:
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return options


class _Graph:
    """What the schema calls a subgraph, grown tensor by tensor; the first is its input, the last its output."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[str] = []
        self._buffers = [schema.BufferT()]

    def tensor(self, name: str, shape: tuple[int, ...], values: npt.NDArray[Any] | None = None) -> int:
        """A new one, a constant where it has values, by its number."""
        tensor, buffer = self._schema.TensorT(), self._schema.BufferT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), len(self._buffers)
        is_whole = values is not None and values.dtype == np.int32
        tensor.type = self._schema.TensorType.INT32 if is_whole else self._schema.TensorType.FLOAT32
        if values is None:
            tensor.shapeSignature = [_OPEN, *shape[1:]]
        else:
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def operator(self, kind: str, inputs: list[int], output: int, options: Any) -> None:
        """A new step."""
        operator = self._schema.OperatorT()
        self._codes += [] if kind in self._codes else [kind]
        operator.opcodeIndex, operator.inputs, operator.outputs = self._codes.index(kind), inputs, [output]
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(operator)

    def model(self) -> Any:
        """The file as the schema's object."""
        graph, model = self._schema.SubGraphT(), self._schema.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [0], [len(self._tensors) - 1]
        model.version, model.subgraphs, model.buffers = _VERSION, [graph], self._buffers
        model.operatorCodes = [self._code(kind) for kind in self._codes]
        return model

    def _code(self, kind: str) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self._schema.BuiltinOperator, kind)
        code.version = 1
        return code
