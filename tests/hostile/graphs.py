"""ONNX files: honest ones of many makers, broken ones, and ones that try to harm whoever reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.hostile.case import Case

F = TensorProto.FLOAT
Array = NDArray[Any]
Weights = Mapping[str, Array]
Value = tuple[str, int, Sequence[int | str | None]]
IMAGE: Value = ("input", F, ["batch", 3, 32, 32])
LOGITS: Value = ("logits", F, ["batch", 4])
node = helper.make_node


def random(*shape: int, seed: int = 0, kind: Any = np.float32) -> Array:
    """Numbers as weights have them."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.2).astype(kind)


def model_of(
    nodes: Sequence[NodeProto],
    weights: Weights,
    *,
    inputs: Sequence[Value] = (IMAGE,),
    outputs: Sequence[Value] = (LOGITS,),
    opset: int = 18,
    ir: int = 8,
) -> ModelProto:
    """A model of these parts."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(np.array(value, order="C"), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    model.producer_name = "pytorch"
    return model


CONV: Weights = {"conv.weight": random(8, 3, 3, 3), "conv.bias": random(8, seed=1)}
HEAD: Weights = {"fc.weight": random(4, 8, seed=2), "fc.bias": random(4, seed=3)}
POOLED = (
    node("Conv", ["input", "conv.weight", "conv.bias"], ["c"], "conv", pads=[1, 1, 1, 1]),
    node("Relu", ["c"], ["r"], "relu"),
    node("GlobalAveragePool", ["r"], ["p"], "pool"),
)
FC = node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1)
FLATTEN0 = node("Flatten", ["p"], ["g"], "flatten")
LAST = node("Flatten", ["q"], ["f"], "flatten")
FLATTEN = node("Flatten", ["p"], ["f"], "flatten")


def plain(**changes: Any) -> ModelProto:
    """A convolution, a pool and a linear layer."""
    return model_of([*POOLED, FLATTEN, FC], CONV | HEAD, **changes)


def with_steps(*steps: NodeProto, more: Weights | None = None, **changes: Any) -> ModelProto:
    """The same with steps between the pool `p` and the linear layer's `f`."""
    return model_of([*POOLED, *steps, FC], CONV | HEAD | (more or {}), **changes)


def fixed(**changes: Any) -> ModelProto:
    """Exported with one image, whose number stands in a Reshape."""
    reshape = node("Reshape", ["p", "shape"], ["f"], "reshape")
    return with_steps(
        reshape, more={"shape": np.array([1, -1])},
        inputs=[("input", F, [1, 3, 32, 32])], outputs=[("logits", F, [1, 4])], **changes,
    )  # fmt: skip


def nhwc() -> ModelProto:
    """As tf2onnx writes it."""
    nodes = [
        node("Transpose", ["input_1:0"], ["model/conv/Conv2D__6:0"], "model/conv/Conv2D__6", perm=[0, 3, 1, 2]),
        node(
            "Conv",
            ["model/conv/Conv2D__6:0", "conv.weight", "conv.bias"],
            ["model/conv/BiasAdd:0"],
            "model/conv/Conv2D",
        ),
        node("Relu", ["model/conv/BiasAdd:0"], ["model/relu/Relu:0"], "model/relu/Relu"),
        node("ReduceMean", ["model/relu/Relu:0"], ["model/pool/Mean:0"], "model/pool/Mean", axes=[2, 3], keepdims=0),
        node("MatMul", ["model/pool/Mean:0", "kernel"], ["model/dense/MatMul:0"], "model/dense/MatMul"),
        node("Add", ["model/dense/MatMul:0", "fc.bias"], ["model/dense/BiasAdd:0"], "model/dense/BiasAdd"),
        node("Softmax", ["model/dense/BiasAdd:0"], ["dense"], "model/dense/Softmax"),
    ]
    weights = CONV | {"kernel": HEAD["fc.weight"].T, "fc.bias": HEAD["fc.bias"]}
    return model_of(nodes, weights, inputs=[("input_1:0", F, ["unk__5", 32, 32, 3])],
                    outputs=[("dense", F, ["unk__6", 4])], opset=15)  # fmt: skip


def nhwc_inside() -> ModelProto:
    """Pixels are normalised as they lie, and turned afterwards."""
    nodes = [
        node("Sub", ["image", "mean"], ["s"], "sub"),
        node("Div", ["s", "std"], ["d"], "div"),
        node("Transpose", ["d"], ["input_nchw"], "turn", perm=[0, 3, 1, 2]),
        node("Conv", ["input_nchw", "conv.weight", "conv.bias"], ["r"], "conv"),
        node("GlobalAveragePool", ["r"], ["p"], "pool"),
        FLATTEN,
        FC,
    ]
    weights = CONV | HEAD | {"mean": np.array([123, 116, 103], np.float32), "std": np.array([58, 57, 57], np.float32)}
    return model_of(nodes, weights, inputs=[("image", F, [1, 32, 32, 3])], outputs=[("logits", F, [1, 4])])


def pixels() -> ModelProto:
    """Takes bytes, and normalises them itself."""
    nodes = [
        node("Cast", ["input"], ["x"], "cast", to=F),
        node("Sub", ["x", "mean"], ["s"], "sub"),
        node("Div", ["s", "std"], ["n"], "div"),
        node("Conv", ["n", "conv.weight", "conv.bias"], ["c"], "conv"),
        *POOLED[1:], FLATTEN, FC,
    ]  # fmt: skip
    weights = (
        CONV | HEAD | {"mean": np.full((1, 3, 1, 1), 120, np.float32), "std": np.full((1, 3, 1, 1), 60, np.float32)}
    )
    return model_of(nodes, weights, inputs=[("input", TensorProto.UINT8, ["n", 3, 32, 32])])


