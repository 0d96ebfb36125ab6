"""An ONNX file becomes a model's own. Imports onnx inside its functions."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.errors import BadInput
from core.onnx_reference import reference
from core.progress import Steps
from intake import sandbox
from intake.items import DATA_FILE, GRAPH_FILE, Graph
from intake.preprocessing import Preprocessing
from intake.sources import Described

_TURNED = "input_in_bgr"


def adopt_graph(
    graph: Graph, folder: Path, wanted: Preprocessing, draft: Path, *, logits: str = ""
) -> Steps[Described]:
    """Write the graph of the item in `folder` into the draft; what it is then.

    Another output than the first is taken from the file as it came, which the sandbox reads again. What expects BGR
    gets a first step that turns the channels round. Raises `BadInput` for an input that the graph does not take.
    """
    if logits and logits != graph.outputs[0]:
        yield from sandbox.parse("model", folder / DATA_FILE, draft, {"logits": logits})
    else:
        shutil.copyfile(folder / GRAPH_FILE, draft / GRAPH_FILE)
    _require_fit(graph, wanted)
    path = draft / GRAPH_FILE
    content = path.read_bytes()
    if graph.input.height is None or graph.input.width is None:
        content = of_size(content, wanted.height, wanted.width)
    if wanted.colour == "BGR":
        content = turned_round(content)
    _require_answers(content, wanted, graph.classes)
    path.write_bytes(content)
    return Described(classes=graph.classes, input=wanted, notes=graph.notes)


def of_size(content: bytes, height: int, width: int) -> bytes:
    """The model for images of one size, where it takes several."""
    import onnx

    model = onnx.load_from_string(content)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_value, dims[3].dim_value = height, width
    fixed: bytes = model.SerializeToString()
    return fixed


def turned_round(content: bytes) -> bytes:
    """The model with its `input`[batch, 3, H, W] in RGB, where it had it in BGR."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(content)
    for node in model.graph.node:
        node.input[:] = [_TURNED if name == "input" else name for name in node.input]
    order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), f"{_TURNED}_order")
    model.graph.initializer.append(order)
    model.graph.node.insert(0, helper.make_node("Gather", ["input", order.name], [_TURNED], name=_TURNED, axis=1))
    turned: bytes = model.SerializeToString()
    return turned


def _require_answers(content: bytes, wanted: Preprocessing, classes: int) -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    kinds = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.RuntimeException, errors.NotImplemented)
    try:
        shape = reference(content)(wanted.contract(()).example(2)).shape
    except kinds as error:
        raise BadInput(
            f"The network does not take images of {wanted.height} x {wanted.width} ({str(error)[:200]})",
            expected="the size that it was trained with",
            action="Set height and width to that",
        ) from None
    if shape != (2, classes):
        raise BadInput(
            f"The network answers two images of {wanted.height} x {wanted.width} with {shape}",
            expected=f"(2, {classes})",
            action="Set height and width to the size that it was trained with",
        )


def _require_fit(graph: Graph, wanted: Preprocessing) -> None:
    for name, has, asked in (
        ("channels", graph.input.channels, wanted.channels),
        ("pixels in height", graph.input.height, wanted.height),
        ("pixels in width", graph.input.width, wanted.width),
    ):
        if has is not None and has != asked:
            raise BadInput(
                f"The input is set to {asked} {name}", expected=f"{has}, as the ONNX file has it", action="Set it so"
            )
