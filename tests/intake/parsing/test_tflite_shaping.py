"""Networks with other ends than images in and a row of scores out, against what their weights say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from core.data import Floats
from core.errors import Refused
from intake.items import TFLITE_FILE, TfliteFile
from intake.parsing.tflite_trial import Trial
from intake.preprocessing import of_tflite
from tests.core.tflite_graphs import Op, Tensor, constant, dense, file_of
from tests.hostile.tflites import packed, plain, read
from tests.intake.parsing.test_tflite import parsed

RANDOM = np.random.default_rng(0)
W, B = RANDOM.normal(size=(3, 64)).astype(np.float32), RANDOM.normal(size=3).astype(np.float32)
ONE = W[:1], B[:1]
X = RANDOM.random((5, 8, 8, 1)).astype(np.float32)
SCORES = X.reshape(5, 64) @ W.T + B


def brought(folder: Path, content: bytes, x: Floats = X) -> tuple[TfliteFile, Floats]:
    """The facts of a file, and what the one that is kept answers to several images at once."""
    item = parsed(plain(folder, content), folder / "out")
    kept = Trial((folder / "out" / TFLITE_FILE).read_bytes())
    return item, kept.answers(x, together=not item.largest_batch)


def behind(content: bytes, *operators: Op, tensors: list[Tensor], answer: str) -> bytes:
    """The file with operators behind its output `y`."""
    kinds = file_of([Tensor("y", (1, 3)), *tensors], list(operators), "y", answer)
    model, other = read(content), read(kinds)
    graph, more = model.subgraphs[0], other.subgraphs[0]
    tensor_at, buffer_at, code_at = len(graph.tensors) - 1, len(model.buffers) - 1, len(model.operatorCodes)
    places = {0: int(graph.outputs[0])} | {place: tensor_at + place for place in range(1, len(more.tensors))}
    for tensor in more.tensors[1:]:
        tensor.buffer += buffer_at
    for operator in more.operators:
        operator.opcodeIndex += code_at
        operator.inputs = [places[int(place)] for place in operator.inputs]
        operator.outputs = [places[int(place)] for place in operator.outputs]
    graph.tensors += more.tensors[1:]
    graph.operators += more.operators
    model.buffers += other.buffers[1:]
    model.operatorCodes += other.operatorCodes
    graph.outputs = [places[int(more.outputs[0])]]
    return packed(model)


def test_rows_of_numbers_are_gray_images(tmp_path: Path) -> None:
    item, found = brought(tmp_path, dense(W, B, shape=(1, 64), x={"signature": (-1, 64)}))
    assert (item.height, item.width, item.channels, item.largest_batch) == (8, 8, 1, 0)
    assert "rows of 64 numbers" in item.warnings[0]
    assert np.allclose(found, SCORES, atol=1e-5)


def test_images_without_a_channel_are_gray(tmp_path: Path) -> None:
    flat = constant("s", np.array([-1, 64], np.int32))
    tensors = [
        Tensor("x", (1, 8, 8)),
        flat,
        Tensor("r", (1, 64)),
        constant("w", W),
        constant("b", B),
        Tensor("y", (1, 3)),
    ]
    operators = [
        Op("RESHAPE", ("x", "s"), "r"),
        Op("FULLY_CONNECTED", ("r", "w", "b"), "y", schema.FullyConnectedOptionsT()),
    ]
    item, found = brought(tmp_path, file_of(tensors, operators, "x", "y"))
    assert (item.height, item.width, item.channels) == (8, 8, 1)
    assert "gray, 8 x 8 pixels" in item.notes[0]
    assert np.allclose(found, SCORES, atol=1e-5)


@pytest.mark.parametrize("numbers", [16, 63, 192])
def test_other_rows_are_no_images(numbers: int, tmp_path: Path) -> None:
    content = dense(np.ones((3, numbers), np.float32), B, shape=(1, numbers))
    with pytest.raises(Refused, match=rf"takes float32 \(1, {numbers}\).*Put a Reshape layer before it"):
        brought(tmp_path, content)


def test_scores_along_one_of_several_axes_become_a_row(tmp_path: Path) -> None:
    sizes = constant("s", np.array([-1, 1, 1, 3], np.int32))
    content = behind(
        dense(W, B), Op("RESHAPE", ("y", "s"), "z"), tensors=[sizes, Tensor("z", (1, 1, 1, 3))], answer="z"
    )
    item, found = brought(tmp_path, content)
    assert item.classes == 3
    assert np.allclose(found, SCORES, atol=1e-5)


@pytest.mark.parametrize("sigmoid", [True, False])
def test_one_score_becomes_two_classes(sigmoid: bool, tmp_path: Path) -> None:
    content = dense(*ONE)
    if sigmoid:
        content = behind(content, Op("LOGISTIC", ("y",), "p"), tensors=[Tensor("p", (1, 1))], answer="p")
    item, found = brought(tmp_path, content)
    assert (item.classes, item.answers, len(item.warnings)) == (2, "logits", 2 - sigmoid)
    assert np.allclose(found, np.stack([np.zeros(5), SCORES[:, 0]], axis=1), atol=1e-5)


def test_of_several_outputs_the_one_with_scores_is_kept(tmp_path: Path) -> None:
    tensors = [Tensor("p", (1, 3)), Tensor("c", (1,), "INT32"), constant("axis", np.array(1, np.int32))]
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT32
    operators = [Op("SOFTMAX", ("y",), "p", _softmax()), Op("ARG_MAX", ("p", "axis"), "c", options)]
    model = read(behind(dense(W, B), *operators, tensors=tensors, answer="c"))
    graph = model.subgraphs[0]
    graph.outputs = [int(graph.outputs[0]), int(graph.operators[-2].outputs[0])]
    item, found = brought(tmp_path, packed(model))
    assert item.operators == {"RESHAPE": 1, "FULLY_CONNECTED": 1}
    assert "Of its 2 outputs" in item.notes[0]
    assert np.allclose(found, SCORES, atol=1e-5)


def test_several_outputs_that_may_be_scores_are_refused(tmp_path: Path) -> None:
    model = read(behind(dense(W, B), Op("RELU", ("y",), "r"), tensors=[Tensor("r", (1, 3))], answer="r"))
    graph = model.subgraphs[0]
    graph.outputs = [int(graph.outputs[0]), int(graph.operators[0].outputs[0])]
    with pytest.raises(Refused, match="2 outputs, of which 2 may be scores"):
        brought(tmp_path, packed(model))


def test_logarithms_of_probabilities_are_logits(tmp_path: Path) -> None:
    op = Op("LOG_SOFTMAX", ("y",), "p", schema.LogSoftmaxOptionsT())
    item, found = brought(tmp_path, behind(dense(W, B), op, tensors=[Tensor("p", (1, 3))], answer="p"))
    assert item.answers == "logits"
    assert np.allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)


def test_a_network_for_images_of_any_size_is_fixed_at_one(tmp_path: Path) -> None:
    """The mean of each channel, whatever the size."""
    tensors = [
        Tensor("x", (1, 1, 1, 3), signature=(-1, -1, -1, 3)),
        constant("axes", np.array([1, 2], np.int32)),
        Tensor("y", (1, 3), signature=(-1, 3)),
    ]
    content = file_of(tensors, [Op("MEAN", ("x", "axes"), "y", schema.ReducerOptionsT())], "x", "y")
    x = RANDOM.random((2, 224, 224, 3)).astype(np.float32)
    item, found = brought(tmp_path, content, x)
    assert (item.height, item.width, item.channels, item.largest_batch) == (224, 224, 3, 0)
    assert "fixed at 224 x 224" in item.notes[0]
    assert np.allclose(found, x.mean(axis=(1, 2)), atol=1e-4)


def test_pixels_that_are_cast_to_floats_pass_as_they_are(tmp_path: Path) -> None:
    sizes = constant("s", np.array([-1, 64], np.int32))
    tensors = [Tensor("x", (1, 8, 8, 1), "UINT8"), Tensor("f", (1, 8, 8, 1)), sizes, Tensor("r", (1, 64))]
    tensors += [constant("w", W), constant("b", B), Tensor("y", (1, 3))]
    operators = [
        Op("CAST", ("x",), "f", _cast()),
        Op("RESHAPE", ("f", "s"), "r"),
        Op("FULLY_CONNECTED", ("r", "w", "b"), "y", schema.FullyConnectedOptionsT()),
    ]
    pixels = RANDOM.integers(0, 256, (5, 8, 8, 1), np.uint8)
    item, found = brought(tmp_path, file_of(tensors, operators, "x", "y"), pixels)  # type: ignore[arg-type]
    wanted = of_tflite(item)
    assert (item.dtype, wanted.mean, wanted.std) == ("uint8", (0.0,), (1.0,))
    assert np.allclose(found, pixels.reshape(5, 64) @ W.T + B, rtol=1e-4, atol=1e-2)


def test_weights_behind_the_tables_are_read(tmp_path: Path) -> None:
    """As LiteRT's quantizer writes them."""
    model = read(dense(W, B))
    stored = [each for each in model.buffers if each.data is not None and len(each.data)]
    values = [bytes(each.data) for each in stored]
    for each in stored:
        each.data, each.offset, each.size = None, 1 << 20, 1 << 20
    start = len(packed(model)) + 16  # numbers of a fixed size: the tables keep theirs
    for each, value in zip(stored, values, strict=True):
        each.offset, each.size = start, len(value)
        start += len(value)
    tables = packed(model)
    content = tables + bytes(stored[0].offset - len(tables)) + b"".join(values)
    _, found = brought(tmp_path, content)
    assert np.allclose(found, SCORES, atol=1e-5)
    with pytest.raises(Refused, match="behind the end of the file"):
        brought(tmp_path, content[:-1])