def quantized() -> ModelProto:
    """INT8 with QuantizeLinear and DequantizeLinear, a scale for each channel of the weights."""
    weight = (CONV["conv.weight"] * 100).round().clip(-127, 127).astype(np.int8)
    zero = np.zeros(8, np.int8)
    nodes = [
        node("QuantizeLinear", ["input", "s", "z"], ["q"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
        node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], "dw", axis=0),
        node("Conv", ["d", "dw", "conv.bias"], ["c"], "conv"),
        *POOLED[1:], FLATTEN, FC,
    ]  # fmt: skip
    scales = {"s": np.float32(0.05), "z": np.int8(0), "ws": np.full(8, 0.01, np.float32), "wz": zero}
    return model_of(nodes, {"conv.bias": CONV["conv.bias"], "w": weight} | HEAD | scales, opset=13, ir=7)


def quantized_anew() -> ModelProto:
    """INT8 with a grid that is found for each batch, as ONNX Runtime's dynamic quantization writes it."""
    weight = (HEAD["fc.weight"].T * 100).round().clip(-127, 127).astype(np.int8)
    nodes = [
        *POOLED, FLATTEN,
        node("DynamicQuantizeLinear", ["f"], ["q", "s", "z"], "q"),
        node("MatMulInteger", ["q", "w", "z"], ["i"], "fc"),
        node("Cast", ["i"], ["x"], "cast", to=F),
        node("Mul", ["s", "ws"], ["both"], "scales"),
        node("Mul", ["x", "both"], ["logits"], "scale"),
    ]  # fmt: skip
    return model_of(nodes, CONV | {"w": weight, "ws": np.float32(0.01)}, opset=13, ir=7)


def half() -> ModelProto:
    """FP16 inside, FP32 outside."""
    nodes = [
        node("Cast", ["input"], ["x"], "cast_in", to=TensorProto.FLOAT16),
        node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], "conv"),
        *POOLED[1:], FLATTEN,
        node("Gemm", ["f", "fc.weight", "fc.bias"], ["h"], "fc", transB=1),
        node("Cast", ["h"], ["logits"], "cast_out", to=F),
    ]  # fmt: skip
    model = model_of(nodes, {name: value.astype(np.float16) for name, value in (CONV | HEAD).items()})
    model.graph.value_info.append(helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["batch", 3, 32, 32]))
    return model


def narrow(kind: Any, code: int) -> ModelProto:
    """Everything in another type of floats."""
    weights = {name: value.astype(kind) for name, value in (CONV | HEAD).items()}
    return model_of([*POOLED, FLATTEN, FC], weights, inputs=[("input", code, [1, 3, 32, 32])],
                    outputs=[("logits", code, [1, 4])])  # fmt: skip


def old() -> ModelProto:
    """IR 3 and opset 9: constants are inputs too, an unsqueeze has its axes as attributes."""
    weights = CONV | HEAD
    inputs = [("input", F, [1, 3, 32, 32]), *((name, F, list(value.shape)) for name, value in weights.items())]
    nodes = [
        *POOLED,
        node("Squeeze", ["p"], ["q"], "squeeze", axes=[2, 3]),
        node("Dropout", ["q"], ["f"], "dropout", ratio=0.5),
        FC,
    ]
    return model_of(nodes, weights, inputs=inputs, outputs=[("logits", F, [1, 4])], opset=9, ir=3)


def two_outputs(first: str = "features") -> ModelProto:
    """What it answers, and what it answers it from."""
    outputs = [("f", F, ["batch", 8]), LOGITS]
    model = model_of([*POOLED, FLATTEN, FC], CONV | HEAD, outputs=outputs)
    for each in (*model.graph.node, *model.graph.output):
        for names in (each.input, each.output) if isinstance(each, NodeProto) else ():
            names[:] = [first if name == "f" else name for name in names]
    model.graph.output[0].name = first
    return model


