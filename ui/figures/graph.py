"""The operators of a network from top to bottom, in the language of Graphviz (DOT). Knows no streamlit.

An operator is a box; several of the same module can be drawn as one.
"""

from __future__ import annotations

import html
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from core.bundle import precision_title
from core.layers import Layer
from experiments.onnx_graph import OnnxGraphView, OnnxNode

By = Literal["time", "precision", "kind"]
"""What colours tell."""
SHADES = {"light": ("#E8F0FB", "#1D5FBF"), "dark": ("#1D2836", "#4E94EA")}
"""From nothing to the longest time."""
PLAIN = {"light": "#F3F5F8", "dark": "#1C232E"}
"""Of boxes without a time of their own, and of those that have nothing to tell by their colour."""
EDGE = {"light": "#8A93A0", "dark": "#6B7686"}
PRECISIONS: Mapping[str, Mapping[str, str]] = {
    "light": {"fp32": "#A5ADB8", "tf32": "#D9A9C6", "bf16": "#E69F00", "fp16": "#F0C65B", "int8": "#0072B2",
              "fp8": "#009E73", "w8": "#7FBCE6", "w4": "#8C2F66", "nvfp4": "#8C2F66"},
    "dark": {"fp32": "#8E97A3", "tf32": "#C98FB3", "bf16": "#E8A62A", "fp16": "#F3D27C", "int8": "#3F8FD0",
             "fp8": "#2FB58D", "w8": "#9CCBEB", "w4": "#A0487E", "nvfp4": "#A0487E"},
}  # fmt: skip
"""The same colour for a precision in every graph."""
KINDS: Mapping[str, frozenset[str]] = {
    "Convolution": frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv"}),
    "Matrix product": frozenset({"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "QGemm", "MatMulNBits", "Einsum"}),
    "Normalisation": frozenset({"BatchNormalization", "LayerNormalization", "InstanceNormalization",
                                "GroupNormalization", "RMSNormalization", "LpNormalization"}),
    "Activation": frozenset({"Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Gelu", "Erf", "Softmax", "Tanh",
                             "LeakyRelu", "PRelu", "Elu", "Selu", "Softplus", "Mish", "LogSoftmax", "Swish"}),
    "Pooling": frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax",
                          "ReduceSum"}),
    "Arithmetic": frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Neg", "Sum", "Reciprocal", "Abs"}),
    "Number format": frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"}),
}  # fmt: skip
"""Operators by what they do; the others move or reshape."""
REST = "Shape and layout"
KIND_COLOURS: Mapping[str, Mapping[str, str]] = {
    "light": {"Convolution": "#0072B2", "Matrix product": "#8C2F66", "Normalisation": "#009E73",
              "Activation": "#E69F00", "Pooling": "#7FBCE6", "Arithmetic": "#F0DC6A", "Number format": "#D55E00"},
    "dark": {"Convolution": "#3F8FD0", "Matrix product": "#A0487E", "Normalisation": "#2FB58D",
             "Activation": "#E8A62A", "Pooling": "#9CCBEB", "Arithmetic": "#F0E283", "Number format": "#DE6B23"},
}  # fmt: skip
"""After Okabe and Ito."""
WORDS = ("#FFFFFF", "#10151D")
EQUAL_CONTRAST = 0.18
"""Luminance on which both can be read alike."""
FONT = 'fontname="Times" fontsize=8.4'
"""Streamlit draws all text of a graph in the page's font and of this size: as wide as Times, so that boxes fit it."""
MOST_OPERATORS, MOST_BLOCKS = 60, 48
"""Operators that are drawn one by one unless asked for otherwise; boxes of a picture of blocks."""
LONGEST = 34
Edges = tuple[tuple[int, int], ...]
Key = tuple[str, ...]


@dataclass(frozen=True)
class Box:
    """One operator, or several of one module."""

    title: str
    module: str
    shape: tuple[int, ...] = ()
    time_ms: float | None = None
    """None where no layer of the profile stands for it alone."""
    share: float = 0.0
    precision: str = ""
    """That it really executed in, as far as told."""
    kind: str = REST
    details: tuple[str, ...] = ()
    """Lines that show under the pointer."""


@dataclass(frozen=True)
class Picture:
    """Boxes in the order of execution, the image first, and (from, to) of the arrows between them."""

    boxes: tuple[Box, ...]
    edges: Edges


@dataclass
class _Groups:
    """Which of the boxes each operator is in."""

    parents: list[int] = field(default_factory=list)

    def of(self, place: int) -> int:
        while self.parents[place] != place:
            place = self.parents[place]
        return place

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.of(one), self.of(other)))
        self.parents[second] = first


