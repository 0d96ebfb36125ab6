"""A `.tflite` file looked at piece by piece, before all of it is read: nothing in it may be longer than the file bears.

A vector of the format is an offset and a length, and many may lie at one place: a small file can claim any size.
Imports LiteRT's reader of the format inside its functions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.errors import Refused
from intake.limits import LIMITS
from intake.parsing.tflite_operators import REASONS, SETTINGS
from intake.parsing.untrusted import shown

MOST_CODES, MOST_BUFFERS, MOST_LINKS = 1_000, 50_000, 500_000
MOST_AXES, LONGEST_NAME, MOST_OUTPUTS = 8, 1_000, 16
DAMAGED = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, KeyError)
"""What reading a damaged file of the format raises."""
EXPECTED = "a .tflite file with one network of LiteRT's own operators, as TFLiteConverter writes it"
_BLOCK = "quantized in blocks, or in a way of its own"


def scanned(content: bytes) -> Any:
    """The file's model, nothing of which is read yet; its parts are as many and as large as they may be.

    Raises `Refused`.
    """
    from ai_edge_litert.schema_py_generated import Model

    if content[4:8] != b"TFL3":
        raise Refused("Not a .tflite file, which has TFL3 in its bytes 5 to 8", expected=EXPECTED)
    with in_words():
        model = Model.GetRootAs(content, 0)
        _check_whole(model)
        _check_buffers(model, len(content))
        _check_operators(model)
        _check_tensors(model.Subgraphs(0))
    return model


@contextmanager
def in_words() -> Iterator[None]:
    """Turns what a damaged file raises into a sentence."""
    try:
        yield
    except DAMAGED as error:
        raise Refused(
            f"A damaged .tflite file ({shown(str(error)) or type(error).__name__})",
            expected=EXPECTED,
            action="Copy the file again, or convert the network again",
        ) from None


def refused(what: str, action: str = "Convert the network again, for images of one size") -> Refused:
    """The error to raise."""
    return Refused(what, expected=EXPECTED, action=action)


def _check_whole(model: Any) -> None:
    if model.SubgraphsLength() != 1:
        raise refused(f"It has {model.SubgraphsLength():,} graphs", "Convert the network without loops and branches")
    if model.ExternalBuffersLength() or model.ExternalBufferGroupsLength():
        raise refused("Its weights lie in other files", "Bring a file that holds its weights")
    graph = model.Subgraphs(0)
    for what, count, most in (
        ("kinds of operators", model.OperatorCodesLength(), MOST_CODES),
        ("buffers", model.BuffersLength(), MOST_BUFFERS),
        ("tensors", graph.TensorsLength(), LIMITS.tensors),
        ("operators", graph.OperatorsLength(), LIMITS.graph_nodes),
        ("inputs", graph.InputsLength(), 1),
        ("outputs", graph.OutputsLength(), MOST_OUTPUTS),
    ):
        if count > most:
            expected = "one image in, and one row of scores out" if most <= MOST_OUTPUTS else f"at most {most:,}"
            raise Refused(f"It has {count:,} {what}", expected=expected, action="Convert the part that classifies")
    if not (graph.InputsLength() and graph.OutputsLength() and graph.OperatorsLength()):
        raise refused("It has no input, no output or no operators")


def _check_buffers(model: Any, size: int) -> None:
    total = 0
    for place in range(model.BuffersLength()):
        buffer = model.Buffers(place)
        outside = buffer.Size() if buffer.Offset() > 1 else 0  # behind the tables, as LiteRT's quantizer has them
        if outside + (buffer.Offset() if buffer.Offset() > 1 else 0) > size:
            raise refused(f"Buffer {place} lies behind the end of the file", "Copy the file again")
        total += buffer.DataLength() + outside
    if total > size:
        raise refused(f"Its buffers claim {total:,} bytes, more than the file has ({size:,})")


def _check_operators(model: Any) -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator, BuiltinOptions

    names = {number: name for name, number in vars(BuiltinOperator).items() if isinstance(number, int)}
    kinds = {number: name for name, number in vars(BuiltinOptions).items() if isinstance(number, int)}
    codes = [_name(model.OperatorCodes(place), names) for place in range(model.OperatorCodesLength())]
    links = 0
    graph = model.Subgraphs(0)
    for place in range(graph.OperatorsLength()):
        operator = graph.Operators(place)
        if operator.OpcodeIndex() >= len(codes):
            raise refused(f"Operator {place} is of kind {operator.OpcodeIndex():,} of {len(codes)}")
        name = codes[operator.OpcodeIndex()]
        if name not in SETTINGS:
            raise _foreign(name, model.OperatorCodes(operator.OpcodeIndex()))
        kind = kinds.get(operator.BuiltinOptionsType(), "")
        if kind not in ("NONE", SETTINGS[name]) and SETTINGS[name]:
            raise refused(f"Operator {place}, {name}, has the settings of another kind ({kind or 'unknown'})")
        if operator.BuiltinOptions2Type() or operator.CustomOptionsLength() or operator.IntermediatesLength():
            raise refused(f"Operator {place}, {name}, has settings that belong to others")
        if operator.LargeCustomOptionsSize() or operator.MutatingVariableInputsLength():
            raise refused(f"Operator {place}, {name}, has settings that belong to others")
        links += operator.InputsLength() + operator.OutputsLength()
        if links > MOST_LINKS:
            raise refused(f"Its operators have more than {MOST_LINKS:,} inputs and outputs")


def _name(code: Any, names: dict[int, str]) -> str:
    number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
    return names.get(number, f"number {number}")


def _foreign(name: str, code: Any) -> Refused:
    own = (code.CustomCode() or b"").decode("utf-8", "replace") if name == "CUSTOM" else ""
    if own.startswith("Flex"):
        why = f"It has the operator {shown(own)}, which only TensorFlow itself can compute"
        return refused(why, "Convert it with the built-in operators alone")
    why = REASONS.get(name, "is not on the list of what classifiers of images are made of")
    action = "Convert the network without it"
    if "VARIABLE" in name or name == "VAR_HANDLE":
        action = "Convert the Keras model itself with TFLiteConverter.from_keras_model: its weights become constants"
    return refused(f"It has the operator {shown(own) or name}, which {why}", action)


def _check_tensors(graph: Any) -> None:
    values = 0
    for place in range(graph.TensorsLength()):
        tensor = graph.Tensors(place)
        if tensor.IsVariable() or tensor.VariantTensorsLength():
            raise refused(f"Tensor {place} keeps something from one image to the next")
        if tensor.Sparsity() is not None:
            raise refused(f"Tensor {place} is stored as a sparse one", "Convert it without that")
        if max(tensor.ShapeLength(), tensor.ShapeSignatureLength()) > MOST_AXES:
            raise refused(f"Tensor {place} has {tensor.ShapeLength():,} axes")
        if len(tensor.Name() or b"") > LONGEST_NAME or tensor.ExternalBuffer():
            raise refused(f"Tensor {place} has a name without an end, or lies in another file")
        if (grid := tensor.Quantization()) is not None:
            if grid.DetailsType():
                raise refused(f"Tensor {place} is {_BLOCK}", "Quantize it per tensor or per channel")
            values += grid.ScaleLength() + grid.ZeroPointLength() + grid.MinLength() + grid.MaxLength()
    if values > LIMITS.classes * 100:
        raise refused(f"Its grids have {values:,} numbers")
