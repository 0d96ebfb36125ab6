"""What an ONNX graph may consist of: looked at before any engine sees it.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from core.errors import Refused
from intake.parsing.graph_tensors import NO_NUMBERS, check_tensor
from intake.parsing.untrusted import shown

NEWEST_OPSET = onnx.defs.onnx_opset_version()
DOMAINS = ("", "ai.onnx")
ONE_FILE = """import onnx
model = onnx.load("model.onnx")
onnx.save(model, "one-file.onnx", save_as_external_data=False)"""
INLINED = """import onnx, onnx.inliner
model = onnx.inliner.inline_local_functions(onnx.load("model.onnx"))
onnx.save(model, "inlined.onnx")"""
EXPORTED = """import torch
batch = torch.export.Dim("batch", min=1, max=64)
torch.onnx.export(network.eval(), (images,), "model.onnx", input_names=["input"], output_names=["logits"],
                  opset_version=18, dynamo=True, external_data=False, dynamic_shapes=({0: batch},))"""
"""`images` are at least two, float32 [batch, channels, height, width]."""
_FIXED_SHAPES = "Export the network with a loop of a fixed length, which is written out, and without branches"
_KINDS: Mapping[tuple[str, str], str] = {
    ("is a loop, whose end nobody can foresee", _FIXED_SHAPES): "Loop Scan SequenceMap",
    (
        "draws random numbers, so that it answers differently each time",
        "Export the network in eval mode",
    ): "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli",
    (
        "works on lists of tensors, or on what may be missing",
        "Export the network with plain tensors",
    ): "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence "
    "ConcatFromSequence Optional OptionalGetElement OptionalHasElement",
    (
        "works on text",
        "Export the part that starts with numbers",
    ): "StringNormalizer StringConcat StringSplit RegexFullMatch TfIdfVectorizer",
    ("decodes the file of an image", "Export the part that starts with its pixels"): "ImageDecoder",
    ("takes bits for something else", "Leave it out"): "BitCast",
}
"""What is wrong with some operators and what to do about it, with their names."""
_REFUSED = {name: reason for reason, names in _KINDS.items() for name in names.split()}
_IN_BRANCHES = frozenset(("Identity", "Constant", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Cast"))
"""What the two sides of an `If` may do: change a shape."""
_LARGEST_SETTING = 2**31
_COUNTS = frozenset(("value_int", "value_ints", "starts", "ends", "value"))
"""Attributes that hold any number, the largest of all standing for `to the end`."""


def named(node: NodeProto) -> str:
    """How a node is called in sentences."""
    name = node.name or next((each for each in node.output if each), "")
    return f"{shown(node.op_type)} {shown(name)}".strip()


def check(model: ModelProto) -> None:
    """Nothing for a model that may go on, freed of what only training needs. Raises `Refused` for what may not."""
    _check_texts(model)
    _check_in_one_file(model)
    _check_functions(model)
    _check_opset(model)
    for node, depth in _nodes(model.graph, 1):
        _check_operator(node, inside=depth > 1)
        _check_settings(node)
    for tensor in messages(model, TensorProto):
        check_tensor(tensor)
    _check_types(model.graph)
    model.ClearField("training_info")


def messages(message: Message, wanted: type[Any]) -> Iterator[Any]:
    """Every message of that type, wherever it lies in another."""
    if isinstance(message, wanted):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in (value,) if isinstance(value, Message) else value:
                yield from messages(each, wanted)


def graphs_in(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node holds as attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def opset_of(model: ModelProto) -> int:
    """The version of the operators of ONNX."""
    return int(next(each.version for each in model.opset_import if each.domain in DOMAINS))


def _nodes(graph: GraphProto, depth: int) -> Iterator[tuple[NodeProto, int]]:
    for node in graph.node:
        yield node, depth
        for inner in graphs_in(node):
            yield from _nodes(inner, depth + 1)


def _check_texts(message: Message) -> None:
    """Protobuf hands over what is no text as bytes."""
    if isinstance(message, TensorProto):
        texts: list[object] = [message.name, message.doc_string]
    else:
        texts = []
        for field, value in message.ListFields():
            values = [value] if isinstance(value, Message | str | bytes) else value
            if field.message_type is not None:
                for each in values:
                    _check_texts(each)
            elif field.type == field.TYPE_STRING:
                texts.extend(values)
    if any(isinstance(each, bytes) for each in texts):
        raise Refused("The file has names that are no text (UTF-8)", action="Copy or export the file again")


def _check_in_one_file(model: ModelProto) -> None:
    for tensor in messages(model, TensorProto):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise Refused(
                f"The numbers of {shown(tensor.name) or 'a tensor'} lie in another file, which was not brought",
                expected="an ONNX file with everything in it",
                action="Save as one file",
                snippet=ONE_FILE,
            )
    if next(messages(model, onnx.SparseTensorProto), None) is not None:
        raise Refused("The file holds sparse tensors", expected="dense ones", action="Export it without them")


def _check_functions(model: ModelProto) -> None:
    """Functions that nothing calls are let go."""
    functions = {(each.domain, each.name) for each in model.functions}
    for node, _ in _nodes(model.graph, 1):
        if (node.domain, node.op_type) in functions:
            raise Refused(
                f"{named(node)} is a function that the file defines itself",
                expected="operators of ONNX only",
                action="Write its functions out",
                snippet=INLINED,
            )
    model.ClearField("functions")


def _check_opset(model: ModelProto) -> None:
    versions = {each.version for each in model.opset_import if each.domain in DOMAINS}
    if len(versions) != 1:
        raise Refused(
            "The file names no version of ONNX's operators (opset)" if not versions else
            f"The file names {len(versions)} versions of ONNX's operators: {', '.join(map(str, sorted(versions)))}",
            expected="one version, as exporters write it", action="Export it again", snippet=EXPORTED,
        )  # fmt: skip
    version = versions.pop()
    if not 1 <= version <= NEWEST_OPSET:
        raise Refused(
            f"The file uses opset {version}",
            expected=f"opset {NEWEST_OPSET} or older, which is what the ONNX installed here knows",
            action="Export it with opset_version=18",
            snippet=EXPORTED,
        )


def _check_operator(node: NodeProto, *, inside: bool) -> None:
    if not any(node.output):
        raise Refused(
            f"{named(node)} makes nothing", expected="operators with a result", action="Export the file again"
        )
    if node.domain not in DOMAINS:
        raise Refused(
            f"{named(node)} is an operator of the domain {shown(node.domain)}",
            expected="operators of ONNX itself (ai.onnx), which every runtime here reads",
            action=_way_out(node.domain),
        )
    if node.op_type in _REFUSED:
        what, action = _REFUSED[node.op_type]
        raise Refused(f"{named(node)} {what}", expected="tensors of numbers, in a fixed order of steps", action=action)
    if node.op_type == "If":
        _check_branches(node)
    elif next(graphs_in(node), None) is not None:
        raise Refused(f"{named(node)} holds another graph", expected="no control flow", action=_FIXED_SHAPES)
    if not onnx.defs.has(node.op_type):
        raise Refused(f"ONNX has no operator {shown(node.op_type)}", expected="operators of ONNX itself (ai.onnx)")
    if inside and node.op_type not in _IN_BRANCHES:
        raise Refused(f"{named(node)} stands inside a branch", expected="branches that only change a shape")


def _way_out(domain: str) -> str:
    if domain == "ai.onnx.ml":
        return "Bring a neural network: trees and other models of scikit-learn are not optimised here"
    if domain.startswith("com.microsoft"):
        return (
            "Those run in ONNX Runtime alone: bring the file from before its optimizer, or quantize it with "
            "quant_format=QuantFormat.QDQ"
        )
    return "Export it without operators of your own"


def _check_branches(node: NodeProto) -> None:
    inner = [each for graph in graphs_in(node) for each in graph.node]
    if len(inner) > 8 or any(each.op_type not in _IN_BRANCHES or each.domain not in DOMAINS for each in inner):
        raise Refused(
            f"{named(node)} chooses between two graphs",
            expected="no branches, but to change a shape",
            action=_FIXED_SHAPES,
        )


def _check_settings(node: NodeProto) -> None:
    counts = Counter(attribute.name for attribute in node.attribute)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise Refused(f"{named(node)} has its attribute {shown(twice)} twice", expected="each once")
    for attribute in node.attribute:
        if attribute.name in _COUNTS:
            continue
        numbers = (attribute.i, *attribute.ints) if attribute.type != AttributeProto.FLOAT else ()
        if large := next((each for each in numbers if abs(each) >= _LARGEST_SETTING), None):
            raise Refused(
                f"{named(node)} has {shown(attribute.name)} = {large:,}", expected=f"less than {_LARGEST_SETTING:,}"
            )


def _check_types(graph: GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            what = str(value.type.WhichOneof("value")).removesuffix("_type").replace("_", " ")
            raise Refused(f"{shown(value.name)} is a {what}", expected="a tensor of numbers")
        if value.type.tensor_type.elem_type in NO_NUMBERS:
            what = NO_NUMBERS[value.type.tensor_type.elem_type]
            raise Refused(f"{shown(value.name)} holds {what}", expected="a tensor of numbers")