def operators(view: OnnxGraphView, layers: Sequence[Layer]) -> Picture:
    """Every operator in a box of its own."""
    total_ms = sum(layer.time_ms for layer in layers)
    boxes = (_operator(node, layers, total_ms) for node in view.nodes)
    return Picture((_image(view), *boxes), tuple((source + 1, place + 1) for source, place in view.edges))


def blocks(view: OnnxGraphView, layers: Sequence[Layer], depth: int) -> Picture:
    """Operators of one module in one box; modules are told apart by that many parts of their names."""
    groups = _grouped(view, depth)
    members: dict[int, list[int]] = defaultdict(list)
    for place in range(len(view.nodes)):
        members[groups.of(place)].append(place)
    total_ms = sum(layer.time_ms for layer in layers)
    boxes = [_block([view.nodes[each] for each in inside], layers, total_ms, depth) for inside in members.values()]
    places = {-1: 0} | {place: number for number, inside in enumerate(members.values(), 1) for place in inside}
    edges = dict.fromkeys((places[source], places[place]) for source, place in view.edges)
    return Picture((_image(view), *boxes), tuple((one, other) for one, other in edges if one != other))


def depths(view: OnnxGraphView) -> range:
    """How many parts of their names can tell modules apart."""
    return range(1, max((node.module.count(".") + 1 for node in view.nodes if node.module), default=1) + 1)


def usual_depth(view: OnnxGraphView) -> int:
    """The finest one whose picture is easily looked over."""
    counts = {depth: len({_grouped(view, depth).of(place) for place in range(len(view.nodes))})
              for depth in depths(view)}  # fmt: skip
    return max((depth for depth, count in counts.items() if count <= MOST_BLOCKS), default=1)


def dot(picture: Picture, by: By, *, dark: bool) -> str:
    """The picture as text for Graphviz, coloured by what is asked for."""
    mode = "dark" if dark else "light"
    longest = max((box.time_ms or 0.0 for box in picture.boxes), default=0.0)
    lines = [
        "digraph {",
        'bgcolor="transparent" rankdir=TB nodesep=0.25 ranksep=0.28',
        f'node [shape=box style="rounded,filled" color="{EDGE[mode]}" penwidth=0.8 margin="0.1,0.04" {FONT}]',
        f'edge [color="{EDGE[mode]}" penwidth=0.9 arrowsize=0.55]',
    ]
    for place, box in enumerate(picture.boxes):
        fill = colour(box, by, longest, mode)
        words = _on(fill)
        tip = "\\n".join(_quoted(line) for line in _hover(box))
        lines.append(f'{place} [label=<{_label(box)}> fillcolor="{fill}" fontcolor="{words}" tooltip="{tip}"]')
    shapes = [_sides(box.shape) for box in picture.boxes]
    lines += [f'{one} -> {other} [tooltip="{shapes[one]}"]' for one, other in picture.edges]
    return "\n".join([*lines, "}"])


def colour(box: Box, by: By, longest_ms: float, mode: str) -> str:
    """`#RRGGBB` of a box."""
    if by == "precision":
        return PRECISIONS[mode].get(box.precision, PLAIN[mode])
    if by == "kind":
        return KIND_COLOURS[mode].get(box.kind, PLAIN[mode])
    if box.time_ms is None or not longest_ms:
        return PLAIN[mode]
    return _between(*SHADES[mode], box.time_ms / longest_ms)


def legend(picture: Picture, by: By, *, dark: bool) -> tuple[tuple[str, str], ...]:
    """(colour, what it means), as far as the picture has it; none by time, which has a scale."""
    mode = "dark" if dark else "light"
    if by == "precision":
        known = {box.precision for box in picture.boxes}
        told = tuple((tone, precision_title(name)) for name, tone in PRECISIONS[mode].items() if name in known)
        return (*told, (PLAIN[mode], "not told, or merged into another"))
    if by == "kind":
        present = {box.kind for box in picture.boxes}
        return (*((tone, name) for name, tone in KIND_COLOURS[mode].items() if name in present), (PLAIN[mode], REST))
    return ()


def kind_of(op: str) -> str:
    """What an operator does, in one of few words."""
    return next((kind for kind, names in KINDS.items() if op in names), REST)


def _image(view: OnnxGraphView) -> Box:
    return Box("Image", "", view.input_shape)