def transformer(batch: int | str = 1) -> ModelProto:
    """A small vision transformer whose class token was written for one image."""
    width, tokens = 16, 17
    nodes = [
        node("Conv", ["input", "embed"], ["e"], "patch_embed", strides=[8, 8]),
        node("Reshape", ["e", "to_tokens"], ["t"], "to_tokens"),
        node("Transpose", ["t"], ["tt"], "turn", perm=[0, 2, 1]),
        node("Concat", ["cls", "tt"], ["x0"], "cat", axis=1),
        node("Add", ["x0", "position"], ["x"], "add_position"),
        node("LayerNormalization", ["x", "ln.w", "ln.b"], ["n"], "norm", axis=-1),
        node("MatMul", ["n", "qkv"], ["qkv_out"], "blocks.0.attn.qkv"),
        node("Reshape", ["qkv_out", "heads"], ["h"], "heads"),
        node("Transpose", ["h"], ["ht"], "heads_first", perm=[2, 0, 3, 1, 4]),
        *(node("Gather", ["ht", f"i{place}"], [name], f"pick_{name}", axis=0) for place, name in enumerate("qkv")),
        node("Transpose", ["k"], ["kt"], "turn_k", perm=[0, 1, 3, 2]),
        node("MatMul", ["q", "kt"], ["a"], "attend"),
        node("Softmax", ["a"], ["as"], "softmax", axis=-1),
        node("MatMul", ["as", "v"], ["o"], "weigh"),
        node("Transpose", ["o"], ["ot"], "heads_back", perm=[0, 2, 1, 3]),
        node("Reshape", ["ot", "joined"], ["oj"], "join"),
        node("Add", ["x", "oj"], ["y"], "residual"),
        node("Gather", ["y", "i0"], ["f"], "class_token", axis=1),
        node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], "head", transB=1),
    ]
    weights = {
        "embed": random(width, 3, 8, 8), "cls": random(1, 1, width), "position": random(1, tokens, width),
        "ln.w": random(width), "ln.b": random(width, seed=1), "qkv": random(width, 3 * width),
        "fc.weight": random(4, width), "fc.bias": random(4),
        "to_tokens": np.array([1, width, 16]), "heads": np.array([1, tokens, 3, 2, width // 2]),
        "joined": np.array([1, tokens, width]), **{f"i{each}": np.array(each) for each in range(3)},
    }  # fmt: skip
    return model_of(nodes, weights, inputs=[("input", F, [batch, 3, 32, 32])], outputs=[("logits", F, [batch, 4])])


def depthwise() -> ModelProto:
    """A separable convolution with ReLU6, opset 11."""
    nodes = [
        node("Conv", ["input", "conv.weight", "conv.bias"], ["c"], "stem", strides=[2, 2]),
        node("Clip", ["c", "low", "high"], ["r"], "relu6"),
        node("Conv", ["r", "dw"], ["d"], "depthwise", group=8, pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["d"], ["p"], "pool"),
        FLATTEN,
        FC,
    ]
    more = {"low": np.float32(0), "high": np.float32(6), "dw": random(8, 1, 3, 3)}
    return model_of(nodes, CONV | HEAD | more, opset=11, ir=6)


def four_sides() -> ModelProto:
    """A convolution as its last layer: [batch, classes, 1, 1]."""
    head = node("Conv", ["p", "last", "fc.bias"], ["logits"], "head")
    weights = CONV | {"last": random(4, 8, 1, 1), "fc.bias": random(4)}
    return model_of([*POOLED, head], weights, outputs=[("logits", F, ["batch", 4, 1, 1])])


def in_train_mode() -> ModelProto:
    """BatchNorm takes the statistics of the batch, and Dropout drops."""
    nodes = [
        POOLED[0],
        node("BatchNormalization", ["c", *"gbmv"], ["n", "m2", "v2"], "bn", training_mode=1),
        node("Relu", ["n"], ["r"], "relu"),
        POOLED[2],
        node("Dropout", ["p", "ratio", "on"], ["dropped"], "dropout"),
        node("Flatten", ["dropped"], ["f"], "flatten"),
        FC,
    ]
    ones = {name: np.ones(8, np.float32) for name in "gv"} | {name: np.zeros(8, np.float32) for name in "bm"}
    return model_of(nodes, CONV | HEAD | ones | {"ratio": np.float32(0.5), "on": np.bool_(True)})


def branch() -> ModelProto:
    """As PyTorch's older exporter writes `squeeze`."""
    then, other = (
        helper.make_graph(
            [node("Flatten", ["p"], [name], name)], name, [], [helper.make_tensor_value_info(name, F, None)]
        )
        for name in ("then", "else")
    )
    choose = node("If", ["is_one"], ["f"], "squeeze", then_branch=then, else_branch=other)
    return with_steps(choose, more={"is_one": np.bool_(True)})


def measured(**changes: Any) -> ModelProto:
    """Works out its own shapes, for images of any size."""
    steps = [
        node("Shape", ["p"], ["s"], "shape"),
        node("Gather", ["s", "zero"], ["n"], "gather", axis=0),
        node("Unsqueeze", ["n", "zeros"], ["nn"], "unsqueeze"),
        node("Concat", ["nn", "rest"], ["to"], "concat", axis=0),
        node("Reshape", ["p", "to"], ["f"], "reshape"),
    ]
    more = {"zero": np.array(0), "zeros": np.array([0]), "rest": np.array([-1])}
    return with_steps(*steps, more=more, inputs=[("input", F, ["batch", 3, "height", "width"])], **changes)


def unsorted() -> ModelProto:
    """Nodes out of order, as some quantizers leave them, and a version of operators that nothing uses."""
    model = model_of([FC, FLATTEN, *POOLED[::-1]], CONV | HEAD)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def gray() -> ModelProto:
    """One channel."""
    return model_of([*POOLED, FLATTEN, FC], CONV | HEAD | {"conv.weight": random(8, 1, 3, 3)},
                    inputs=[("input", F, ["batch", 1, 28, 28])])  # fmt: skip


def described() -> ModelProto:
    """Says how its images are prepared."""
    model = plain()
    helper.set_model_props(model, {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225", "<b>=cmd": "=HYPERLINK(1)"})
    return model


def constants_inside() -> ModelProto:
    """Weights stand as Constant operators, and one of the names is taken by ours."""
    nodes = [
        node("Constant", [], ["logits_bias"], "bias", value=numpy_helper.from_array(HEAD["fc.bias"])),
        node("Constant", [], ["eps"], "eps", value_float=0.5),
        *POOLED, node("Flatten", ["p"], ["logits"], "flatten"),
        node("Gemm", ["logits", "fc.weight", "logits_bias"], ["scores"], "fc", transB=1),
        node("Mul", ["scores", "eps"], ["answer"], "scale"),
    ]  # fmt: skip
    return model_of(nodes, CONV | {"fc.weight": HEAD["fc.weight"]}, outputs=[("answer", F, ["batch", 4])])


def of_2017(*, with_axis: bool = False) -> ModelProto:
    """Opset 6, before shapes were brought to fit one another by themselves; one use of that has no translation."""
    nodes = [
        node("Conv", ["input", "conv.weight"], ["c0"], "conv"),
        node("Add", ["c0", "conv.bias"], ["c"], "b", broadcast=1, axis=1) if with_axis else node("Relu", ["c0"], ["c"]),
        *POOLED[1:], node("Flatten", ["p"], ["f"], "flatten"),
        node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1, broadcast=1),
    ]  # fmt: skip
    weights = CONV | HEAD
    inputs = [("input", F, [2, 3, 32, 32]), *((name, F, list(value.shape)) for name, value in weights.items())]
    return model_of(nodes, weights, inputs=inputs, outputs=[("logits", F, [2, 4])], opset=6, ir=3)


def strided() -> ModelProto:
    """As PyTorch writes `as_strided`: numbers of a list are picked one after the other; images of any size."""
    steps = [
        node("Reshape", ["p", "all"], ["row"], "row"),
        node("Gather", ["row", "places"], ["g"], "as_strided"),
        node("Reshape", ["g", "shape"], ["f"], "reshape"),
    ]
    more = {"all": np.array([-1]), "places": np.arange(8).reshape(1, 8, 1, 1), "shape": np.array([1, 8])}
    return with_steps(*steps, more=more, inputs=[("input", F, [1, 3, None, None])], outputs=[("logits", F, [1, 4])])


def open_everywhere(channels: int, *, turned: bool) -> ModelProto:
    """No side of the input is given: how many channels there are, and where, is for its first layer to tell."""
    turn = [node("Transpose", ["input"], ["t"], "turn", perm=[0, 3, 1, 2])] if turned else []
    conv = node("Conv", ["t" if turned else "input", "conv.weight", "conv.bias"], ["r"], "conv")
    weights = CONV | HEAD | {"conv.weight": random(8, channels, 3, 3)}
    return model_of([*turn, conv, POOLED[2], FLATTEN, FC], weights, inputs=[("input", F, [None] * 4)])


def dequantized() -> ModelProto:
    """Takes bytes as numbers of 8 bits, as converters of quantized models write it."""
    nodes = [
        node("DequantizeLinear", ["input", "s", "z"], ["x"], "dequantize"),
        node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], "conv"),
        *POOLED[1:], FLATTEN, FC,
    ]  # fmt: skip
    weights = CONV | HEAD | {"s": np.float32(1 / 255), "z": np.uint8(0)}
    return model_of(nodes, weights, inputs=[("input", TensorProto.UINT8, ["n", 3, 32, 32])])


def reshaped(sides: Sequence[int], axis: int) -> ModelProto:
    """One image of any size, whose pixels are laid out in a row."""
    nodes = [
        *POOLED[:2],
        node("Reshape", ["r", "sides"], ["row"], "row"),
        node("ReduceMean", ["row"], ["m"], "mean", axes=[axis], keepdims=1),
        node("Reshape", ["m", "flat"], ["f"], "flat"),
        FC,
    ]
    weights = CONV | HEAD | {"sides": np.array(sides), "flat": np.array([1, 8])}
    inputs, outputs = [("input", F, [1, 3, None, None])], [("logits", F, [1, 4])]
    return model_of(nodes, weights, inputs=inputs, outputs=outputs, opset=17)


def expanded() -> ModelProto:
    """Made for two images, whose number stands in an Expand."""
    steps = [node("Flatten", ["p"], ["g"]), node("Expand", ["g", "sides"], ["f"], "expand")]
    return with_steps(*steps, more={"sides": np.array([2, 8])}, inputs=[("input", F, [2, 3, 32, 32])],
                      outputs=[("logits", F, [2, 4])])  # fmt: skip


def sized() -> ModelProto:
    """Leaves its size open, and says in words which one it was trained with."""
    model = measured()
    helper.set_model_props(model, {"input_size": "(3, 48, 40)"})
    return model


def typed() -> ModelProto:
    """Numbers that are written one by one instead of as bytes."""
    model = plain()
    for tensor in model.graph.initializer:
        tensor.CopyFrom(helper.make_tensor(tensor.name, F, tensor.dims, numpy_helper.to_array(tensor).reshape(-1)))
    return model


def equations() -> ModelProto:
    """Enlarges with a transposed convolution, and classifies with an Einsum."""
    nodes = [
        *POOLED[:2],
        node("ConvTranspose", ["r", "up"], ["u"], "up", strides=[2, 2]),
        node("GlobalAveragePool", ["u"], ["p"], "pool"), FLATTEN,
        node("Einsum", ["f", "fc.weight"], ["logits"], "einsum", equation="bi,oi->bo"),
    ]  # fmt: skip
    return model_of(nodes, CONV | {"up": random(8, 8, 2, 2), "fc.weight": HEAD["fc.weight"]})


_BRIGHT = (
    node("ReduceMax", ["input", "places"], ["brightest"], "brightest", keepdims=0),
    node("Greater", ["brightest", "limit"], ["bright"], "bright"),
    node("Cast", ["bright"], ["one"], "one", to=TensorProto.INT64),
    node("Mul", ["one", "far"], ["away"], "away"),
)
"""Zero for each image that is tried, and far beyond every tensor for one with a pixel above 1,000."""
_FAR: Weights = {"places": np.array([1, 2, 3]), "limit": np.float32(1000), "far": np.array(2**26)}


def far_away(op: str) -> ModelProto:
    """Picks from the pooled channels, or writes to them, by places that lie outside for a bright image."""
    row = [node("Reshape", ["away", "column"], ["aside"]), node("Add", ["aside", "row"], ["index"], "index")]
    steps = {
        "Gather": [
            node("ReduceMax", ["away"], ["farthest"], keepdims=0),
            node("Add", ["farthest", "line"], ["index"], "index"),
            node("Gather", ["g", "index"], ["f"], "picked", axis=1),
        ],
        "GatherElements": [*row, node("GatherElements", ["g", "index"], ["f"], "picked", axis=1)],
        "GatherND": [
            *row,
            node("Unsqueeze", ["index", "last"], ["places_nd"]),
            node("GatherND", ["g", "places_nd"], ["f"], "picked", batch_dims=1),
        ],
        "ScatterElements": [*row, node("ScatterElements", ["g", "index", "g"], ["f"], "written", axis=1)],
        "ScatterND": [
            node("ReduceMax", ["away"], ["farthest"], keepdims=0),
            node("Add", ["farthest", "line"], ["index"], "index"),
            node("Unsqueeze", ["index", "last"], ["places_nd"]),
            node("Transpose", ["g"], ["turned"], perm=[1, 0]),
            node("ScatterND", ["turned", "places_nd", "turned"], ["back"], "written"),
            node("Transpose", ["back"], ["f"], perm=[1, 0]),
        ],
    }[op]
    shapes = {"column": np.array([-1, 1]), "row": np.arange(8)[None], "line": np.arange(8), "last": np.array([-1])}
    return with_steps(*_BRIGHT, FLATTEN0, *steps, more=_FAR | shapes)


def strongest_first() -> ModelProto:
    """Channels in the order of their strength, multiplied with a factor that the strongest of them chooses."""
    steps = [
        node("TopK", ["g", "eight"], ["strength", "order"], "order", axis=1),
        node("GatherElements", ["g", "order"], ["sorted"], "sorted", axis=1),
        node("ArgMax", ["g"], ["strongest"], "strongest", axis=1, keepdims=1),
        node("Gather", ["factors", "strongest"], ["factor"], "factor", axis=0),
        node("Mul", ["sorted", "factor"], ["f"], "scaled"),
    ]
    return with_steps(FLATTEN0, *steps, more={"eight": np.array([8]), "factors": random(8, seed=7)})


def by_image(op: str, places: Sequence[str], **attributes: Any) -> ModelProto:
    """An operator that is told by the image where to read."""
    steps = [
        *_BRIGHT,
        node("ReduceMax", ["away"], ["whole"], keepdims=0),
        node("Unsqueeze", ["whole", "first"], ["index"]),
        node("Add", ["away", "one_of"], ["lengths"]),
        node(op, ["r", *places], ["read"], op, **attributes),
        node("ReduceMean", ["read"], ["m"], keepdims=0),
        node("Add", ["p", "m"], ["q"]),
    ]
    region = np.array([[0, 0, 1, 1]], np.float32)
    return with_steps(*steps, LAST, more=_FAR | {"first": np.array([0]), "one_of": np.array(1), "region": region})


def wide(times: int) -> ModelProto:
    """Convolutions with a kernel as large as they may get, on a small image."""
    names = ["input", *(f"w{each}" for each in range(times))]
    nodes = [node("Conv", [a, "kernel"], [b], b, pads=[511] * 4) for a, b in pairwise(names)]
    last = [node("GlobalAveragePool", [names[-1]], ["p"]), FLATTEN, FC]
    weights = {"kernel": np.zeros((3, 3, 1023, 1023), np.float32), "fc.weight": random(4, 3), "fc.bias": random(4)}
    return model_of([*nodes, *last], weights, inputs=[("input", F, ["n", 3, 8, 8])])


def endless() -> ModelProto:
    """A recurrent layer that goes through every pixel of a large image."""
    steps = [
        node("Reshape", ["input", "line"], ["steps"]),
        node("ConstantOfShape", ["lstm.inputs"], ["lstm.w"]),
        node("ConstantOfShape", ["lstm.states"], ["lstm.r"]),
        node("LSTM", ["steps", "lstm.w", "lstm.r"], ["y"], "lstm", hidden_size=4096),
        node("ReduceMean", ["y"], ["m"], keepdims=0),
        node("Add", ["p", "m"], ["q"]),
    ]
    sides = {
        "line": np.array([-1, 1, 768]),
        "lstm.inputs": np.array([1, 4 * 4096, 768]),
        "lstm.states": np.array([1, 4 * 4096, 4096]),
    }
    return with_steps(*steps, LAST, more=sides, inputs=[("input", F, [1, 3, 1024, 1024])])


HONEST: Mapping[str, Callable[[], ModelProto]] = {
    **{
        f"far-away-{op.lower()}": partial(far_away, op)
        for op in ("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND")
    },
    "strongest-first": strongest_first,
    "plain": plain,
    "opset-11": lambda: plain(opset=11, ir=6),
    "opset-22": lambda: plain(opset=22, ir=10),
    "opset-24": lambda: plain(opset=24, ir=12),
    "fixed-batch-reshape": fixed,
    "nhwc-keras": nhwc,
    "nhwc-normalises": nhwc_inside,
    "uint8-normalises": pixels,
    "qdq-int8": quantized,
    "dynamic-int8": quantized_anew,
    "fp16-casts": half,
    "fp16-throughout": lambda: narrow(np.float16, TensorProto.FLOAT16),
    "bf16-throughout": lambda: narrow(ml_dtypes.bfloat16, TensorProto.BFLOAT16),
    "float64-throughout": lambda: narrow(np.float64, TensorProto.DOUBLE),
    "ir-3": old,
    "opset-6-batch-2": of_2017,
    "as-strided": strided,
    "two-outputs": two_outputs,
    "open-gray": lambda: open_everywhere(1, turned=False),
    "open-nhwc": lambda: open_everywhere(3, turned=True),
    "uint8-dequantized": dequantized,
    "row-of-any-size": lambda: reshaped([1, 8, -1], 2),
    "row-of-one-size": lambda: reshaped([8, -1], 1),
    "expand-batch-2": expanded,
    "says-its-size": sized,
    "numbers-one-by-one": typed,
    "equations": equations,
    "transformer-one-image": transformer,
    "depthwise": depthwise,
    "four-sides": four_sides,
    "train-mode": in_train_mode,
    "branch-squeeze": branch,
    "any-size": measured,
    "unsorted": unsorted,
    "gray": gray,
    "described": described,
    "constants-inside": constants_inside,
}


def outside(location: str, where: str = "initializer") -> ModelProto:
    """A tensor whose numbers lie in another file."""
    model = plain()
    tensor = TensorProto(name="far", data_type=F, dims=[8], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": str(2**62), "length": str(2**62)}.items():
        tensor.external_data.add(key=key, value=value)
    if where == "initializer":
        model.graph.initializer.append(tensor)
    elif where == "attribute":
        model.graph.node.append(node("Constant", [], ["far"], value=tensor))
    elif where == "branch":
        inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("far", F, [8])], [tensor])
        model.graph.node.append(node("If", ["on"], ["y"], then_branch=inner, else_branch=inner))
    else:
        model.training_info.add().initialization.initializer.append(tensor)
    return model


