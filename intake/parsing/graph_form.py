"""Brings an ONNX graph to the one form that everything here reads: float32 from `input` to `logits`, images as NCHW.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import prod

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
    version_converter,
)

from core.errors import Refused
from core.onnx_export import LAYERS_IN_FLOAT, drop_notes
from intake.items import GraphInput
from intake.parsing.graph_checks import EXPORTED, graphs_in, messages, opset_of
from intake.parsing.graph_ends import TYPES
from intake.parsing.graph_order import read_by
from intake.parsing.graph_scan import LARGEST_BYTES
from intake.parsing.untrusted import shown

OLDEST_OPSET = 13
OLDEST_THAT_RUNS = 7
"""The first opset that ONNX Runtime promises to run."""
NEWEST_WITH_IR_10 = 22
_IR_WITHOUT_LISTING = 4
"""The first version of the format in which constants are not listed as inputs."""
_LONGEST_NAME = 200
_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_TYPE_SETTINGS = ("to", "dtype", "stash_type", "softmax_precision")
_OURS = frozenset(("image", "answer", "input", "logits", "image_uint8", "image_nhwc"))
_MOVING = frozenset(("Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten"))
_TO_NCHW, _TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def constants_lifted(model: ModelProto) -> None:
    """Constants that stand between the operators become initializers; those listed as inputs are inputs no more."""
    graph = model.graph
    constants = [node for node in graph.node if node.op_type == "Constant"]
    graph.initializer.extend(_tensor_of(node) for node in constants)
    _keep_nodes(graph, lambda node: node.op_type != "Constant")
    names = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in names]
    del graph.input[:]
    graph.input.extend(inputs)


def _tensor_of(node: NodeProto) -> TensorProto:
    attribute = node.attribute[0] if node.attribute else AttributeProto()
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(attribute.t)
        tensor.name = node.output[0]
        return tensor
    if attribute.name not in ("value_int", "value_ints", "value_float", "value_floats"):
        raise Refused(f"The constant {shown(node.output[0])} holds no numbers", expected="numbers")
    kind = np.int64 if "int" in attribute.name else np.float32
    return numpy_helper.from_array(np.asarray(helper.get_attribute_value(attribute), kind), node.output[0])


def _keep_nodes(graph: GraphProto, wanted: Callable[[NodeProto], bool]) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in graph.node if wanted(node)]
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)


def in_eval_mode(model: ModelProto) -> str:
    """Switch off what only training does; the note on that, or nothing."""
    found = 0
    flags = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and len(node.output) > 1:
            del node.output[1:]
            for switch in (each for each in node.attribute if each.name == "training_mode"):
                switch.i = 0
            found += 1
        elif node.op_type == "Dropout" and len(node.input) > 2:
            flag = flags.get(node.input[2])
            found += flag is None or bool(numpy_helper.to_array(flag).any())
            del node.input[2:]
    return "" if not found else (
        f"The file was exported in train mode: {found} operator{'s were' if found > 1 else ' was'} set to eval mode"
    )  # fmt: skip


def cut_to(model: ModelProto, output: str) -> None:
    """Leave only what that output depends on."""
    needed = {output}
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(read_by(node))
    _keep_nodes(model.graph, lambda node: not needed.isdisjoint(node.output))
    for values, names in (
        (model.graph.initializer, needed),
        (model.graph.input, needed),
        (model.graph.output, {output}),
    ):
        for place in reversed(range(len(values))):
            if values[place].name not in names:
                del values[place]


def in_float32(model: ModelProto) -> str:
    """Make every half, bfloat16 or double a float32; the note on that, or nothing. Raises `Refused` for too many."""
    found: Counter[str] = Counter()
    for tensor in messages(model, TensorProto):
        if tensor.data_type in _NARROW:
            found[TYPES[tensor.data_type]] += 1
            _make_float32(tensor)
    for node in messages_of_nodes(model.graph):
        for attribute in node.attribute:
            if attribute.name in _TYPE_SETTINGS and attribute.i in _NARROW:
                attribute.i = TensorProto.FLOAT
    for each in messages(model, ValueInfoProto):
        if each.type.tensor_type.elem_type in _NARROW:
            each.type.tensor_type.elem_type = TensorProto.FLOAT
    size = sum(4 * prod(tensor.dims) for tensor in model.graph.initializer)
    if found and size > LARGEST_BYTES:
        raise Refused(
            f"As float32 its weights take {size:,} bytes", expected=f"at most {LARGEST_BYTES:,}, as ONNX allows"
        )
    if not found:
        return ""
    return f"Its {' and '.join(found)} weights are kept, and computed, as float32"


def _make_float32(tensor: TensorProto) -> None:
    name, numbers = tensor.name, numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        converted = numbers.astype(np.float32)
    if not np.isfinite(converted).all() and np.isfinite(numbers).all():
        raise Refused(f"{shown(name)} holds numbers that are too large for float32", expected="at most 3.4 × 10^38")
    tensor.CopyFrom(numpy_helper.from_array(converted, name))


def messages_of_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes, those of inner graphs too."""
    for node in graph.node:
        yield node
        for inner in graphs_in(node):
            yield from messages_of_nodes(inner)


