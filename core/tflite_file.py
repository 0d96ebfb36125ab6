"""What a `.tflite` file holds and computes, read from its tables. Imports LiteRT's schema inside functions.

Source: the schema, https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from core.bundle import KerasModel, Network, Precision, TfliteModel

WEIGHT = {
    "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1, "CONV_3D": 1, "FULLY_CONNECTED": 1, "BATCH_MATMUL": 1,
    "EMBEDDING_LOOKUP": 1, "GATHER": 0,
}  # fmt: skip
"""Which input of an operator holds its weights, where they are constant."""
_BITS = {"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "int64": 64, "int32": 32, "int16": 16, "int8": 8,
         "uint8": 8, "int4": 4, "uint4": 4, "int2": 2}  # fmt: skip
_FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
_READ_AS = {"bfloat16": "uint16", "int4": "uint8", "uint4": "uint8", "int2": "uint8"}
"""Types that numpy lacks: as whole numbers, packed where they are smaller than a byte."""
_KEPT_ONLY: dict[int, Precision] = {16: "w16", 8: "w8", 4: "w4", 2: "w4"}
"""By bits of a weight: what a file is whose activations are floats all the way."""
_OUTSIDE = 1
"""An offset above it says that a buffer lies behind the tables."""
_UNKNOWN = -1


class TfliteWeights(BaseModel):
    """One tensor that an operator multiplies its input with, or looks rows up in."""

    model_config = ConfigDict(frozen=True)

    name: str
    operator: str
    """The operator that uses it: `CONV_2D`."""
    shape: tuple[int, ...]
    dtype: str
    """As numpy calls it, or `bfloat16`, `int4`, `int2`."""
    bits: int
    """Of one number."""
    count: int
    zeros: int
    """Numbers that stand for 0: the zero point, where they are quantized."""
    distinct: int
    """Different numbers in it, as they are stored: at most 256 in 8 bits."""


class TfliteFacts(BaseModel):
    """What a `.tflite` file is made of."""

    model_config = ConfigDict(frozen=True)

    operators: dict[str, int]
    """How many there are of each, in the order in which each first comes."""
    parameter_count: int
    """What is learned, biases included; scales, zero points, single numbers and what decides shapes left out."""
    nonzero_count: int
    macs: int
    """Multiply-accumulates of one image in convolutions and matrix products."""
    weights: tuple[TfliteWeights, ...]
    """In the order in which they are used; biases are not among them."""
    input_type: str
    """Of the numbers that it takes: `float32`, `int8`."""
    output_type: str


def facts_of(content: bytes) -> TfliteFacts:
    """The facts of a file, which has to be a good one: nothing is checked. Raises `IndexError` and others if it is not.

    Only its first graph counts: what loops and branches call is left out.
    """
    from core.tflite_macs import macs_of_file

    file = TfliteFile(content)
    parameters = dict(file.parameters())
    zeros = {index: _zeros(file, index, values) for index, values in parameters.items()}
    count = sum(math.prod(file.shape(index)) for index in parameters)
    used = {index: operator for operator, index in file.weights()}
    return TfliteFacts(
        operators=dict(Counter(operator.name for operator in file.operators)),
        parameter_count=count,
        nonzero_count=count - sum(zeros.values()),
        macs=macs_of_file(content),
        weights=tuple(
            _weights(file, index, used[index], values, zeros[index])
            for index, values in parameters.items()
            if index in used
        ),
        input_type=file.dtype(file.input),
        output_type=file.dtype(file.output),
    )


def parameters_of_file(content: bytes) -> tuple[int, int]:
    """What is learned, and how much of it is not zero, as `TfliteFacts` has both."""
    file = TfliteFile(content)
    count = zeros = 0
    for index, values in file.parameters():
        count += math.prod(file.shape(index))
        zeros += _zeros(file, index, values)
    return count, count - zeros


def tflite_of(network: Network) -> bytes | None:
    """The `.tflite` file of a network that has one: of Keras its conversion; None for any other."""
    if isinstance(network, KerasModel):
        return network.tflite
    return network.content if isinstance(network, TfliteModel) else None


def precision_of_file(content: bytes) -> Precision:
    """In what a file computes: `int8` or `int16` where activations are such integers, else by what weights are kept in.

    LiteRT's dynamic quantization, floats in the file and integers in the multiplication, counts as `int8`: weights in
    8 bits that no DEQUANTIZE widens. Where operators differ, most weights decide.
    """
    file = TfliteFile(content)
    counts: Counter[Precision] = Counter()
    for operator, index in file.weights():
        counts[_precision(file, operator, index)] += math.prod(file.shape(index))
    return counts.most_common(1)[0][0] if counts else "fp32"


@dataclass(frozen=True)
class Operator:
    """One step of the graph."""

    name: str
    """As the schema calls it: `CONV_2D`; a custom one by its own name."""
    inputs: tuple[int, ...]
    """Indices of tensors; -1 for one that is left out."""
    outputs: tuple[int, ...]
    options: Any
    """The schema's object of its options, or None."""