def sparse() -> ModelProto:
    """Values whose places lie far outside."""
    model = plain()
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            helper.make_tensor("s", F, [1], [1.0]), helper.make_tensor("at", TensorProto.INT64, [1], [2**40]), [8]
        )
    )
    return model


def function(depth: int) -> ModelProto:
    """Functions that each call the next one twice."""
    model = with_steps(node("f0", ["p"], ["q"], "call", domain="own"), node("Flatten", ["q"], ["f"]))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for each in range(depth):
        inner = {"op_type": f"f{each + 1}", "domain": "own"} if each < depth - 1 else {"op_type": "Relu"}
        steps = [node(inputs=["x"], outputs=["m"], **inner), node(inputs=["m"], outputs=["y"], **inner)]
        model.functions.append(helper.make_function("own", f"f{each}", ["x"], ["y"], steps, imports))
    model.opset_import.append(imports[1])
    return model


def loop() -> ModelProto:
    """Counts to 2^62."""
    go, on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on"))
    x, y = (helper.make_tensor_value_info(name, F, None) for name in "xy")
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    steps = [node("Identity", ["go"], ["on"]), node("Identity", ["x"], ["y"])]
    body = helper.make_graph(steps, "body", [count, go, x], [on, y])
    more = {"count": np.array(2**62), "yes": np.bool_(True)}
    return with_steps(node("Loop", ["count", "yes", "p"], ["q"], "for_ever", body=body), LAST, more=more)


