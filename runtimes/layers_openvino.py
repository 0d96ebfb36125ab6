"""OpenVINO's own performance counters, read layer by layer.

The counters are means over every call since the model was compiled, in whole microseconds. So three windows of calls
are taken, each on a freshly compiled model, the warm-up is subtracted from each, and the calmest one is kept. What a
layer multiplies comes from the model file: the executed graph names the operations that each of its nodes stands for.
Imports openvino: import it inside functions only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import openvino
from openvino import passes

from core.data import Inputs
from core.layers import FUSED, Layer, LayerKind, LayerProfile
from core.tflite_file import TfliteFile
from core.tflite_names import layer_of
from runtimes.layers_shared import call_repeatedly, convolution_macs, matmul_macs, module_of, warm_up
from runtimes.openvino_file import arranged

WINDOWS = 3

_PRODUCTS = frozenset({"Convolution", "FullyConnected", "MatMul", "Deconvolution", "ScaledDotProductAttention"})
_CONVERSIONS = frozenset({"Reorder", "Convert", "FakeQuantize"})
_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8", "f64": "fp64"}
_SMALL_WEIGHTS = {"i8": "w8", "u8": "w8", "i4": "w4", "u4": "w4"}
_FACTS = ("layerType", "primitiveType", "runtimePrecision", "originalLayersNames")


def profile_openvino(model: Any, config: Mapping[str, Any], *, x: Inputs, file: Path) -> LayerProfile:
    """Each node's mean over the calmest of three windows of calls on x[N, C, H, W], on the CPU, of the model in a file.

    Layers of a `.tflite` file go by the names that they have in it.
    """
    given = arranged(x, model.input(0))
    calmest = min((_window(model, config, given) for _ in range(WINDOWS)), key=lambda window: window.call_ms)
    named = model.clone()
    if file.suffix == ".tflite":
        _name_weights(named, TfliteFile(file.read_bytes()))
    layers = tuple(_layers(calmest, _ModelFile(named, given)))
    return LayerProfile(
        batch_size=len(x), calls=calmest.calls, call_ms=calmest.call_ms, layers=layers, resolution_ms=0.001
    )


def fold_constants(model: Any) -> None:
    """Compute in a float model what depends on no input, in place; weights keep their names.

    The file becomes smaller by the shapes and layouts that were computed anew at every loading.
    """
    products = [each for each in model.get_ordered_ops() if each.get_type_name() in _READERS]
    weights = [weight and weight.get_friendly_name() for weight in map(_constant_behind, products)]
    folding = passes.Manager()
    folding.register_pass(passes.ConstantFolding())
    folding.run_passes(model)
    for product, weight in zip(products, weights, strict=True):
        if weight:
            product.input_value(1).get_node().set_friendly_name(weight)


def _name_weights(model: Any, file: TfliteFile) -> None:
    """Give weights back, in place, the names they have in the file: OpenVINO forgets those whose layout it changes.

    They are told by their numbers, in whatever order, so that weights of two names with equal numbers keep neither.
    """
    names: dict[bytes, set[str]] = defaultdict(set)
    for _, index in file.weights():
        names[_numbers(file.values(index))].add(file.name(index))
    for product in model.get_ordered_ops():
        weight = _constant_behind(product) if product.get_type_name() in _READERS else None
        if weight is None or layer_of(weight.get_friendly_name()):
            continue
        found = names.get(_numbers(weight.data), set())
        if len(found) == 1:
            weight.set_friendly_name(*found)


def _numbers(values: Any) -> bytes:
    """The same for the same numbers in another order or type."""
    return np.sort(np.asarray(values, np.float32), axis=None).tobytes()


@dataclass(frozen=True)
class _Window:
    """Calls in a row on one compiled model."""

    calls: int
    call_ms: float
    nodes_ms: dict[str, float]
    model: Any
    """The graph as it is executed."""
    rounds_activations: bool
    """Whether float activations are rounded to INT8 where they meet weights in few bits."""


def _window(model: Any, config: Mapping[str, Any], x: Inputs) -> _Window:
    """Calls on x, arranged as the model wants it."""
    compiled = openvino.Core().compile_model(model, "CPU", {**config, "PERF_COUNT": True})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    warming = warm_up(request.infer)
    before = _counters_ms(request)
    times = call_repeatedly(request.infer)
    after, calls = _counters_ms(request), len(times)
    # Rounded means can make a node that takes next to nothing come out below zero.
    nodes = {
        name: max(0.0, (after[name] * (warming + calls) - before.get(name, 0.0) * warming) / calls) for name in after
    }
    rounds = compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") > 0
    return _Window(calls, mean(times), nodes, compiled.get_runtime_model(), rounds)


def _counters_ms(request: Any) -> dict[str, float]:
    return {node.node_name: 1000 * node.real_time.total_seconds() for node in request.profiling_info}


@dataclass(frozen=True)
class _Multiplication:
    """A convolution or matrix product of the model file."""

    name: str
    """The module of its weights as far as their name says, else its own."""
    macs: int
    channels: tuple[int, int] | None
    groups: int


class _ModelFile:
    """What is multiplied, by the names of the model's operations; each can be taken once."""

    def __init__(self, model: Any, x: Inputs) -> None:
        fixed = model.clone()
        fixed.reshape({fixed.input(0): list(x.shape)})
        self._operations = {operation.get_friendly_name(): operation for operation in fixed.get_ordered_ops()}
        self._left = {
            name: _READERS[operation.get_type_name()](operation)
            for name, operation in self._operations.items()
            if operation.get_type_name() in _READERS
        }

    def take(self, names: list[str], *, is_product: bool) -> list[_Multiplication]:
        """The multiplications of these names; for a product without any, the one that the names stand behind.

        A product with a bias is named after the addition alone.
        """
        if is_product and not self._left.keys() & set(names):
            names = [found for name in names if (found := self._behind(name))][:1]
        return [self._left.pop(name) for name in names if name in self._left]

    def _behind(self, name: str) -> str | None:
        operation = self._operations.get(name)
        while operation is not None and operation.get_friendly_name() not in self._left:
            if operation.get_type_name() in _READERS or not operation.inputs():
                return None
            operation = operation.input_value(0).get_node()
        return str(operation.get_friendly_name()) if operation is not None else None