def in_newer_opset(model: ModelProto) -> str:
    """Bring operators that are too old to the oldest version that is read here; the note on that, or nothing.

    Raises `Refused` where ONNX's converter cannot.
    """
    before = opset_of(model)
    if before >= OLDEST_OPSET:
        return ""
    model.ir_version = max(model.ir_version, _IR_WITHOUT_LISTING)
    try:
        converted = version_converter.convert_version(model, OLDEST_OPSET)
    except (version_converter.ConvertError, RuntimeError, IndexError, ValueError):
        raise Refused(
            f"The file uses opset {before}, and ONNX's own converter cannot bring it to {OLDEST_OPSET}",
            expected=f"opset {OLDEST_OPSET} or newer", action="Export it with opset_version=18", snippet=EXPORTED,
        ) from None  # fmt: skip
    model.CopyFrom(converted)
    return f"Its operators were of opset {before}, and were brought to {OLDEST_OPSET}"


def with_ends(model: ModelProto, name: str, taken: GraphInput, output: str, classes: int, *, is_flat: bool) -> None:
    """Give the graph the input `input` and the output `logits`, whatever it had; not `is_flat` where sides of 1 go."""
    graph = model.graph
    _rename(model, name, output)
    first = list(_first_nodes(graph, taken))
    last = [] if is_flat else [helper.make_node("Flatten", ["answer"], ["logits"], "logits", axis=1)]
    _rewire(graph, {"image": first[-1].output[0] if first else "input"} | ({"answer": "logits"} if is_flat else {}))
    nodes = [NodeProto.FromString(each.SerializeToString()) for each in (*first, *graph.node, *last)]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    assert taken.channels is not None
    graph.input.append(_value("input", ["batch", taken.channels, taken.height or "height", taken.width or "width"]))
    graph.output.append(_value("logits", ["batch", classes]))
    _name_nodes(graph)