def scan() -> ModelProto:
    """Goes through the channels one by one."""
    body = helper.make_graph([node("Identity", ["x"], ["y"])], "body", [helper.make_tensor_value_info("x", F, None)],
                             [helper.make_tensor_value_info("y", F, None)])  # fmt: skip
    return with_steps(node("Scan", ["p"], ["q"], "scan", num_scan_inputs=1, body=body), LAST)


def nested(depth: int) -> ModelProto:
    """Branches in branches."""
    inner = helper.make_graph(
        [node("Identity", ["p"], ["b0"])], "b", [], [helper.make_tensor_value_info("b0", F, None)]
    )
    for each in range(1, depth):
        choose = node("If", ["on"], [f"b{each}"], then_branch=inner, else_branch=helper.make_graph([], "e", [], []))
        inner = helper.make_graph([choose], "b", [], [helper.make_tensor_value_info(f"b{each}", F, None)])
    return with_steps(node("If", ["on"], ["q"], "choose", then_branch=inner, else_branch=inner), LAST,
                      more={"on": np.bool_(True)})  # fmt: skip


def bomb(op: str, *constants: Array, first: str | None = "p", **attributes: Any) -> ModelProto:
    """One operator whose result is far larger than the file."""
    names = [f"k{place}" for place in range(len(constants))]
    taken = ([first] if first is not None else []) + names
    steps = [node(op, taken, ["big"], "bomb", **attributes), node("ReduceMax", ["big"], ["m"], keepdims=0)]
    added = node("Add", ["p", "m"], ["q"])
    return with_steps(*steps, added, LAST, more=dict(zip(names, constants, strict=True)))