def _operator(node: OnnxNode, layers: Sequence[Layer], total_ms: float) -> Box:
    own = [layers[place] for place in node.layers]
    time_ms = sum(layer.time_ms for layer in own) if own else None
    details = [f"{name} {value}" for name, value in node.attributes.items()]
    if node.weight_shape:
        details.append(f"weight {_sides(node.weight_shape)}, {node.weight_bytes:,} bytes")
    if own:
        details.append("executed as " + ", ".join(dict.fromkeys(layer.op for layer in own)))
    elif node.part_of:
        details.append(f"merged into {layers[node.part_of[0]].name}")
    else:
        details.append("not told by the engine, or left out")
    return Box(
        node.op, node.module, node.shapes[0] if node.shapes else (), time_ms,
        (time_ms or 0.0) / total_ms if total_ms else 0.0, _usual(own), kind_of(node.op), tuple(details),
    )  # fmt: skip


def _block(nodes: Sequence[OnnxNode], layers: Sequence[Layer], total_ms: float, depth: int) -> Box:
    if len(nodes) == 1:
        return _operator(nodes[0], layers, total_ms)
    parts = [_operator(node, layers, total_ms) for node in nodes]
    timed = [part.time_ms for part in parts if part.time_ms is not None]
    own = [layers[place] for node in nodes for place in node.layers]
    leading = max(parts, key=lambda part: part.time_ms or 0.0)
    counts = Counter(node.op for node in nodes).most_common()
    return Box(
        ".".join(nodes[0].module.split(".")[:depth]), _counted(islice(counts, 2), more=len(counts) > 2),
        parts[-1].shape, sum(timed) if timed else None, sum(part.share for part in parts), _usual(own), leading.kind,
        tuple(f"{count} × {op}" for op, count in counts),
    )  # fmt: skip


def _counted(counts: Iterable[tuple[str, int]], *, more: bool) -> str:
    """`2 Conv, Relu, …`."""
    return ", ".join(f"{count} {op}" if count > 1 else op for op, count in counts) + (", …" if more else "")


def _usual(layers: Sequence[Layer]) -> str:
    """The precision that most of the time was spent in."""
    times: dict[str, float] = defaultdict(float)
    for layer in layers:
        times[layer.precision] += layer.time_ms
    return max(times, key=times.__getitem__) if times else ""


def _grouped(view: OnnxGraphView, depth: int) -> _Groups:
    """Neighbours of one module together; what belongs to no module stays alone."""
    holders = {module[:end] for module in {_path(node) for node in view.nodes} for end in range(len(module))}
    groups, keys = _Groups(list(range(len(view.nodes)))), [_key(node, depth, holders) for node in view.nodes]
    siblings: dict[tuple[int, Key], int] = {}
    for source, place in view.edges:
        if source >= 0 and keys[place] and keys[source] == keys[place]:
            groups.join(source, place)
        # What begins with the same result in the same module is one block too: query, key and value.
        first = siblings.setdefault((source, keys[place]), place)
        if keys[place]:
            groups.join(first, place)
    return groups


def _path(node: OnnxNode) -> Key:
    return tuple(node.module.split(".")) if node.module else ()


def _key(node: OnnxNode, depth: int, holders: Collection[Key]) -> Key:
    """The module that the operator is drawn with; none for what a module does between those it holds.

    Sums at the ends of a block's parts would become one box otherwise, with arrows that lead back to it.
    """
    path = _path(node)
    return () if len(path) < depth and path in holders else path[:depth]


def _label(box: Box) -> str:
    """Rows of a box: what it is in bold, its module, the shape it hands on, its time."""
    rows = [f"<b>{html.escape(_short(box.title))}</b>", html.escape(_short(box.module)), _sides(box.shape)]
    if box.time_ms is not None:
        rows.append(f"{box.time_ms:.3f} ms, {100 * box.share:.1f} %")
    cells = "".join(f"<tr><td>{row}</td></tr>" for row in rows if row)
    return f'<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{cells}</table>'


def _hover(box: Box) -> Iterator[str]:
    yield f"{box.title} {box.module}".strip()
    if box.precision:
        yield f"in {precision_title(box.precision)}"
    yield from box.details


def _sides(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _short(words: str) -> str:
    """The end of a name tells more than its beginning."""
    return words if len(words) <= LONGEST else f"…{words[1 - LONGEST :]}"


def _quoted(words: str) -> str:
    return words.replace("\\", "\\\\").replace('"', '\\"')


def _on(background: str) -> str:
    """Black or white, whichever stands out more."""
    red, green, blue = _channels(background, lambda value: (value / 255) ** 2.2)
    return WORDS[0.2126 * red + 0.7152 * green + 0.0722 * blue > EQUAL_CONTRAST]


def _between(low: str, high: str, share: float) -> str:
    """The colour that far on the way between two."""
    ends = zip(_channels(low, float), _channels(high, float), strict=True)
    return "#" + "".join(f"{round(start + share * (end - start)):02X}" for start, end in ends)


def _channels(colour: str, scale: Callable[[int], float]) -> list[float]:
    return [scale(int(colour[place : place + 2], 16)) for place in (1, 3, 5)]
