"""What torchao's PT2E does to an exported graph. Imports torch and torchao: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from core.data import Inputs
from core.torchao_import import import_x86_quantizer, quiet
from optimizers.quantization.clipping import least_error_range
from optimizers.quantization.quantizer import Bits, LayerGrid, Method, Quantized, Source, StaticGrid, TensorGrid

x86 = import_x86_quantizer()
with quiet():
    from torchao.quantization.pt2e import observer as observers
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import QuantizationConfig, QuantizationSpec

_LAYERS = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)
_CHUNK = 32
_OBSERVER = observers.UniformQuantizationObserverBase
_PER_TENSOR = torch.ops.quantized_decomposed.dequantize_per_tensor.default
_PER_CHANNEL = torch.ops.quantized_decomposed.dequantize_per_channel.default


class _SharedRange(observers.PerChannelMinMaxObserver):  # type: ignore[misc]
    """The whole tensor's range for every channel: the compiler knows only weights with a scale for each of them."""

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scales and zero points, all alike."""
        low, high = self.min_val.min(), self.max_val.max()
        scales, zeros = self._calculate_qparams(low.expand_as(self.min_val), high.expand_as(self.max_val))
        return scales, zeros


class _LeastError(observers.HistogramObserver):  # type: ignore[misc]
    """The range with the smallest squared error in torchao's histogram; its own search cuts off too much."""

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point."""
        ends = float(self.min_val), float(self.max_val)
        counts = self.histogram.numpy().astype(np.float64)
        edges = np.linspace(*ends, len(counts) + 1)
        low, high = least_error_range(counts, (edges[1:] + edges[:-1]) / 2, ends, symmetric=False)
        scale, zero = self._calculate_qparams(torch.tensor([low]), torch.tensor([high]))
        return scale, zero


_ACTIVATIONS: Mapping[Method, Any] = {"minmax": observers.MinMaxObserver, "mse": _LeastError}


class Calibration:
    """An exported network and what was observed in it."""

    def __init__(self, source: Source, grid: StaticGrid) -> None:
        self._source = source
        self._exported = _exported(source)
        self._layers = dict(_layers_of(self._exported.graph))
        self._config = _config(grid)
        self._prepared = self._prepare(kept=())
        self._seen: dict[str, nn.Module] = {}

    def observe(self, x: Inputs) -> None:
        """Look at what flows through for the images x[N, C, H, W]."""
        with torch.inference_mode():
            self._prepared(torch.from_numpy(x))

    def quantize(self, bits: Bits) -> Quantized:
        """The network with the layers of `bits` quantized; what was observed serves any choice of them."""
        prepared = self._prepare(kept=[layer for layer in self._layers.values() if layer not in bits])
        self._hand_over_ranges(prepared)
        with quiet():
            converted = convert_pt2e(prepared)
        network = _tidied(converted, self._layers)
        return Quantized(network, "int8", dict(_grids(network, self._layers)))

    def _prepare(self, kept: Collection[str]) -> fx.GraphModule:
        quantizer = x86.X86InductorQuantizer()
        with quiet():
            for layer in kept:
                quantizer.set_module_name_qconfig(layer, None)
            # Not a layer, and computed in float all the same.
            quantizer.set_function_type_qconfig(torch.mul, None)
            quantizer.set_global(self._config)
            prepared: fx.GraphModule = prepare_pt2e(copy.deepcopy(self._exported), quantizer)
        return prepared

    def _hand_over_ranges(self, prepared: fx.GraphModule) -> None:
        """Give its observers what was seen in the same tensors, having looked again at what is observed only now."""
        self._seen = dict(_observers_of(self._prepared)) | self._seen
        places = [(_observed(node), str(node.target)) for node in _observing(prepared)]
        if any(tensor not in self._seen for tensor, _ in places):
            # With a layer in float, the sum behind it can be fused with another layer, and so be quantized elsewhere.
            with torch.inference_mode():
                for part in np.array_split(self._source.x, -(-len(self._source.x) // _CHUNK)):
                    prepared(torch.from_numpy(part))
            self._seen = dict(_observers_of(prepared)) | self._seen
        given: dict[int, nn.Module] = {}
        for tensor, name in places:
            shared = id(prepared.get_submodule(name))
            given.setdefault(shared, copy.deepcopy(self._seen[tensor]))
            setattr(prepared, name, given[shared])


def _exported(source: Source) -> fx.GraphModule:
    """The graph of PyTorch's operations, for any batch size. In strict mode older versions tell operations apart."""
    example = (torch.from_numpy(source.contract.example(2)),)
    settings: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("batch", min=1)},)}
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(source.module, example, strict=True, **settings)
        except torch._dynamo.exc.TorchDynamoException:
            program = torch.export.export(source.module, example, strict=False, **settings)
        module = program.module()
    assert isinstance(module, fx.GraphModule)
    return module