def swarm() -> ModelProto:
    """Many constants that are each just small enough."""
    nodes = [node("ConstantOfShape", ["side"], [f"c{each}"], f"swarm{each}") for each in range(40)]
    sums = [node("Add", [a, b], [b + "_"]) for a, b in pairwise(["c0", *(f"c{each}" for each in range(40))])]
    total = node("ReduceMax", [sums[-1].output[0]], ["m"], keepdims=0)
    return with_steps(
        *nodes, *sums, total, node("Add", ["p", "m"], ["q"]), LAST, more={"side": np.array([2**13, 2**13])}
    )


def by_content() -> ModelProto:
    """As large as the brightest pixel says."""
    steps = [
        node("ReduceMax", ["p"], ["m"], keepdims=0),
        node("Cast", ["m"], ["n"], to=TensorProto.INT64),
        node("Unsqueeze", ["n", "zero"], ["s"]),
        node("ConstantOfShape", ["s"], ["big"], "as_bright"),
        node("ReduceMax", ["big"], ["b"], keepdims=0),
        node("Add", ["p", "b"], ["q"]),
    ]
    return with_steps(*steps, LAST, more={"zero": np.array([0])})


def busy() -> ModelProto:
    """A large image multiplied with itself again and again."""
    names = ["input", *(f"m{each}" for each in range(1, 20))]
    nodes = [node("MatMul", [a, a], [b], b) for a, b in pairwise(names)]
    last = [node("GlobalAveragePool", [names[-1]], ["p"]), FLATTEN, FC]
    weights = {"fc.weight": random(4, 3), "fc.bias": random(4)}
    return model_of([*nodes, *last], weights, inputs=[("input", F, ["n", 3, 2048, 2048])])


def changed(**fields: Any) -> ModelProto:
    """The plain model with fields of its first weight set otherwise."""
    model = plain()
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(model.graph.initializer[0], name)[:]
            getattr(model.graph.initializer[0], name).extend(value)
        else:
            setattr(model.graph.initializer[0], name, value)
    return model


def spoiled(value: float) -> ModelProto:
    """One weight is no finite number."""
    weight = CONV["conv.weight"].copy()
    weight[3, 1, 2, 2] = value
    return model_of([*POOLED, FLATTEN, FC], CONV | HEAD | {"conv.weight": weight})


def versions(*opsets: int) -> ModelProto:
    """With these versions of operators."""
    model = plain()
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid("", each) for each in opsets)
    return model


def taking(*inputs: Value, op: str = "Identity") -> ModelProto:
    """With these inputs, all of which are read."""
    readers = [node(op, [name], [f"{name}_read"], f"read_{name}") for name, _, _ in inputs if name != "input"]
    return model_of([*readers, *POOLED, FLATTEN, FC], CONV | HEAD, inputs=inputs)


def squeezed() -> ModelProto:
    """Drops the axis of the one image it was exported with."""
    steps = [node("Squeeze", ["p"], ["q"], "squeeze_all"), node("Reshape", ["q", "shape"], ["f"], "reshape")]
    return with_steps(*steps, more={"shape": np.array([1, 8])}, inputs=[("input", F, [1, 3, 32, 32])])


def among_images() -> ModelProto:
    """Says that it takes any batch, and compares its images with one another."""
    return with_steps(node("Flatten", ["p"], ["g"]), node("Softmax", ["g"], ["f"], "over_the_batch", axis=0))


def detector() -> ModelProto:
    """Boxes instead of classes."""
    nodes = [*POOLED[:2], node("Reshape", ["r", "shape"], ["boxes"], "boxes")]
    return model_of(nodes, CONV | {"shape": np.array([1, -1, 4])}, outputs=[("boxes", F, [1, None, 4])])


