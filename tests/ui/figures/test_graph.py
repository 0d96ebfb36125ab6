from __future__ import annotations

import re

import pytest

from experiments.onnx_graph import OnnxGraphView, OnnxNode
from tests.experiments.profiled import layer, other
from tests.ui.test_theme import CONFIG, DEFICIENCIES, OKABE_ITO, contrast, smallest_distance
from ui.figures import graph

LAYERS = (
    layer("stem", 0.1),
    layer("body.0.conv", 0.3, precision="int8"),
    other("add", 0.1, "Add"),
    other("reorder", 0.5, "ReorderInput"),
)
VIEW = OnnxGraphView(
    input_shape=(1, 3, 8, 8),
    nodes=(
        OnnxNode(name="a", op="Conv", module="stem", sources=(-1,), shapes=((1, 8, 8, 8),), layers=(0,)),
        OnnxNode(name="b", op="Conv", module="body.0.conv", sources=(0,), shapes=((1, 8, 8, 8),), layers=(1,),
                 weight_shape=(8, 8, 3, 3), weight_bytes=2304, attributes={"kernel": "3 × 3"}),
        OnnxNode(name="c", op="Relu", module="body.0.act", sources=(1,), shapes=((1, 8, 8, 8),), part_of=(1,)),
        OnnxNode(name="d", op="Add", module="", sources=(2, 0), layers=(2,)),
        OnnxNode(name="e", op="Odd\"<op>", module="body.1", sources=(3,)),
    ),
)  # fmt: skip


def test_an_operator_has_the_time_of_its_layer_and_its_share_of_all_of_them() -> None:
    picture = graph.operators(VIEW, LAYERS)
    assert [(box.title, box.time_ms, box.precision, box.kind) for box in picture.boxes] == [
        ("Image", None, "", graph.REST), ("Conv", 0.1, "fp32", "Convolution"), ("Conv", 0.3, "int8", "Convolution"),
        ("Relu", None, "", "Activation"), ("Add", 0.1, "fp32", "Arithmetic"), ("Odd\"<op>", None, "", graph.REST),
    ]  # fmt: skip
    assert [box.share for box in picture.boxes] == pytest.approx([0, 0.1, 0.3, 0, 0.1, 0])
    assert picture.edges == ((0, 1), (1, 2), (2, 3), (3, 4), (1, 4), (4, 5))
    assert picture.boxes[2].details == ("kernel 3 × 3", "weight 8 × 8 × 3 × 3, 2,304 bytes", "executed as Conv")
    assert picture.boxes[3].details == ("merged into body.0.conv",)


def test_neighbours_of_a_module_are_one_block_with_all_of_their_time() -> None:
    picture = graph.blocks(VIEW, LAYERS, 2)
    assert [box.title for box in picture.boxes] == ["Image", "Conv", "body.0", "Add", 'Odd"<op>']
    block = picture.boxes[2]
    assert (block.module, block.time_ms, block.precision, block.kind) == ("Conv, Relu", 0.3, "int8", "Convolution")
    assert picture.edges == ((0, 1), (1, 2), (2, 3), (1, 3), (3, 4))
    assert list(graph.depths(VIEW)) == [1, 2, 3]
    assert graph.usual_depth(VIEW) == 3


def test_what_belongs_to_no_module_stays_alone_and_no_box_points_at_itself() -> None:
    picture = graph.blocks(VIEW, LAYERS, 1)
    assert len(picture.boxes) == 5
    assert all(one != other for one, other in picture.edges)


def test_arrows_between_blocks_run_one_way() -> None:
    """A block whose additions lie before and behind its parts, as in a transformer: drawn part by part, no circle."""
    chain = [("Add", "b.0", (-1,)), ("MatMul", "b.0.mlp.fc1", (0,)), ("Gelu", "b.0.mlp", (1,)), ("Add", "b.0", (0, 2))]
    nodes = tuple(OnnxNode(name=op, op=op, module=module, sources=sources) for op, module, sources in chain)
    view = OnnxGraphView(input_shape=(1, 4), nodes=nodes)
    for depth in graph.depths(view):
        assert all(one < other for one, other in graph.blocks(view, LAYERS, depth).edges), depth
    assert [box.title for box in graph.blocks(view, LAYERS, 3).boxes] == ["Image", "Add", "b.0.mlp", "Add"]
    assert len(graph.blocks(view, LAYERS, 2).boxes) == 2


@pytest.mark.parametrize("dark", [False, True])
def test_the_text_for_graphviz_names_every_box_and_arrow_and_quotes_what_it_holds(dark: bool) -> None:
    picture = graph.operators(VIEW, LAYERS)
    text = graph.dot(picture, "time", dark=dark)
    assert text.startswith("digraph {")
    assert text.endswith("}")
    assert len(re.findall(r"^\d+ \[label=", text, re.MULTILINE)) == len(picture.boxes)
    assert re.findall(r"^(\d+) -> (\d+) ", text, re.MULTILINE) == [(str(a), str(b)) for a, b in picture.edges]
    assert "Odd&quot;&lt;op&gt;" in text
    assert 'tooltip="Odd\\"<op> body.1' in text
    assert "0.300 ms, 30.0 %" in text


def test_the_longest_is_darkest_and_what_has_no_time_is_plain() -> None:
    fills = [graph.colour(box, "time", 0.3, "light") for box in graph.operators(VIEW, LAYERS).boxes]
    assert fills[2] == graph.SHADES["light"][1]
    assert fills[0] == fills[3] == graph.PLAIN["light"]


def test_a_legend_tells_what_is_there_and_nothing_else() -> None:
    picture = graph.operators(VIEW, LAYERS)
    assert [words for _, words in graph.legend(picture, "precision", dark=False)][:2] == ["FP32", "INT8"]
    assert [words for _, words in graph.legend(picture, "kind", dark=True)] == [
        "Convolution", "Activation", "Arithmetic", graph.REST,
    ]  # fmt: skip
    assert graph.legend(picture, "time", dark=False) == ()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_of_kinds_stay_apart_for_everyone(mode: str) -> None:
    colours = tuple(graph.KIND_COLOURS[mode].values())
    for matrix in DEFICIENCIES.values():
        assert smallest_distance(colours, matrix) > 0.5 * smallest_distance(OKABE_ITO, matrix)
    assert contrast(graph.SHADES[mode][1], CONFIG[mode]["backgroundColor"]) >= 3


def test_two_sums_of_a_block_do_not_become_a_box_that_arrows_lead_back_to() -> None:
    names = ("b.0.attn", "b.0", "b.0.mlp", "b.0")
    sources = ((-1,), (0, -1), (1,), (2, 1))
    nodes = (OnnxNode(name=str(place), op="Add", module=name, sources=sources[place])
             for place, name in enumerate(names))  # fmt: skip
    view = OnnxGraphView(input_shape=(1,), nodes=tuple(nodes))
    assert graph.blocks(view, (), 3).edges == ((0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4))
    assert graph.blocks(view, (), 2).edges == ((0, 1),)