class TfliteFile:
    """The first graph of a file, by indices of tensors."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._content = content
        self._model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        self._graph = self._model.subgraphs[0]
        self._types = _names(schema.TensorType)

    @property
    def input(self) -> int:
        """The first tensor that it takes."""
        return int(self._graph.inputs[0])

    @property
    def output(self) -> int:
        """The first tensor that it gives."""
        return int(self._graph.outputs[0])

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """In the order of execution."""
        from ai_edge_litert import schema_py_generated as schema

        names = _names(schema.BuiltinOperator)
        codes = [_called(code, names) for code in self._model.operatorCodes]
        return tuple(
            Operator(codes[each.opcodeIndex], _indices(each.inputs), _indices(each.outputs), each.builtinOptions)
            for each in self._graph.operators
        )

    def name(self, index: int) -> str:
        """Of a tensor."""
        name = self._graph.tensors[index].name
        return name.decode(errors="replace") if isinstance(name, bytes) else name or ""

    def index_of(self, name: str) -> int:
        """The first tensor of that name. Raises `ValueError` where there is none."""
        return [self.name(index) for index in range(len(self._graph.tensors))].index(name)

    def dtype(self, index: int) -> str:
        """Of a tensor, in small letters: `float32`, `int4`."""
        return self._types[self._graph.tensors[index].type].lower()

    def shape(self, index: int) -> tuple[int, ...]:
        """Of a tensor, with 1 for a batch that is open."""
        return _indices(self._graph.tensors[index].shape)

    def is_open(self, index: int) -> bool:
        """Whether a side of the tensor other than its first is only known when it runs."""
        return _UNKNOWN in _indices(self._graph.tensors[index].shapeSignature)[1:]

    def is_quantized(self, index: int) -> bool:
        """Whether a tensor holds integers that stand for other numbers."""
        is_scaled = _length(self._quantization(index, "scale")) or self._quantization(index, "details") is not None
        return self.dtype(index) not in _FLOATS and bool(is_scaled)

    def zero_points(self, index: int) -> tuple[int, ...]:
        """Of a quantized tensor: one, or one for each of its channels; (0,) where none is given."""
        return _indices(self._quantization(index, "zeroPoint")) or (0,)

    def values(self, index: int) -> npt.NDArray[Any] | None:
        """What is stored of a constant, flat; None for a tensor that is computed. bfloat16 is given as its bits."""
        tensor = self._graph.tensors[index]
        buffer = self._model.buffers[tensor.buffer]
        data = buffer.data
        if buffer.offset > _OUTSIDE:
            data = np.frombuffer(self._content, np.uint8, buffer.size, buffer.offset)
        if not _length(data):
            return None
        dtype = self.dtype(index)
        if dtype not in _BITS:
            return None
        stored = np.asarray(data, np.uint8).view(_READ_AS.get(dtype, dtype))
        return _unpacked(stored, dtype, math.prod(self.shape(index))) if _BITS[dtype] < 8 else stored

    def weights(self) -> Iterator[tuple[Operator, int]]:
        """Each operator with constant weights and their tensor; the float16 one behind a DEQUANTIZE."""
        widened = {each.outputs[0]: each.inputs[0] for each in self.operators if each.name == "DEQUANTIZE"}
        for operator in self.operators:
            place = WEIGHT.get(operator.name)
            if place is None:
                continue
            index = widened.get(operator.inputs[place], operator.inputs[place])
            if self._is_parameter(index):
                yield operator, index

    def parameters(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Each tensor that is learned, with its values, once: floats, and integers that stand for floats."""
        seen: set[int] = set()
        for index in (index for operator in self.operators for index in operator.inputs):
            if index < 0 or self._graph.tensors[index].buffer in seen or not self._is_parameter(index):
                continue
            seen.add(self._graph.tensors[index].buffer)
            values = self.values(index)
            assert values is not None, "parameters are constants"
            yield index, values

    def _is_parameter(self, index: int) -> bool:
        is_number = self.dtype(index) in _FLOATS or self.is_quantized(index)
        return is_number and bool(self.shape(index)) and self.values(index) is not None

    def _quantization(self, index: int, field: str) -> Any:
        return getattr(self._graph.tensors[index].quantization, field, None)