def chosen() -> ModelProto:
    """Answers with the class instead of scores."""
    nodes = [*POOLED, FLATTEN, FC, node("ArgMax", ["logits"], ["class"], "argmax", axis=1)]
    return model_of(nodes, CONV | HEAD, outputs=[("class", TensorProto.INT64, ["batch", 1])])


def circle() -> ModelProto:
    """Each of two operators waits for the other."""
    return with_steps(node("Add", ["p", "b"], ["a"], "one"), node("Relu", ["a"], ["b"], "two"),
                      node("Flatten", ["b"], ["f"]))  # fmt: skip


def crowded(nodes: int) -> bytes:
    """Many operators in a small file."""
    one = node("Relu", ["a"], ["a"]).SerializeToString()
    graph = (b"\x0a" + bytes([len(one)]) + one) * nodes
    return b"\x08\x08" + _field(7, graph)


def names_without_end(count: int) -> bytes:
    """One operator that takes half a million nameless tensors."""
    return b"\x08\x08" + _field(7, _field(1, b"\x0a\x00" * count))


def matryoshka(depth: int) -> bytes:
    """Graphs in graphs, deeper than anyone reads."""
    graph = b""
    for _ in range(depth):
        graph = _field(1, _field(5, _field(6, graph)))
    return b"\x08\x08" + _field(7, graph)


def _field(number: int, content: bytes) -> bytes:
    size, left = b"", len(content)
    while left > 127:
        size, left = size + bytes([left & 127 | 128]), left >> 7
    return bytes([number << 3 | 2]) + size + bytes([left]) + content


