"""LiteRT's own profiler, read operator by operator, in a process of its own (`core.litert_profiler`).

What a layer multiplies comes from the file. XNNPACK makes operators of its own out of those of the file: products and
what else keeps its kind are told apart by their order within that kind, where there are as many of them on both sides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.data import Inputs
from core.errors import Unavailable
from core.layers import Layer, LayerKind, LayerProfile
from core.litert_profiler import KERNELS, Request, Row, Window
from core.tflite_ends import Ends, Kernels, interpreter_of
from core.tflite_file import WEIGHT, Operator, TfliteFile
from core.tflite_macs import COUNTED, Shape, Shapes, macs_of
from core.tflite_names import layer_of

_ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 120
"""After which the profiler is ended: it takes some two seconds, and of slow networks eight calls."""
_KINDS = {
    "Convolution": ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    "Fully Connected": ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    "Deconvolution": ("TRANSPOSE_CONV",),
    "Batch Matrix Multiply": ("BATCH_MATMUL",),
    "Max Pooling": ("MAX_POOL_2D",),
    "Average Pooling": ("AVERAGE_POOL_2D",),
    "Softmax": ("SOFTMAX",),
    "Add": ("ADD",),
    "Mean": ("MEAN",),
}
"""By how XNNPACK's name for it begins, the operators of a file that may be behind it; 1x1 convolutions are products."""
_PRODUCTS = ("Convolution", "Fully Connected", "Deconvolution", "Batch Matrix Multiply")
_CONVERSIONS = ("Convert", "Transpose", "Copy", "QUANTIZE", "DEQUANTIZE", "CAST", "TRANSPOSE")
_INTEGERS = ("QC8", "QS8", "QU8", "QD8", "QDU8", "QB4", "QP8")
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8", "int16": "int16"}
_BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "uint8": 1.0, "int16": 2.0, "int32": 4.0, "int4": 0.5}


def profile_litert(file: Path, kernels: Kernels, *, threads: int, x: Inputs) -> LayerProfile:
    """Each operator's mean over the calmest of three windows of calls on x[N, C, H, W].

    Raises `Unavailable` for the reference kernels, and where the library does not answer as it does in the version
    that the studio is tested with.
    """
    if kernels not in KERNELS:
        raise Unavailable("LiteRT's profiler does not reach its reference kernels", action="Choose other kernels")
    content = file.read_bytes()
    window, shapes = _profiled(file, content, kernels, threads, x)
    layers = tuple(each for each in _layers(window.rows, TfliteFile(content), shapes) if each.time_ms or each.macs)
    return LayerProfile(
        batch_size=len(x), calls=window.calls, call_ms=window.call_ms, layers=layers, resolution_ms=0.001
    )


def _profiled(file: Path, content: bytes, kernels: Kernels, threads: int, x: Inputs) -> tuple[Window, Shapes]:
    """What the profiler tells, and the shape of each tensor when x passes."""
    ends = Ends.of(content)
    if ends.fixed_batch not in (0, len(x)):
        raise Unavailable(
            f"{len(x)} images at once for a .tflite file that takes {ends.fixed_batch}",
            action=f"Choose {ends.fixed_batch} as the batch size",
        )
    given = ends.arranged(x)
    made_for, found = _shapes(content, ends, given)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        np.save(images, given)
        request = Request(
            str(file.resolve()), str(images), made_for != given.shape, found[ends.answer.index],
            np.dtype(ends.answer.dtype).name, threads, kernels,
        )  # fmt: skip
        return _asked(request, Path(folder)), found.__getitem__