def _convolution(operation: Any) -> _Multiplication:
    """Weights are [O, I, ...], or [G, O / G, I / G, ...] with groups; the other way round in a transposed one."""
    weight, kind = list(operation.input(1).get_shape()), operation.get_type_name()
    image, output = list(operation.input(0).get_shape()), list(operation.output(0).get_shape())
    # Every position of the one side is multiplied with the whole weight: of the output, or of a transposed one's input.
    multiplied = image if kind.endswith("BackpropData") else output
    macs = convolution_macs(multiplied, weight, output_channels=multiplied[1])
    groups = weight[0] if kind.startswith("Group") else 1
    return _Multiplication(_name(operation), macs, (image[1], output[1]), groups)


def _matmul(operation: Any) -> _Multiplication:
    first, output = list(operation.input(0).get_shape()), list(operation.output(0).get_shape())
    inner = first[-2 if operation.get_attributes().get("transpose_a") else -1]
    channels = (inner, output[-1]) if _constant_behind(operation) else None
    return _Multiplication(_name(operation), matmul_macs(output, inner), channels, 1)


_READERS = {
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "ConvolutionBackpropData": _convolution,
    "GroupConvolutionBackpropData": _convolution,
    "MatMul": _matmul,
}


def _name(operation: Any) -> str:
    constant = _constant_behind(operation)
    weight = str(constant.get_friendly_name()) if constant else ""
    return module_of(weight) or layer_of(weight) or str(operation.get_friendly_name()).split("/")[0]


