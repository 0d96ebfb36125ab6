"""Reads a `.tflite` file: checked before any engine sees it, packed anew, and proved to answer as before.

The format: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import Refused
from core.progress import Progress, Steps
from intake.items import TFLITE_FILE, TfliteFile
from intake.parsing.tflite_ends import Ending
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
    from intake.parsing.tflite_metadata import said_in
    from intake.parsing.tflite_parts import operator_name
    from intake.parsing.tflite_scan import in_words, scanned
    from intake.parsing.tflite_trial import Trial, prove

    yield _step(0)
    if (size := file.stat().st_size) > LARGEST_BYTES:
        raise Refused(f"The file has {size:,} bytes", expected=f"at most {LARGEST_BYTES:,}, the most that it allows")
    content = file.read_bytes()
    found = scanned(content)
    yield _step(1)
    with in_words():
        model = _read(found, content)
        checks.check(model)
        shaped = _shaped(model, content)
        graph = model.subgraphs[0]
        entry, classes = ends.entry_of(graph), ends.classes_of(graph)
        said = said_in(file, found, classes, entry.channels)
    yield _step(2)
    with in_words():
        written = _packed(model)
    yield _step(3)
    operators = Counter(operator_name(model, each) for each in graph.operators)
    quantized = _is_quantized(model)
    largest = prove(
        Trial(content, output=shaped.output),
        written,
        entry,
        classes,
        ending=shaped.ending,
        quantized=quantized,
        one_score=shaped.one_score,
    )
    (out / TFLITE_FILE).write_bytes(written)
    return TfliteFile(
        name=shown(str(options.get("name") or file.name)),
        size_bytes=size,
        notes=(*shaped.notes, *said.notes, *(["It takes one image at a time."] if largest else [])),
        warnings=(*shaped.warnings, *said.warnings),
        height=entry.height,
        width=entry.width,
        channels=entry.channels,
        layout=entry.layout,
        dtype=entry.dtype,
        scale=entry.scale,
        zero_point=entry.zero_point,
        classes=classes,
        labels=said.labels,
        mean=said.mean,
        std=said.std,
        largest_batch=largest,
        operators=dict(operators),
        quantized=quantized,
        answers="probabilities" if shaped.ending == "probabilities" else "logits",
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
        if any(found.Buffers(place).Offset() > 1 for place in range(found.BuffersLength())):
            raise Refused("Its weights lie behind its tables", action="Pack it anew")
        model = _read(found, content)
        checks.check(model)
        graph = model.subgraphs[0]
        operators = Counter(operator_name(model, each) for each in graph.operators)
        return asdict(ends.entry_of(graph)) | {
            "classes": ends.classes_of(graph),
            "operators": dict(operators),
            "quantized": _is_quantized(model),
        }


@dataclass(frozen=True)
class _Shaped:
    """What was done to the ends of a network."""

    output: int
    """Of its outputs, the one that is kept."""
    ending: Ending
    one_score: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def _shaped(model: Any, content: bytes) -> _Shaped:
    """Give the network images in and a row of logits out, in place, as far as that can be. Raises `Refused`."""
    from intake.parsing import tflite_checks as checks
    from intake.parsing import tflite_ends as ends
    from intake.parsing import tflite_shaping as shaping

    if fixed := shaping.of_one_size(model, content):
        checks.check(model)
    output, kept = ends.of_one_output(model)
    ending, said = ends.without_softmax(model)
    shaping.to_rows(model)
    one_score = shaping.to_two_classes(model)
    if one_score and ending == "probabilities":
        raise Refused("The network ends in a sigmoid that something else reads", action="Convert it without that")
    doubts = (shaping.ONE_LOGIT,) if one_score and ending == "logits" else ()
    turned, guessed = shaping.to_images(model)
    notes = (*fixed, *kept, *turned, *said, *([shaping.ONE_SCORE] if one_score else []))
    return _Shaped(output, ending, one_score, notes, (*guessed, *doubts))


def _read(found: Any, content: bytes) -> Any:
    """The parts of the model that are kept: kinds of operators, weights and the one graph."""
    from ai_edge_litert import schema_py_generated as schema

    buffers = [schema.BufferT.InitFromObj(found.Buffers(place)) for place in range(found.BuffersLength())]
    for each in buffers:
        if each.offset > 1:  # it lies behind the tables
            each.data = np.frombuffer(content, np.uint8, each.size, each.offset)
        each.offset = each.size = 0
    return schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT.InitFromObj(found.OperatorCodes(place)) for place in range(found.OperatorCodesLength())
        ],
        subgraphs=[schema.SubGraphT.InitFromObj(found.Subgraphs(0))],
        buffers=buffers,
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