def test_probabilities_that_are_rounded_to_nothing_are_no_other_answers(tmp_path: Path) -> None:
    """Of a thousand classes in 8 bits: each has less than half a step of 1/256."""
    weights = RANDOM.integers(-127, 128, (1000, 64), np.int8)
    given, made = {"dtype": "INT8", "scale": 1 / 255, "zero_point": -128}, {"dtype": "INT8", "scale": 0.02}
    content = dense(weights, np.zeros(1000, np.int32), x=given, y=made, w={"scale": 1e-4}, b={"scale": 1e-4 / 255})
    tensor = Tensor("p", (1, 1000), "INT8", scale=1 / 256, zero_point=-128)
    content = behind(content, Op("SOFTMAX", ("y",), "p", _softmax()), tensors=[tensor], answer="p")
    x = RANDOM.integers(-128, 128, (5, 8, 8, 1)).astype(np.int8)
    assert not Trial(content).answers(x.reshape(5, 64), together=False).any()
    item, found = brought(tmp_path, content, x)  # type: ignore[arg-type]
    assert (item.dtype, item.classes, item.answers) == ("int8", 1000, "logits")
    scores = (x.reshape(5, 64) + 128.0) / 255 @ (weights.T * 1e-4)
    assert np.abs(found - scores).max() <= 0.011  # half a step of 0.02, and rounding on the way


def _softmax() -> Any:
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return options


def _cast() -> Any:
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
    return options