def _constant_behind(operation: Any) -> Any | None:
    """The constant that becomes the weights, through their dequantization; None for a computed factor."""
    node = operation.input_value(1).get_node()
    while node.get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape", "Transpose"):
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None


def _layers(window: _Window, model_file: _ModelFile) -> Iterator[Layer]:
    constants: set[str] = set()
    for node in window.model.get_ordered_ops():
        name, makers = node.get_friendly_name(), [_maker(tensor) for tensor in node.inputs()]
        if node.get_type_name() != "Parameter" and constants.issuperset(makers):
            constants.add(name)  # made or rearranged once, before the first call
            continue
        time_ms = round(window.nodes_ms.get(name, 0.0), 5)
        layer = _layer(node, model_file, constants, time_ms, rounds_activations=window.rounds_activations)
        # What is done in place, or in less time than the counters show, says nothing.
        if layer.time_ms or layer.macs:
            yield layer


def _layer(
    node: Any, model_file: _ModelFile, constants: set[str], time_ms: float, *, rounds_activations: bool
) -> Layer:
    facts, name = _facts(node), node.get_friendly_name()
    is_product = facts["layerType"] in _PRODUCTS
    sources = model_file.take(_names(name, facts["originalLayersNames"]), is_product=is_product)
    fixed = [tensor for tensor in node.inputs() if _maker(tensor) in constants]
    only = sources[0] if len(sources) == 1 else None
    return Layer(
        name=FUSED.join(source.name for source in sources) or name,
        op=f"{facts['layerType']} {facts['primitiveType']}",
        kind="compute" if sources or is_product else _kind(facts),
        time_ms=time_ms,
        precision=_precision(node, facts, rounds_activations=rounds_activations),
        macs=sum(source.macs for source in sources),
        weight_bytes=_bytes(fixed) if sources else 0,
        input_bytes=_bytes([tensor for tensor in node.inputs() if _maker(tensor) not in constants]),
        output_bytes=_bytes(node.outputs()),
        channels=only.channels if only else None,
        groups=only.groups if only else 1,
        output_shape=_shape(node),
    )


def _facts(node: Any) -> dict[str, str]:
    info = node.get_rt_info()
    return {key: info[key].astype(str) if key in info else "" for key in _FACTS}


def _precision(node: Any, facts: Mapping[str, str], *, rounds_activations: bool) -> str:
    """What is multiplied: the engine tells only how the weights are stored, where these have fewer bits."""
    told = facts["runtimePrecision"]
    is_float = node.input(0).get_element_type().is_real() if node.inputs() else False
    if facts["layerType"] == "FullyConnected" and told in _SMALL_WEIGHTS and is_float:
        return "int8" if rounds_activations else _SMALL_WEIGHTS[told]
    return _PRECISIONS.get(told, told)


def _names(name: str, original_names: str) -> list[str]:
    """In the model file, a node may have any of these: what the engine fused is appended after a slash."""
    parts = [each.split("/") for each in (name, *original_names.split(",")) if each]
    return list(dict.fromkeys("/".join(part[:end]) for part in parts for end in range(len(part), 0, -1)))


def _kind(facts: Mapping[str, str]) -> LayerKind:
    # A DequantizeLinear that was not fused becomes a conversion, a subtraction and a multiplication.
    is_grid = facts["layerType"] == "Eltwise" and "DequantizeLinear" in facts["originalLayersNames"]
    return "conversion" if facts["layerType"] in _CONVERSIONS or is_grid else "other"


def _maker(tensor: Any) -> str:
    return str(tensor.get_source_output().get_node().get_friendly_name())


def _shape(node: Any) -> tuple[int, ...] | None:
    first = next(iter(node.outputs()), None)
    return tuple(first.get_shape()) if first is not None and first.get_partial_shape().is_static else None


def _bytes(tensors: list[Any]) -> int:
    known = (tensor for tensor in tensors if tensor.get_partial_shape().is_static)
    return sum(prod(tensor.get_shape()) * tensor.get_element_type().bitwidth // 8 for tensor in known)