def _shapes(content: bytes, ends: Ends, given: Any) -> tuple[Shape, dict[int, Shape]]:
    """The sides of the input that the file was made for, and of every tensor when `given` passes."""
    interpreter = interpreter_of(content, "own", experimental_preserve_all_tensors=True)
    made_for = tuple(map(int, interpreter.get_input_details()[0]["shape"]))
    try:
        interpreter.resize_tensor_input(ends.given.index, given.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(ends.given.index, given)
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise Unavailable(
            f"LiteRT's own kernels, which tell how large each result is, refuse the file: {error}"
        ) from error
    return made_for, {each["index"]: tuple(map(int, each["shape"])) for each in interpreter.get_tensor_details()}


def _asked(request: Request, folder: Path) -> Window:
    asks, answers = folder / "request.json", folder / "answer.json"
    asks.write_text(json.dumps(vars(request)))
    command = [sys.executable, "-m", "core.litert_profiler", str(asks), str(answers)]
    try:
        subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"LiteRT's profiler had not answered after {_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"LiteRT's profiler ended with the code {error.returncode}") from None
    told = json.loads(answers.read_text())
    if reason := told.get("refused"):
        raise Unavailable(f"LiteRT's profiler refused: {reason}")
    return Window(told["calls"], told["call_ms"], [Row(**row) for row in told["rows"]])


def _layers(rows: Sequence[Row], file: TfliteFile, shapes: Shapes) -> Iterator[Layer]:
    behind = _behind(rows, file)
    for place, row in enumerate(rows):
        operator = behind.get(place)
        yield (
            _of_operator(row, operator, file, shapes)
            if operator
            else Layer(
                name=row.type, op=row.type, kind=_kind(row), time_ms=row.time_us / 1000, precision=_precision(row)
            )
        )


def _behind(rows: Sequence[Row], file: TfliteFile) -> dict[int, Operator]:
    """The operator of the file that each row executed, by the row's place, as far as that can be told."""
    own = {place: row.place for place, row in enumerate(rows) if not row.is_delegated}
    if any(number >= len(file.operators) for number in own.values()):
        raise Unavailable("LiteRT's profiler tells of operators that the file does not have")
    delegated = _in_order(file, {*range(len(file.operators))} - {*own.values()})
    left: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        kinds = next((kinds for start, kinds in _KINDS.items() if row.type.startswith(f"{start} (")), ())
        if row.is_delegated and kinds:
            left[kinds].append(place)
    found = {place: file.operators[number] for place, number in own.items()}
    for kinds, places in left.items():
        operators = [each for each in delegated if each.name in kinds]
        if len(operators) == len(places):
            found |= dict(zip(places, operators, strict=True))
    return found


def _in_order(file: TfliteFile, delegated: set[int]) -> list[Operator]:
    """The delegated operators as they are executed.

    LiteRT cuts the graph into parts, delegated or not. Each takes, in the order of the file, every operator of its side
    whose inputs are there. Source: `PartitionGraphIntoIndependentNodeSubsets` in tflite/graph_info.cc.
    """
    missing = {index for operator in file.operators for index in operator.outputs}
    waiting, order = list(range(len(file.operators))), list[int]()

    def is_ready(number: int) -> bool:
        return missing.isdisjoint(file.operators[number].inputs)

    while first := [number for number in waiting if is_ready(number)][:1]:
        for number in tuple(waiting):
            if is_ready(number) and (number in delegated) == (first[0] in delegated):
                waiting.remove(number)
                order.append(number)
                missing.difference_update(file.operators[number].outputs)
    return [file.operators[number] for number in order if number in delegated]


def _of_operator(row: Row, operator: Operator, file: TfliteFile, shapes: Shapes) -> Layer:
    weight = _weight(operator, file)
    given = [index for index in operator.inputs if index >= 0 and file.values(index) is None]
    return Layer(
        name=_name(file.name(operator.outputs[0] if weight is None else weight)),
        op=row.type,
        kind=_kind(row),
        time_ms=row.time_us / 1000,
        precision=_precision(row) if row.is_delegated else _precision_in(file, operator, weight),
        macs=macs_of(operator, shapes),
        weight_bytes=0 if weight is None else _bytes([weight], file, shapes),
        input_bytes=_bytes(given, file, shapes),
        output_bytes=_bytes(operator.outputs, file, shapes),
        output_shape=shapes(operator.outputs[0]),
        **_channels(operator, weight, shapes),
    )


def _name(tensor: str) -> str:
    return layer_of(tensor) or tensor


def _weight(operator: Operator, file: TfliteFile) -> int | None:
    """The constant that it multiplies by; None for what has no weights."""
    return (
        next((index for each, index in file.weights() if each is operator), None) if operator.name in WEIGHT else None
    )


def _channels(operator: Operator, weight: int | None, shapes: Shapes) -> Mapping[str, Any]:
    """`channels` and `groups` of a layer with weights."""
    if weight is None:
        return {}
    inputs = shapes(operator.inputs[2 if operator.name == "TRANSPOSE_CONV" else 0])[-1]
    outputs = shapes(operator.outputs[0])[-1]
    groups = inputs // max(1, shapes(weight)[-1]) if operator.name == "CONV_2D" else 1
    return {"channels": (inputs, outputs), "groups": inputs if operator.name == "DEPTHWISE_CONV_2D" else groups}


def _kind(row: Row) -> LayerKind:
    if row.type.startswith(_PRODUCTS) or row.type in COUNTED:
        return "compute"
    return "conversion" if row.type.startswith(_CONVERSIONS) else "other"


def _precision(row: Row) -> str:
    """By the formats that XNNPACK names: of activations first, of weights last, `QD8, F32, QC4W`."""
    formats = row.type.partition("(")[2].rpartition(")")[0].split(", ")[1:]
    if any(each.startswith(_INTEGERS) for each in formats[:1]):
        return "int8"
    weights = {"QC8W": "w8", "QC4W": "w4"}
    return "fp16" if "F16" in formats else next((weights[each] for each in formats if each in weights), "fp32")


def _precision_in(file: TfliteFile, operator: Operator, weight: int | None) -> str:
    """By the types in the file; floats times integers are multiplied as integers by its own kernels."""
    given = file.dtype(operator.inputs[0]) if operator.inputs else file.dtype(operator.outputs[0])
    if given == "float32" and weight is not None and file.dtype(weight) in ("int8", "int4"):
        return "int8"
    return _PRECISIONS.get(given, given)


def _bytes(indices: Sequence[int], file: TfliteFile, shapes: Shapes) -> int:
    return int(sum(np.prod(shapes(index)) * _BYTES.get(file.dtype(index), 4.0) for index in indices))
