"""The ONNX form of a network as plain data: operators, what flows between them, and the layers that executed them.

Written by a worker, and read by pages without onnx or torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from core.bundle import ModelBundle, OnnxGraph
from core.layers import Layer, LayerProfile
from experiments.onnx_matching import MULTIPLY, Traced, matched
from runtimes.layers_shared import module_of

if TYPE_CHECKING:
    import onnx

FILE = "graph.json"
_SHOWN: Mapping[str, str] = {
    "kernel_shape": "kernel", "strides": "stride", "dilations": "dilation", "group": "groups", "pads": "padding",
    "axis": "axis", "axes": "axes", "perm": "order", "bits": "bits", "block_size": "block",
}  # fmt: skip
"""Attributes worth showing, with what they are called on screen."""
_NEUTRAL: Mapping[str, int] = {"strides": 1, "dilations": 1, "group": 1, "pads": 0}
"""What says nothing."""
_GRIDS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_SCOPES = "pkg.torch.onnx.name_scopes"
Shape = tuple[int, ...]


class OnnxNode(BaseModel):
    """One operator."""

    model_config = ConfigDict(frozen=True)

    name: str
    op: str
    module: str
    """The innermost module that it belongs to; empty for the network's own operators."""
    sources: tuple[int, ...] = ()
    """Places of the operators whose results it takes; -1 stands for the image."""
    shapes: tuple[Shape, ...] = ()
    """Of its results, the batch included; those that could not be inferred are left out."""
    weight_shape: Shape | None = None
    weight_bytes: int = 0
    """Of all its constant tensors of numbers."""
    attributes: dict[str, str] = {}
    layers: tuple[int, ...] = ()
    """Places in the profile of the layers whose time it is given."""
    part_of: tuple[int, ...] = ()
    """Places of layers that execute it together with the operator that is given their time."""


