"""Files written anew answer as before, and are what readers ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from core.tflite_rewriting import INPUT, OUTPUT, SIGNATURE, for_any_batch, named_by_operator, plain_form

DATA = Path(__file__).parents[1] / "runtimes" / "data"
POOLED = (DATA / "pooled.tflite").read_bytes()
EXPECTED = np.load(DATA / "tflite.npz")
IMAGES = EXPECTED["images"]


def answers(content: bytes, images: np.ndarray) -> np.ndarray:
    """All at once, where the file takes them."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    given, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(given, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given, images)
    interpreter.invoke()
    return interpreter.get_tensor(answer)


def tables(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def packed(model: Any) -> bytes:
    """As the schema's own writer does it."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_weights_outside() -> bytes:
    """As LiteRT's quantizer writes: weights behind the tables, numbers of operators in the new field only."""
    model, behind = tables(POOLED), b""
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data) > 64:
            buffer.size, buffer.offset = len(buffer.data), 1_000_000 + len(behind)
            behind += buffer.data.tobytes() + bytes(-len(buffer.data) % 16)
            buffer.data = None
    for code in model.operatorCodes:
        code.deprecatedBuiltinCode = 0
    content = packed(model)
    return content + bytes(1_000_000 - len(content)) + behind


def test_weights_behind_the_tables_come_inside_and_openvino_opens_the_file(tmp_path: Path) -> None:
    outside = with_weights_outside()
    assert np.allclose(answers(outside, IMAGES[:1]), EXPECTED["pooled"][:1], atol=1e-4)
    plain = plain_form(outside)
    assert len(plain) < 20_000
    assert np.array_equal(answers(plain, IMAGES[:1]), answers(outside, IMAGES[:1]))
    (tmp_path / "plain.tflite").write_bytes(plain)
    compiled = openvino.Core().compile_model(tmp_path / "plain.tflite", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.allclose(compiled(IMAGES[:1])[0], EXPECTED["pooled"][:1], atol=1e-4)


def test_the_plain_form_has_one_signature_names_apart_and_aligned_weights() -> None:
    model = tables(POOLED)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = "same"
    plain = plain_form(packed(model))
    runner = Interpreter(model_content=plain).get_signature_list()
    assert runner == {SIGNATURE: {"inputs": [INPUT], "outputs": [OUTPUT]}}
    names = [tensor.name for tensor in tables(plain).subgraphs[0].tensors]
    assert len(set(names)) == len(names) > 5
    whole, read = np.frombuffer(plain, np.uint8), schema.Model.GetRootAs(plain)
    buffers = [read.Buffers(place) for place in range(read.BuffersLength())]
    places = [each.DataAsNumpy().ctypes.data - whole.ctypes.data for each in buffers if each.DataLength()]
    assert len(places) > 4
    assert not any(place % 16 for place in places)


def test_writing_anew_changes_nothing_the_second_time() -> None:
    once = plain_form(POOLED)
    assert plain_form(once) == once


def test_tensors_are_called_after_operators() -> None:
    named = named_by_operator(plain_form(POOLED))
    names = [tensor.name.decode() for tensor in tables(named).subgraphs[0].tensors]
    assert {INPUT, OUTPUT, "conv_2d_0", "conv_2d_0/1", "conv_2d_0/2"} <= set(names)
    assert len(set(names)) == len(names)
    assert np.array_equal(answers(named, IMAGES[:1]), answers(POOLED, IMAGES[:1]))


def made_for(batch: int, content: bytes) -> bytes:
    """The file as if it had been converted for that batch: a one in front of every shape becomes it."""
    model = tables(plain_form(content))
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        if model.buffers[tensor.buffer].data is None and tensor.shape[0] == 1:
            tensor.shape = np.array([batch, *tensor.shape[1:]], np.int32)
    reshape = schema.BuiltinOperator.RESHAPE
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == reshape:
            sizes = [batch, *graph.tensors[operator.outputs[0]].shape[1:]]
            buffer = model.buffers[graph.tensors[operator.inputs[1]].buffer]
            buffer.data = np.frombuffer(np.array(sizes, np.int32).tobytes(), np.uint8)
    return packed(model)


@pytest.mark.parametrize("name", ["pooled", "flattened"])
def test_a_file_for_one_batch_comes_to_take_any(name: str, tmp_path: Path) -> None:
    content = for_any_batch(made_for(101, (DATA / f"{name}.tflite").read_bytes()), made_for=101)
    for batch in (1, 2, 7):
        assert np.allclose(answers(content, IMAGES[:batch]), EXPECTED[name][:batch], atol=1e-4)
    assert Interpreter(model_content=content).get_input_details()[0]["shape_signature"].tolist() == [-1, 12, 10, 3]
    (tmp_path / "any.tflite").write_bytes(content)
    compiled = openvino.Core().compile_model(tmp_path / "any.tflite", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.allclose(compiled(IMAGES)[0], EXPECTED[name], atol=1e-4)
