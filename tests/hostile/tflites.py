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


def grid(model: Any, scales: list[float]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    found = schema.QuantizationParametersT()
    found.scale, found.zeroPoint = np.array(scales, np.float32), np.zeros(len(scales), np.int64)
    made(model).quantization = found


def sparse(model: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    constant(model).sparsity = schema.SparsityParametersT()


def gather(model: Any, *, picks: int) -> None:
    """A GATHER of that channel of the image, before all else, as the first operator's input."""
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.GATHER
    model.operatorCodes.append(code)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.array([0, picks, 2], np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    places, turned = schema.TensorT(), schema.TensorT()
    places.shape, places.type, places.name = np.array([3], np.int32), schema.TensorType.INT32, b"places"
    places.buffer = len(model.buffers) - 1
    turned.shape, turned.name = np.array([1, 8, 8, 3], np.int32), b"turned"
    graph(model).tensors += [places, turned]
    count, each = len(graph(model).tensors), schema.OperatorT()
    each.opcodeIndex = len(model.operatorCodes) - 1
    each.inputs = np.array([graph(model).inputs[0], count - 2], np.int32)
    each.outputs = np.array([count - 1], np.int32)
    each.builtinOptionsType, each.builtinOptions = schema.BuiltinOptions.GatherOptions, schema.GatherOptionsT()
    each.builtinOptions.axis = 3
    first(model).inputs = np.array([count - 1, *first(model).inputs[1:]], np.int32)
    graph(model).operators.insert(0, each)


def no_image(model: Any) -> None:
    source = graph(model).tensors[int(graph(model).inputs[0])]
    source.shape, source.shapeSignature = indices(1, 192), indices(-1, 192)


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
    ("no-image", lambda model: no_image(model), "takes float32 (1, 192)"),
    ("no-classes", lambda m: put(graph, "outputs", first(m).outputs)(m), "answers with float32 (1, 6, 6, 4)"),
    ("kernel-of-another-layer", lambda m: put(constant, "shape", indices(4, 9, 3, 1))(m), "LiteRT cannot run"),
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
    *(Case(f"tflite-{kind}", "model", build, says) for kind, build, says in TORN),
    *(Case(f"tflite-honest-{name}", "model", lambda folder, name=name: plain(folder, taken(name)), "")  # type: ignore[misc]
      for name in ("plain", "int8", "uint8")),
    Case("tflite-honest-picks", "model", changed(partial(gather, picks=1)), ""),
    Case("tflite-honest-repacked", "model", changed(lambda model: None), ""),
]  # fmt: skip
