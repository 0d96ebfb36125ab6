"""Files of LiteRT's format: honest ones, and those with parts that do not belong together."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.case import Case

FOLDER = Path(__file__).parent / "keras_files"
Change = Callable[[Any], None]


def taken(name: str) -> bytes:
    """One of the honest files."""
    return (FOLDER / f"{name}.tflite").read_bytes()


def read(content: bytes) -> Any:
    """Its parts, all of which can be changed."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def changed(change: Change, name: str = "plain") -> Callable[[Path], Path]:
    """The honest file with something changed."""

    def build(folder: Path) -> Path:
        model = read(taken(name))
        change(model)
        return plain(folder, packed(model))

    return build


def plain(folder: Path, content: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path


def graph(model: Any) -> Any:
    return model.subgraphs[0]


def first(model: Any) -> Any:
    return graph(model).operators[0]


def constant(model: Any) -> Any:
    """A tensor with weights: the first convolution's."""
    return graph(model).tensors[int(first(model).inputs[1])]


def made(model: Any) -> Any:
    """What the first operator makes."""
    return graph(model).tensors[int(first(model).outputs[0])]


def put(where: Callable[[Any], Any], name: str, value: Any) -> Change:
    return lambda model: setattr(where(model), name, value)


def operator(model: Any, code: str, custom: str | None = None) -> None:
    """Call the first operator something else."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    number = getattr(BuiltinOperator, code)
    kind = model.operatorCodes[first(model).opcodeIndex]
    kind.builtinCode, kind.deprecatedBuiltinCode, kind.customCode = number, min(number, 127), custom


def settings(model: Any, kind: str) -> None:
    """Give the first operator the settings of another."""
    from ai_edge_litert import schema_py_generated as schema

    first(model).builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    first(model).builtinOptions = getattr(schema, f"{kind}T")()


def another_graph(model: Any) -> None:
    model.subgraphs.append(model.subgraphs[0])


def grid(model: Any, scales: list[float], axis: int = 0) -> None:
    from ai_edge_litert import schema_py_generated as schema

    found = schema.QuantizationParametersT()
    found.scale, found.zeroPoint = np.array(scales, np.float32), np.zeros(len(scales), np.int64)
    found.quantizedDimension = axis
    made(model).quantization = found


def sparse(model: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    constant(model).sparsity = schema.SparsityParametersT()


def stored(model: Any, *values: int, shape: tuple[int, ...] | None = None) -> int:
    """A constant of whole numbers, as the number of its tensor."""
    from ai_edge_litert import schema_py_generated as schema

    buffer, found = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(np.array(values, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    found.shape = indices(*((len(values),) if shape is None else shape))
    found.type, found.name, found.buffer = schema.TensorType.INT32, b"places", len(model.buffers) - 1
    graph(model).tensors.append(found)
    return len(graph(model).tensors) - 1


def inserted(
    model: Any, code: str, kind: str, inputs: list[int], shape: tuple[int, ...], *, whole: bool = False, **settings: Any
) -> int:
    """Another operator before all that are there, and the number of the tensor that it makes: of floats, or `whole`."""
    from ai_edge_litert import schema_py_generated as schema

    each, found, result = schema.OperatorCodeT(), schema.OperatorT(), schema.TensorT()
    each.builtinCode = each.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, code)
    model.operatorCodes.append(each)
    result.shape, result.name = indices(*shape), b"turned"
    result.type = schema.TensorType.INT32 if whole else schema.TensorType.FLOAT32
    graph(model).tensors.append(result)
    found.opcodeIndex, found.inputs = len(model.operatorCodes) - 1, indices(*inputs)
    found.outputs = indices(len(graph(model).tensors) - 1)
    found.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    found.builtinOptions = getattr(schema, f"{kind}T")()
    for name, value in settings.items():
        setattr(found.builtinOptions, name, value)
    taken_by = next(place for place, old in enumerate(graph(model).operators) if old is first_of_all(model))
    graph(model).operators.insert(taken_by, found)
    return int(found.outputs[0])


def first_of_all(model: Any) -> Any:
    """The convolution that came first in the honest file."""
    return next(each for each in graph(model).operators if each.opcodeIndex == 0)


def image(model: Any) -> int:
    return int(graph(model).inputs[0])


def source(model: Any) -> Any:
    return graph(model).tensors[image(model)]


def turned(model: Any, place: int) -> None:
    """What the honest file's first operator takes instead of the image."""
    found = first_of_all(model)
    found.inputs = indices(place, *found.inputs[1:])


def gather(model: Any, *, picks: int) -> None:
    """A GATHER of that channel of the image, before all else."""
    places = stored(model, 0, picks, 2)
    turned(model, inserted(model, "GATHER", "GatherOptions", [image(model), places], (1, 8, 8, 3), axis=3))


def shrunk(model: Any, *, begins: int) -> None:
    """A STRIDED_SLICE that takes one row of the image, as an axis that is gone."""
    begin, end = stored(model, 0, begins, 0, 0), stored(model, 1, begins + 1, 8, 3)
    inputs = [image(model), begin, end, stored(model, 1, 1, 1, 1)]
    inserted(model, "STRIDED_SLICE", "StridedSliceOptions", inputs, (1, 8, 3), shrinkAxisMask=2)


def new_axes(model: Any) -> None:
    none, one = stored(model, *[0] * 8), stored(model, *[1] * 8)
    inputs, shape = [image(model), none, one, one], (1, 8, 8, 3)
    inserted(model, "STRIDED_SLICE", "StridedSliceOptions", inputs, shape, newAxisMask=255)


def placed_by_image(model: Any) -> None:
    """A STRIDED_SLICE whose place is a pixel."""
    places = inserted(model, "CAST", "CastOptions", [image(model)], (1, 8, 8, 3), whole=True)
    one = stored(model, 1, 1, 1, 1)
    inserted(model, "STRIDED_SLICE", "StridedSliceOptions", [image(model), places, one, one], (1, 1, 1, 1))


def sized_by_image(model: Any) -> None:
    places = inserted(model, "CAST", "CastOptions", [image(model)], (1, 8, 8, 3), whole=True)
    inserted(model, "RESHAPE", "ReshapeOptions", [image(model), places], (1, 8, 8, 3))


def sized_by_shape(model: Any) -> None:
    """The image in its own shape: counted from it, as networks do for any batch."""
    shape = inserted(model, "SHAPE", "ShapeOptions", [image(model)], (4,), whole=True, outType=2)
    turned(model, inserted(model, "RESHAPE", "ReshapeOptions", [image(model), shape], (1, 8, 8, 3)))


def split(model: Any) -> None:
    inserted(model, "SPLIT", "SplitOptions", [stored(model, 1, shape=()), image(model)], (1, 8, 8, 3), numSplits=0)


def flat(model: Any) -> None:
    """Takes rows of numbers, and makes an image of them."""
    source(model).shape, source(model).shapeSignature = indices(1, 192), indices(-1, 192)
    shape = stored(model, 1, 8, 8, 3)
    turned(model, inserted(model, "RESHAPE", "ReshapeOptions", [image(model), shape], (1, 8, 8, 3)))


def along_another_axis(model: Any) -> None:
    """Weights (4, 3, 3, 3) with the grids of their inputs."""
    layer = next(each for each in graph(model).operators if len(each.inputs) == 3)
    found = graph(model).tensors[int(layer.inputs[1])].quantization
    found.scale, found.zeroPoint, found.quantizedDimension = found.scale[:3], found.zeroPoint[:3], 3


def in_8_bits(model: Any) -> None:
    """Floats in, and 8 bits out."""
    grid(model, [0.1])
    made(model).type = 9


def indices(*values: int) -> Any:
    return np.array(values, np.int32)


CHANGES: list[tuple[str, Change, str]] = [
    ("kind-out-of-range", put(first, "opcodeIndex", 9999), "of kind 9,999"),
    ("input-out-of-range", put(first, "inputs", indices(0, 7777, 2)), "names tensor 7,777"),
    ("input-below-zero", put(first, "inputs", indices(-9, 1, 2)), "names tensor -9"),
    ("output-out-of-range", put(first, "outputs", indices(1 << 30)), "names tensor 1,073,741,824"),
    ("graph-input-out-of-range", put(graph, "inputs", indices(4000)), "The input names tensor 4,000"),
    ("graph-output-out-of-range", put(graph, "outputs", indices(-2)), "The output names tensor -2"),
    ("two-inputs", put(graph, "inputs", indices(0, 0)), "It has 2 inputs"),
    ("two-outputs", put(graph, "outputs", indices(1, 1)), "It has 2 outputs"),
    ("no-operators", put(graph, "operators", []), "no operators"),
    ("shape-negative", put(made, "shape", indices(1, -6, 6, 4)), "has the shape (1, -6, 6, 4)"),
    ("shape-giant", put(made, "shape", indices(1, 60000, 60000, 4)), "takes 57,600,000,000 bytes"),
    ("shape-overflows", put(made, "shape", indices(*[2**31 - 1] * 4)), "bytes"),
    ("axes-many", put(made, "shape", indices(*[1] * 100)), "100 axes"),
    ("weights-shorter-than-their-shape", put(constant, "shape", indices(4, 3, 3, 300)), "needs 43,200 bytes"),
    ("buffer-out-of-range", put(constant, "buffer", 5000), "buffer 5,000"),
    ("buffer-behind-the-file", put(lambda m: m.buffers[constant(m).buffer], "offset", 1 << 40), "behind"),
    ("type-of-text", put(constant, "type", 5), "holds STRING"),
    ("type-unknown", put(constant, "type", 99), "holds unknown things"),
    ("takes-what-it-makes", lambda m: put(first, "inputs", indices(first(m).outputs[0], *first(m).inputs[1:]))(m),
     "which nothing has made"),
    ("writes-a-weight", lambda m: put(first, "outputs", indices(first(m).inputs[1]))(m), "there already"),
    ("step-of-zero", lambda m: setattr(first(m).builtinOptions, "strideW", 0), "strideW of 0"),
    ("step-giant", lambda m: setattr(first(m).builtinOptions, "dilationHFactor", 2**30), "dilationHFactor of 1,073"),
    ("settings-of-another", partial(settings, kind="Pool2DOptions"), "settings of another kind (Pool2DOptions)"),
    ("settings-of-the-second-kind", put(first, "builtinOptions2Type", 3), "belong to others"),
    ("own-operator", partial(operator, code="CUSTOM", custom="TFLite_Detection_PostProcess"), "brings code of its own"),
    ("flex-operator", partial(operator, code="CUSTOM", custom="FlexReadFile"), "FlexReadFile, which only TensorFlow"),
    ("loop", partial(operator, code="WHILE"), "WHILE, which runs another graph, or loops"),
    ("branch", partial(operator, code="IF"), "IF, which runs another graph"),
    ("calls-itself", partial(operator, code="CALL_ONCE"), "CALL_ONCE, which runs another graph"),
    ("variable-operator", partial(operator, code="VAR_HANDLE"), "keeps something from one image"),
    ("random", partial(operator, code="RANDOM_UNIFORM"), "draws random numbers"),
    ("table", partial(operator, code="HASHTABLE_FIND"), "looks tables up"),
    ("boxes", partial(operator, code="NON_MAX_SUPPRESSION_V5"), "picks boxes"),
    ("of-stablehlo", partial(operator, code="STABLEHLO_CUSTOM_CALL"), "brings code of its own"),
    ("several-graphs", another_graph, "It has 2 graphs"),
    ("variable", lambda model: setattr(made(model), "isVariable", True), "keeps something from one image"),
    ("sparse", sparse, "sparse"),
    ("grid-not-finite", partial(grid, scales=[float("nan")]), "a grid that makes no sense"),
    ("grids-too-many", partial(grid, scales=[0.1] * 5), "5 grids along"),
    ("picks-beyond", partial(gather, picks=3), "picks number 3 of 3"),
    ("picks-before", partial(gather, picks=-1), "picks number -1 of 3"),
    ("no-image", flat, "takes float32 (1, 192)"),
    ("begins-beyond", partial(shrunk, begins=50), "begins at 50 of 8"),
    ("begins-just-beyond", partial(shrunk, begins=8), "begins at 8 of 8"),
    ("begins-before", partial(shrunk, begins=-9), "begins at -9 of 8"),
    ("placed-by-image", placed_by_image, "picks what only an image decides"),
    ("sized-by-image", sized_by_image, "as large as only an image decides"),
    ("new-axes", new_axes, "slices more axes than there are"),
    ("splits-into-none", split, "has 1 outputs and says 0"),
    ("radius-negative", lambda m: inserted(m, "LOCAL_RESPONSE_NORMALIZATION", "LocalResponseNormalizationOptions",
                                           [image(m)], (1, 8, 8, 3), radius=-5), "radius of -5"),
    ("input-left-out", lambda m: put(first, "inputs", indices(first(m).inputs[0], -1, -1))(m), "lacks an input"),
    ("inputs-too-few", lambda m: put(first, "inputs", first(m).inputs[:1])(m), "has 1 inputs, not 2 to 3"),
    ("floats-to-8-bits", in_8_bits, "takes FLOAT32, and gives INT8"),
    ("shape-lies", put(made, "shape", indices(1, 9, 6, 4)), "has the shape (1, 6, 6, 4), and (1, 9, 6, 4) in the file"),
    ("several-images", lambda m: put(source, "shape", indices(4, 8, 8, 3))(m), "4 images at once"),
    ("no-classes", lambda m: put(graph, "outputs", first(m).outputs)(m), "answers with float32 (1, 6, 6, 4)"),
    ("kernel-of-another-layer", lambda m: put(constant, "shape", indices(4, 9, 3, 1))(m), "LiteRT cannot run"),
]  # fmt: skip

OF_INT8: list[tuple[str, Change, str]] = [
    ("grids-along-another-axis", along_another_axis, "has 3 grids for 4 channels"),
    ("no-grid", put(made, "quantization", None), "INT8 without the one grid"),
    ("grid-of-zero", partial(grid, scales=[0.0]), "INT8 without the one grid"),
    ("grid-too-fine", partial(grid, scales=[1e-40]), "INT8 without the one grid"),
    ("grid-too-coarse", partial(grid, scales=[1e38]), "a grid that makes no sense"),
    ("grid-of-what-is-computed", partial(grid, scales=[0.1] * 3, axis=3), "is no constant and has 3 grids"),
    ("zero-far-away", lambda m: put(lambda m: made(m).quantization, "zeroPoint", np.array([10**9]))(m), "no sense"),
]  # fmt: skip


def with_bytes(at: int, value: bytes) -> Callable[[Path], Path]:
    """The honest file with some bytes written over."""
    content = bytearray(taken("plain"))
    content[at : at + len(value)] = value
    return lambda folder: plain(folder, bytes(content))


TORN: list[tuple[str, Callable[[Path], Path], str]] = [
    ("cut-in-half", lambda folder: plain(folder, taken("plain")[: len(taken("plain")) // 2]), "damaged"),
    ("header-alone", lambda folder: plain(folder, taken("plain")[:16]), "damaged"),
    ("root-beyond", with_bytes(0, struct.pack("<I", 0x7FFFFFF0)), "damaged"),
    ("zeros", lambda folder: plain(folder, taken("plain")[:8] + bytes(4000)), "It has"),
    ("noise", lambda folder: plain(folder, taken("plain")[:8] + np.random.default_rng(1).bytes(4000)), "damaged"),
]

CASES: list[Case] = [
    *(Case(f"tflite-{kind}", "model", changed(change), says) for kind, change, says in CHANGES),
    *(Case(f"tflite-int8-{kind}", "model", changed(change, "int8"), says) for kind, change, says in OF_INT8),
    *(Case(f"tflite-{kind}", "model", build, says) for kind, build, says in TORN),
    *(Case(f"tflite-honest-{name}", "model", lambda folder, name=name: plain(folder, taken(name)), "")  # type: ignore[misc]
      for name in ("plain", "int8", "uint8")),
    Case("tflite-honest-picks", "model", changed(partial(gather, picks=1)), ""),
    Case("tflite-honest-sized-by-shape", "model", changed(sized_by_shape), ""),
    Case("tflite-honest-repacked", "model", changed(lambda model: None), ""),
]  # fmt: skip