def _value(name: str, sides: list[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)


def fix_size(model: ModelProto, height: int, width: int) -> None:
    """Write the size of the images into the input."""
    sides = model.graph.input[0].type.tensor_type.shape.dim
    sides[2].dim_value, sides[3].dim_value = height, width


def _first_nodes(graph: GraphProto, taken: GraphInput) -> Iterator[NodeProto]:
    """What brings our input to the type and layout of theirs, which is called `image`."""
    image = "input"
    if taken.dtype == "uint8" and _needs_integers(graph, "image"):
        yield helper.make_node("Cast", [image], ["image_uint8"], "image_uint8", to=TensorProto.UINT8)
        image = "image_uint8"
    if taken.layout == "NHWC" and not _bypassed(graph, image):
        yield helper.make_node("Transpose", [image], ["image_nhwc"], "image_nhwc", perm=_TO_NHWC)


def _needs_integers(graph: GraphProto, name: str) -> bool:
    """Whether an input of pixels is used as integers anywhere, rather than turned into floats first."""
    moved = {name}
    for node in messages_of_nodes(graph):
        if not moved.intersection(node.input):
            continue
        if node.op_type in _MOVING:
            moved.update(node.output)
        elif (
            node.op_type != "Cast" or next(each.i for each in node.attribute if each.name == "to") != TensorProto.FLOAT
        ):
            return True
    return False


def _bypassed(graph: GraphProto, image: str) -> bool:
    """Whether all that is done to the image is to turn it to NCHW, which is then left out."""
    readers = [node for node in messages_of_nodes(graph) if "image" in node.input]
    outputs = {node.output[0]: image for node in readers}
    if "answer" in outputs or not all(_turns_to_nchw(node) for node in readers):
        return False
    _keep_nodes(graph, lambda node: node.output[0] not in outputs)
    _rewire(graph, outputs)
    return True


def _turns_to_nchw(node: NodeProto) -> bool:
    orders = [list(each.ints) for each in node.attribute if each.name == "perm"]
    return node.op_type == "Transpose" and orders == [_TO_NCHW]


def _rename(model: ModelProto, name: str, output: str) -> None:
    """Call the image `image` and the answer `answer`, and all others so that nothing clashes or cannot be shown."""
    graph = model.graph
    names = {each.name for each in graph.initializer} | {
        each for node in messages_of_nodes(graph) for each in node.output
    }
    mapping = {name: "image", output: "answer"}
    for place, each in enumerate(sorted(names - mapping.keys() - {""})):
        if each in _OURS or len(each) > _LONGEST_NAME or not each.isprintable():
            mapping[each] = f"tensor_{place}_of_file"
    for tensor in graph.initializer:
        tensor.name = mapping.get(tensor.name, tensor.name)
    _rewire(graph, mapping)


def _rewire(graph: GraphProto, mapping: Mapping[str, str]) -> None:
    """Call tensors otherwise, wherever they are made or taken."""
    for node in messages_of_nodes(graph):
        for names in (node.input, node.output):
            if not mapping.keys().isdisjoint(names):
                names[:] = [mapping.get(each, each) for each in names]
        for inner in graphs_in(node):
            for each in (*inner.output, *inner.initializer):
                each.name = mapping.get(each.name, each.name)


def _name_nodes(graph: GraphProto) -> None:
    """Give each node a name of its own that can be shown."""
    taken: set[str] = set()
    for place, node in enumerate(graph.node):
        name = "".join(letter for letter in node.name if letter.isprintable())[:_LONGEST_NAME]
        if not name or name in taken:
            name = f"{name or node.op_type}_{place}"
        while name in taken:
            name += "_"
        taken.add(name)
        node.name = name


def without_notes(model: ModelProto) -> None:
    """Drop all that no engine reads, known or unknown, and name the oldest format that holds the rest."""
    kept = [each for each in model.metadata_props if each.key == LAYERS_IN_FLOAT]
    drop_notes(model)
    opset = opset_of(model)
    for field in ("metadata_props", "training_info", "functions", "opset_import", "producer_name", "producer_version",
                  "domain", "doc_string", "model_version"):  # fmt: skip
        model.ClearField(field)
    model.graph.ClearField("quantization_annotation")
    model.metadata_props.extend(kept)
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = 10 if opset <= NEWEST_WITH_IR_10 else helper.OP_SET_ID_VERSION_MAP["ai.onnx", opset]
    model.graph.name = "network"
    for node in messages_of_nodes(model.graph):
        node.domain = ""
        for inner in graphs_in(node):
            inner.ClearField("value_info")
    model.DiscardUnknownFields()