def _layers_of(graph: fx.Graph) -> Iterator[tuple[str, str]]:
    """A node that multiplies weights, and its module."""
    for node in graph.nodes:
        if node.target in _LAYERS and isinstance(node.args[1], fx.Node) and node.args[1].op == "get_attr":
            yield node.name, str(node.args[1].target).removesuffix(".weight")


def _config(grid: StaticGrid) -> Any:
    """Activations in uint8 with any zero point, weights in int8 around zero: what the compiler's kernels take."""
    top = 63 if grid.seven_bit_weights else 127
    activation = QuantizationSpec(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=255,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=_ACTIVATIONS[grid.method],
    )
    weight = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-top,
        quant_max=top,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=observers.PerChannelMinMaxObserver if grid.per_channel else _SharedRange,
    )
    return QuantizationConfig(activation, activation, weight, None)


def _observing(prepared: fx.GraphModule) -> Iterator[fx.Node]:
    for node in prepared.graph.nodes:
        if node.op == "call_module" and isinstance(prepared.get_submodule(node.target), _OBSERVER):
            yield node


def _observed(observing: fx.Node) -> str:
    """The node whose values an observer sees."""
    return observing.all_input_nodes[0].name


def _observers_of(prepared: fx.GraphModule) -> Iterator[tuple[str, nn.Module]]:
    """An observed tensor's node, and its observer, which tensors can share."""
    for node in _observing(prepared):
        yield _observed(node), prepared.get_submodule(str(node.target))


def _tidied(converted: fx.GraphModule, layers: Mapping[str, str]) -> fx.GraphModule:
    """The network without what it no longer uses, its constants called after their layers."""
    graph = converted.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and not node.users:
            graph.erase_node(node)
        if node.name not in layers or node.args[1].target != _PER_CHANNEL:
            continue
        for constant, part in zip(node.args[1].args[:3], ("int8", "scale", "zero_point"), strict=True):
            module = converted.get_submodule(layers[node.name])
            name = f"weight_{part}"
            module.register_buffer(name, converted.get_buffer(constant.target))
            constant.target = f"{layers[node.name]}.{name}"
    network = fx.GraphModule(converted, graph)
    network.eval()
    return network


def _grids(network: fx.GraphModule, layers: Mapping[str, str]) -> Iterator[tuple[str, LayerGrid]]:
    for node in network.graph.nodes:
        if node.name not in layers:
            continue
        source, weight = node.args[:2]
        if getattr(source, "target", None) != _PER_TENSOR or weight.target != _PER_CHANNEL:
            continue
        state = dict(network.named_buffers())
        scale, zero_point = (state[each.target].numpy() for each in weight.args[1:3])
        _, _, _, _, low, high, _ = weight.args
        yield layers[node.name], LayerGrid(_grid(scale, zero_point, low, high), _grid(*source.args[1:5]))


def _grid(scale: Any, zero_point: Any, low: int, high: int) -> TensorGrid:
    return TensorGrid(8, low, high, np.asarray(scale, np.float32), np.asarray(zero_point, np.int32))