def _weights(file: TfliteFile, index: int, operator: Operator, values: npt.NDArray[Any], zeros: int) -> TfliteWeights:
    dtype = file.dtype(index)
    return TfliteWeights(
        name=file.name(index),
        operator=operator.name,
        shape=file.shape(index),
        dtype=dtype,
        bits=_BITS[dtype],
        count=math.prod(file.shape(index)),
        zeros=zeros,
        distinct=len(np.unique(values)),
    )


def _zeros(file: TfliteFile, index: int, values: npt.NDArray[Any]) -> int:
    """Of a tensor that is stored sparsely, what is not stored counts."""
    if file.dtype(index) == "bfloat16":
        values = values & 0x7FFF  # without the sign
    zero = file.zero_points(index) if file.is_quantized(index) else (0,)
    # Zero points of channels are zero without exception: LiteRT's kernels take no others.
    return math.prod(file.shape(index)) - int(np.count_nonzero(values != zero[0]))


def _precision(file: TfliteFile, operator: Operator, index: int) -> Precision:
    place = 0 if WEIGHT[operator.name] else 1
    given = file.dtype(operator.inputs[2 if operator.name == "TRANSPOSE_CONV" else place])
    bits = _BITS[file.dtype(index)]
    if given in ("int8", "uint8", "int16") and operator.name != "GATHER":
        return "int16" if given == "int16" else "int8"
    is_widened = index not in operator.inputs
    if bits == 8 and not is_widened and operator.name != "GATHER":
        return "int8"
    return _KEPT_ONLY.get(bits, "fp32")


def _unpacked(stored: npt.NDArray[Any], dtype: str, count: int) -> npt.NDArray[Any]:
    """Numbers of less than a byte, the first of each byte in its lowest bits."""
    bits = _BITS[dtype]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers: npt.NDArray[Any] = ((stored[:, None] >> shifts) & (2**bits - 1)).reshape(-1)[:count].astype(np.int8)
    if not dtype.startswith("u"):
        numbers[numbers >= 2 ** (bits - 1)] -= 2**bits
    return numbers


def _called(code: Any, names: Mapping[int, str]) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if names.get(number) == "CUSTOM" and code.customCode:
        return code.customCode.decode(errors="replace") if isinstance(code.customCode, bytes) else code.customCode
    return names.get(number, f"OPERATOR_{number}")


def _names(numbers: type) -> dict[int, str]:
    return {value: name for name, value in vars(numbers).items() if isinstance(value, int)}


def _indices(given: Any) -> tuple[int, ...]:
    return tuple(int(each) for each in given) if _length(given) else ()


def _length(given: Any) -> int:
    """The schema leaves out empty vectors: None, or 0 in some versions."""
    return 0 if given is None or isinstance(given, int) else len(given)
