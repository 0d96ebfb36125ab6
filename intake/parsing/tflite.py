"""Reads a `.tflite` file: checked before any engine sees it, packed anew, and proved to answer as before.

The format: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import Refused
from core.progress import Progress, Steps
from intake.items import TFLITE_FILE, TfliteFile
from intake.parsing.untrusted import shown

LARGEST_BYTES = 2**31 - 1
_STEPS = ("looking through it", "checking every operator", "packing it anew", "comparing answers")
_IN_8_BITS = ("INT8", "UINT8")


def parse(file: Path, out: Path, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """The facts of a `TfliteFile`, which is written as `TFLITE_FILE` into `out`. Raises `Refused`.

    Options: `name`, what the file is called.
    """
    from intake.parsing import tflite_checks as checks
    from intake.parsing import tflite_ends as ends
    from intake.parsing.tflite_parts import operator_name
    from intake.parsing.tflite_scan import in_words, scanned
    from intake.parsing.tflite_trial import prove

    yield _step(0)
    if (size := file.stat().st_size) > LARGEST_BYTES:
        raise Refused(f"The file has {size:,} bytes", expected=f"at most {LARGEST_BYTES:,}, the most that it allows")
    content = file.read_bytes()
    found = scanned(content)
    yield _step(1)
    with in_words():
        model = _read(found)
        checks.check(model)
        graph = model.subgraphs[0]
        entry, classes = ends.entry_of(graph), ends.classes_of(graph)
        answers, notes = ends.without_softmax(model)
    yield _step(2)
    with in_words():
        written = _packed(model)
    yield _step(3)
    operators = Counter(operator_name(model, each) for each in graph.operators)
    quantized = _is_quantized(model)
    largest = prove(
        content, written, entry, classes, softmax_off=bool(notes) and answers == "logits", quantized=quantized
    )
    (out / TFLITE_FILE).write_bytes(written)
    return TfliteFile(
        name=shown(str(options.get("name") or file.name)),
        size_bytes=size,
        notes=(*notes, *(["It takes one image at a time."] if largest else [])),
        height=entry.height,
        width=entry.width,
        channels=entry.channels,
        layout=entry.layout,
        dtype=entry.dtype,
        scale=entry.scale,
        zero_point=entry.zero_point,
        classes=classes,
        largest_batch=largest,
        operators=dict(operators),
        quantized=quantized,
        answers=answers,
        **_counted(written),
    ).model_dump(mode="json")


def described(content: bytes) -> dict[str, Any]:
    """What a file says of its ends and operators, by the names of `TfliteFile`. Raises `Refused` as `parse` does.

    No engine is asked, and the file runs nowhere.
    """
    from intake.parsing import tflite_checks as checks
    from intake.parsing import tflite_ends as ends
    from intake.parsing.tflite_parts import operator_name
    from intake.parsing.tflite_scan import in_words, scanned

    found = scanned(content)
    with in_words():
        model = _read(found)
        checks.check(model)
        graph = model.subgraphs[0]
        operators = Counter(operator_name(model, each) for each in graph.operators)
        return asdict(ends.entry_of(graph)) | {
            "classes": ends.classes_of(graph),
            "operators": dict(operators),
            "quantized": _is_quantized(model),
        }


def _read(found: Any) -> Any:
    """The parts of the model that are kept: kinds of operators, weights and the one graph."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT.InitFromObj(found.OperatorCodes(place)) for place in range(found.OperatorCodesLength())
        ],
        subgraphs=[schema.SubGraphT.InitFromObj(found.Subgraphs(0))],
        buffers=[schema.BufferT.InitFromObj(found.Buffers(place)) for place in range(found.BuffersLength())],
    )


def _packed(model: Any) -> bytes:
    """The model as a file, without what no operator uses."""
    import flatbuffers

    from core.tflite_rewriting import plain_form

    _leave_out_unused(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return plain_form(bytes(builder.Output()))


def _leave_out_unused(model: Any) -> None:
    """Drop tensors and what is stored of them, and kinds of operators, where no operator has to do with them."""
    graph = model.subgraphs[0]
    named = [each for operator in graph.operators for each in (operator.inputs, operator.outputs) if each is not None]
    used = sorted({int(place) for each in (graph.inputs, graph.outputs, *named) for place in each if place >= 0})
    places = {old: new for new, old in enumerate(used)}

    def moved(old: Any) -> Any:
        return None if old is None else np.array([places.get(int(place), -1) for place in old], np.int32)

    graph.tensors = [graph.tensors[place] for place in used]
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    codes = sorted({operator.opcodeIndex for operator in graph.operators})
    for operator in graph.operators:
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[place] for place in codes]
    _leave_out_unused_buffers(model)


def _leave_out_unused_buffers(model: Any) -> None:
    """The same of what is stored; the first buffer stands for tensors of which nothing is."""
    from intake.parsing.tflite_parts import is_constant

    tensors = model.subgraphs[0].tensors
    constant = [is_constant(model, tensor) for tensor in tensors]
    kept = sorted({tensor.buffer for tensor, stored in zip(tensors, constant, strict=True) if stored})
    for tensor, stored in zip(tensors, constant, strict=True):
        tensor.buffer = kept.index(tensor.buffer) + 1 if stored else 0
    model.buffers = [type(model.buffers[0])(), *(model.buffers[place] for place in kept)]


def _is_quantized(model: Any) -> bool:
    """Whether weights lie in it in 8 bits."""
    from intake.parsing.tflite_parts import is_constant, types

    names = types()
    return any(names[each.type] in _IN_8_BITS and is_constant(model, each) for each in model.subgraphs[0].tensors)


def _counted(content: bytes) -> dict[str, int]:
    from core.tflite_file import facts_of

    facts = facts_of(content)
    return {"parameter_count": facts.parameter_count, "macs": facts.macs}


def _step(place: int) -> Progress:
    return Progress(done=place, total=len(_STEPS), unit="steps", doing=_STEPS[place])