BIG = np.array([2**40, 2**40])
UINT8 = TensorProto.UINT8
HOSTILE: Mapping[str, tuple[Callable[[], ModelProto | bytes], str]] = {
    "external": (lambda: outside("weights.bin"), "Save as one file"),
    "external-passwd": (lambda: outside("../../../../etc/passwd"), "lie in another file"),
    "external-in-attribute": (lambda: outside("/etc/passwd", "attribute"), "lie in another file"),
    "external-in-branch": (lambda: outside("/dev/zero", "branch"), "lie in another file"),
    "external-in-training": (lambda: outside("/dev/zero", "training"), "lie in another file"),
    "sparse": (sparse, "sparse tensors"),
    "function": (lambda: function(1), "is a function that the file defines itself"),
    "function-bomb": (lambda: function(40), "Write its functions out"),
    "own-domain": (
        lambda: with_steps(node("Danger", ["p"], ["f"], "d", domain="evil.<script>")),
        "domain evil.<script>",
    ),
    "microsoft-domain": (
        lambda: with_steps(node("FusedGemm", ["p"], ["f"], "d", domain="com.microsoft")),
        "before its optimizer",
    ),
    "trees": (lambda: with_steps(node("Normalizer", ["p"], ["f"], domain="ai.onnx.ml")), "domain ai.onnx.ml"),
    "unknown-operator": (lambda: with_steps(node("=cmd|calc", ["p"], ["f"])), "no operator =cmd|calc"),
    "loop": (loop, "Loop for_ever is a loop"),
    "scan": (scan, "Scan scan is a loop"),
    "branches-deep": (lambda: nested(6), "chooses between two graphs"),
    "branches-deeper": (lambda: nested(12), "nested more than 8 deep"),
    "graphs-deepest": (lambda: matryoshka(3000), "nested more than 8 deep"),
    "bomb-constant-of-shape": (
        lambda: bomb("ConstantOfShape", BIG, first=None),
        "ConstantOfShape bomb makes a tensor of 1,208,925,819,614,629,174",
    ),
    "bomb-expand": (lambda: bomb("Expand", np.array([2**30, 8, 2**33, 1])), "Expand bomb makes a tensor of"),
    "bomb-tile": (lambda: bomb("Tile", np.array([1, 2**20, 2**12, 1])), "Tile bomb makes a tensor of 34,359,738,368"),
    "bomb-tile-wraps": (lambda: bomb("Tile", np.array([1, 2**62, 1, 1])), "makes a tensor of"),
    "bomb-range": (
        lambda: bomb("Range", np.array(0), np.array(2**50), np.array(1), first=None),
        "tensor of 1,125,899,906,842,624",
    ),
    "bomb-pad": (lambda: bomb("Pad", np.array([0, 0, 0, 0, 0, 0, 2**33, 2**33])), "Pad bomb makes a tensor of"),
    "bomb-resize": (
        lambda: bomb("Resize", np.zeros(0, np.float32), np.array([1, 1, 1e6, 1e6], np.float32)),
        "Resize bomb makes",
    ),
    "bomb-swarm": (swarm, "brings the graph to"),
    "bomb-by-content": (by_content, "depends on the image"),
    "bomb-of-work": (busy, "multiplications for one image"),
    "bomb-of-copies": (lambda: wide(50), "multiplications for one image, or what takes as long"),
    "bomb-of-steps": (endless, "or what takes as long"),
    "region-by-image": (
        lambda: by_image("RoiAlign", ["region", "index"], output_height=2, output_width=2),
        "RoiAlign RoiAlign works out from the image where it reads",
    ),
    "length-by-image": (
        lambda: by_image("ReverseSequence", ["lengths"], batch_axis=0, time_axis=1),
        "ReverseSequence ReverseSequence works out from the image where it reads",
    ),
    "setting-overflows": (
        lambda: with_steps(node("MaxPool", ["p"], ["q"], "big", kernel_shape=[2**62, 1]), LAST),
        "kernel_shape = 4,611,686,018,427,387,904",
    ),
    "weight-promises-more": (lambda: changed(dims=[2**20, 3, 3, 3]), "864 are there"),
    "weight-overflows": (lambda: changed(dims=[2**32, 2**32]), "18,446,744,073,709,551,616 numbers"),
    "weight-negative": (lambda: changed(dims=[-8, -3, 3, 3]), "no valid shape"),
    "weight-of-unknown-type": (lambda: changed(data_type=77), "unknown type 77"),
    "weight-complex": (lambda: changed(data_type=TensorProto.COMPLEX64), "complex numbers"),
    "weight-of-text": (lambda: changed(data_type=TensorProto.STRING), "holds text"),
    "weight-nan": (lambda: spoiled(np.nan), "conv.weight holds NaN"),
    "weight-infinite": (lambda: spoiled(np.inf), "conv.weight holds infinite numbers"),
    "opset-too-new": (lambda: versions(99), "opset 99; expected opset"),
    "opset-too-old": (lambda: of_2017(with_axis=True), "opset 6, and ONNX's own converter cannot"),
    "opset-missing": (lambda: versions(), "names no version"),
    "opset-twice": (lambda: versions(13, 18), "2 versions of ONNX's operators: 13, 18"),
    "two-inputs": (
        lambda: taking(IMAGE, ("mask", F, ["n", 8])),
        "has 2 inputs: input takes float32 of ? × 3 × 32 × 32; mask takes float32 of ? × 8",
    ),
    "text": (lambda: taking(("input_ids", TensorProto.INT64, ["n", 8]), IMAGE), "models.yaml"),
    "no-batch-axis": (
        lambda: plain(inputs=[("input", F, [3, 32, 32])]),
        "input takes float32 of 3 × 32 × 32, without a batch axis",
    ),
    "flat-input": (
        lambda: plain(inputs=[("input", F, [1, 784])]),
        "input takes float32 of 1 × 784; expected one input, batch",
    ),
    "integer-input": (
        lambda: plain(inputs=[("input", TensorProto.INT64, [1, 3, 32, 32])]),
        "input takes int64 of 1 × 3 × 32 × 32",
    ),
    "text-input": (lambda: plain(inputs=[("input", TensorProto.STRING, [1])]), "input holds text"),
    "four-channels": (lambda: plain(inputs=[("input", F, [1, 4, 32, 32])]), "1 × 4 × 32 × 32"),
    "huge-batch": (lambda: plain(inputs=[("input", F, [2**40, 3, 32, 32])]), "a batch of at most 256 images"),
    "huge-image": (lambda: plain(inputs=[("input", F, [1, 3, 2**31, 2**31])]), "sides of at most 4,096"),
    "layers-apart": (
        lambda: with_steps(FLATTEN, node("MatMul", ["f0", "fc.weight"], ["x"]), more={"f0": random(2, 3)}),
        "MatMul x does not fit",
    ),
    "sequence": (lambda: with_steps(node("SequenceConstruct", ["p"], ["s"], "list"), FLATTEN), "works on lists"),
    "random": (lambda: with_steps(node("RandomUniformLike", ["p"], ["q"], "dice"), LAST), "draws random numbers"),
    "circle": (circle, "depends on its own result"),
    "made-twice": (lambda: with_steps(FLATTEN, node("Relu", ["p"], ["f"])), "Two parts of the graph make f"),
    "never-made": (lambda: with_steps(node("Flatten", ["ghost"], ["f"], "flat")), "takes ghost, which nothing makes"),
    "squeezed-batch": (squeezed, "made for one batch size only"),
    "among-images": (among_images, "Several images together get other answers"),
    "detector": (detector, "expected an output of batch × classes"),
    "class-numbers": (chosen, "without its last step, ArgMax argmax"),
    "not-finite": (
        lambda: with_steps(
            FLATTEN0,
            node("Sub", ["g", "ten"], ["h"]),
            node("Sqrt", ["h"], ["f"]),
            more={"ten": np.full(8, 10, np.float32)},
        ),
        "numbers that are not finite",
    ),
    "of-integers": (
        lambda: model_of(
            [
                node("Cast", ["input"], ["i"], to=TensorProto.INT32),
                node("Conv", ["i", "w"], ["r"], "ints"),
                POOLED[2],
                FLATTEN,
                FC,
            ],
            {"w": np.ones((8, 3, 3, 3), np.int32)} | HEAD,
        ),
        "Conv ints does not fit what it is given",
    ),
    "index-outside": (
        lambda: with_steps(
            FLATTEN0, node("Gather", ["g", "far"], ["f"], "far_off", axis=1), more={"far": np.arange(92, 100)}
        ),
        "ONNX Runtime cannot run this graph on a CPU",
    ),
    "unknown-attribute": (
        lambda: with_steps(node("Flatten", ["p"], ["f"], "flat", axis=1, evil=3)),
        "Unrecognized attribute: evil",
    ),
    "makes-nothing": (lambda: with_steps(FLATTEN, node("Relu", ["p"], [], "idle")), "Relu idle makes nothing"),
    "names-no-text": (
        lambda: plain().SerializeToString().replace(b"conv.weight", b"conv\xff\xfe\xfd\xfcght"),
        "no text (UTF-8)",
    ),
    "float64-too-large": (lambda: with_steps(FLATTEN, more={"far": np.array([1e300])}), "too large for float32"),
    "crowded": (lambda: crowded(20_001), "more than 20,000 operators"),
    "names-without-end": (lambda: names_without_end(500_001), "more than 500,000 names"),
    "empty": (lambda: b"", "Cut short: 0 bytes"),
    "truncated": (lambda: plain().SerializeToString()[:700], "Cut short: 700 bytes"),
    "noise": (lambda: np.random.default_rng(0).bytes(4096), "not an ONNX file"),
    "no-operators": (lambda: model_of([], {}).SerializeToString(), "not an ONNX file"),
}


def _saved(build: Callable[[], ModelProto | bytes], name: str) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        made = build()
        path = folder / f"{name}.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return path

    return save


OF_TORCH = Path(__file__).parent / "graphs_of_torch"
"""Written by PyTorch's exporters, the newer and the older one, for one image or with everything left open."""


def _copied(path: Path) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copy(path, folder))


CASES = [
    *(Case(f"onnx-{path.stem}", "model", _copied(path), "") for path in sorted(OF_TORCH.glob("*.onnx"))),
    *(Case(f"onnx-{name}", "model", _saved(build, name), "") for name, build in HONEST.items()),
    *(Case(f"onnx-{name}", "model", _saved(build, name), says) for name, (build, says) in HOSTILE.items()),
]