class OnnxGraphView(BaseModel):
    """All operators, in an order in which they can be executed; what depends on no image is left out."""

    model_config = ConfigDict(frozen=True)

    input_shape: Shape
    nodes: tuple[OnnxNode, ...]

    @property
    def edges(self) -> Iterator[tuple[int, int]]:
        """(from, to), -1 for the image."""
        return ((source, place) for place, node in enumerate(self.nodes) for source in node.sources)

    def unplaced(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers of its profile that stand for none of the operators."""
        placed = {each for node in self.nodes for each in node.layers}
        return tuple(layer for place, layer in enumerate(layers) if place not in placed)


def read_view(folder: Path) -> OnnxGraphView | None:
    """What a profile left in its folder; None where there is nothing, or nothing that can be read."""
    try:
        return OnnxGraphView.model_validate_json((folder / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def exported_with_notes(bundle: ModelBundle) -> onnx.ModelProto:
    """A torch module in ONNX, with the exporter's notes on which module each node comes from; a graph as it is.

    Raises `RunFailed` with the name of an operator that has no translation. Imports torch.
    """
    if isinstance(bundle.network, OnnxGraph):
        import onnx

        return onnx.load_from_string(bundle.network.content)
    from core.onnx_export import onnx_program

    return onnx_program(bundle.module, bundle.contract).model_proto


def view_of(model: onnx.ModelProto, profile: LayerProfile) -> OnnxGraphView:
    """The graph for the profile's batch size, its operators matched with the profile's layers. Imports onnx."""
    graph = _Graph(model, profile.batch_size)
    traced = [graph.traced(node) for node in graph.nodes]
    found = matched(traced, profile.layers)
    nodes = tuple(
        OnnxNode(
            name=node.name,
            op=node.op_type,
            module=trace.module,
            sources=graph.sources(node),
            shapes=trace.shapes,
            weight_shape=graph.weight_shape(node),
            weight_bytes=graph.weight_bytes(node),
            attributes=dict(_attributes(node)),
            layers=found[place].leads,
            part_of=found[place].helps,
        )
        for place, (node, trace) in enumerate(zip(graph.nodes, traced, strict=True))
    )
    return OnnxGraphView(input_shape=graph.input_shape, nodes=nodes)


@dataclass(frozen=True)
class _Constant:
    name: str
    shape: Shape
    size_bytes: int
    is_number: bool
    """Not an index or a shape."""


class _Graph:
    """A model with every batch of one size."""

    def __init__(self, model: onnx.ModelProto, batch_size: int) -> None:
        fixed = _inferred(model, batch_size)
        self.input_shape = _shape(fixed.graph.input[0])
        self._shapes = {each.name: _shape(each) for each in (*fixed.graph.value_info, *fixed.graph.output)}
        self._constants = {each.name: _constant(each) for each in fixed.graph.initializer}
        self._image = fixed.graph.input[0].name
        self.nodes = list(self._live(fixed.graph.node))
        self._places = {tensor: place for place, node in enumerate(self.nodes) for tensor in node.output}

    def _live(self, nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        """What depends on the image; all else counts as a constant of what it was made from."""
        live = {self._image}
        for node in nodes:
            if live.intersection(node.input):
                live.update(node.output)
                yield node
                continue
            known = [self._constants[each] for each in node.input if each in self._constants]
            first = known[0] if known else _Constant("", (), 0, is_number=False)
            self._constants.update(dict.fromkeys(node.output, first))

    def sources(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Places of what it takes, each once."""
        places = (-1 if each == self._image else self._places.get(each) for each in node.input)
        return tuple(dict.fromkeys(place for place in places if place is not None))

    def weight_shape(self, node: onnx.NodeProto) -> Shape | None:
        """Of its first constant with at least two sides."""
        weight = self._weight(node)
        return weight.shape if weight else None

    def weight_bytes(self, node: onnx.NodeProto) -> int:
        """Its weights and biases as they lie in the file."""
        return sum(each.size_bytes for each in self._numbers(node))

    def traced(self, node: onnx.NodeProto) -> Traced:
        """What the node can be recognised by."""
        weight = self._weight(node) or next(iter(self._numbers(node)), None)
        scopes = _scopes(node)
        owner = _owner(weight.name) if weight else ""
        shapes = tuple(shape for each in node.output if (shape := self._shapes.get(each)))
        scope = scopes[-2] if len(scopes) > 1 else ""
        return Traced(
            name=node.name,
            op=node.op_type,
            results=tuple(node.output),
            weights_of=owner,
            module=owner or scope or self._near(node, has_notes=bool(scopes)),
            scope=scope,
            torch_op=scopes[-1] if scopes else "",
            shapes=shapes,
            macs=_macs(node.op_type, shapes, weight),
        )

    def _near(self, node: onnx.NodeProto, *, has_notes: bool) -> str:
        """Without notes: the module around the last named one before it, because blocks end in unnamed operators.

        What changes the number format of a result belongs to the module that made it.
        """
        before = [place for place in self.sources(node) if place >= 0]
        while before and not has_notes:
            latest = self.nodes[max(before)]
            weight = self._weight(latest) or next(iter(self._numbers(latest)), None)
            if weight and (owner := _owner(weight.name)):
                return owner if node.op_type in _GRIDS else owner.rpartition(".")[0]
            before = [place for place in self.sources(latest) if place >= 0]
        return ""

    def _weight(self, node: onnx.NodeProto) -> _Constant | None:
        return next((each for each in self._numbers(node) if len(each.shape) > 1), None)

    def _numbers(self, node: onnx.NodeProto) -> Iterator[_Constant]:
        found = (self._constants[each] for each in node.input if each in self._constants)
        return (each for each in found if each.is_number and each.shape)


def _inferred(model: onnx.ModelProto, batch_size: int) -> onnx.ModelProto:
    """A copy with the shapes of all results that can be inferred for that batch size."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.ClearField("value_info")
    fixed.graph.ClearField("node")
    fixed.graph.node.extend(_in_order(model))
    for value in (fixed.graph.input[0], *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch_size
    try:
        return onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except onnx.shape_inference.InferenceError:  # shapes are worth less than the rest
        return fixed


def _in_order(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Each node after those it depends on, else in the order of the file, which quantizers do not keep."""
    nodes = model.graph.node
    makers = {tensor: place for place, node in enumerate(nodes) for tensor in node.output}
    done: set[int] = set()
    for place in range(len(nodes)):
        waiting = [place]
        while waiting:
            needed = {makers[each] for each in nodes[waiting[-1]].input if each in makers} - done
            if needed and len(waiting) <= len(nodes):
                waiting.append(min(needed))
            elif (ready := waiting.pop()) not in done:
                done.add(ready)
                yield nodes[ready]


def _shape(value: onnx.ValueInfoProto) -> Shape:
    """Empty where a side is not known."""
    sides = value.type.tensor_type.shape.dim
    return tuple(side.dim_value for side in sides) if all(side.HasField("dim_value") for side in sides) else ()


def _constant(tensor: onnx.TensorProto) -> _Constant:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    is_number = kind.name not in ("int64", "bool")
    return _Constant(tensor.name, shape, prod(shape) * kind.itemsize if is_number else 0, is_number)


def _macs(op: str, shapes: Sequence[Shape], weight: _Constant | None) -> int:
    """Every position of the result is multiplied with the whole weight, once for all channels together."""
    if op not in MULTIPLY or not shapes or weight is None or len(weight.shape) < 2:
        return 0
    channels = shapes[0][1 if "Conv" in op else -1]
    return prod(shapes[0]) // channels * prod(weight.shape)


def _owner(tensor: str) -> str:
    """The module of a weight or bias; empty where the exporter renamed it."""
    if owner := module_of(tensor):
        return owner
    owner, found, _ = tensor.rpartition(".bias")
    return owner if found else ""


def _scopes(node: onnx.NodeProto) -> list[str]:
    """The modules that the exporter notes, from the outermost in, and the operation of torch behind them."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes: list[str] = ast.literal_eval(notes.get(_SCOPES, "[]"))
    return scopes


def _attributes(node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    import onnx

    for attribute in node.attribute:
        value: Any = onnx.helper.get_attribute_value(attribute)
        values = list(value) if isinstance(value, list | tuple) else [value]
        neutral = _NEUTRAL.get(attribute.name)
        if attribute.name in _SHOWN and any(each != neutral for each in values):
            yield _SHOWN[attribute.name], _in_words(attribute.name, values)


def _in_words(name: str, values: Sequence[Any]) -> str:
    """`3 × 3`; padding that is the same at both ends is told once: `1 × 1`; an order with commas."""
    if name in ("perm", "axes"):
        return ", ".join(map(str, values))
    half = len(values) // 2
    if name == "pads" and list(values[:half]) == list(values[half:]):
        values = values[:half]
    return " × ".join(map(str, values))
