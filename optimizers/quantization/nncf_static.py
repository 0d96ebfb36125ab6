"""INT8 weights and activations by NNCF, the quantizer that OpenVINO's makers keep.

`nncf.quantize` observes the calibration images anew at every call. Here its parts are called one by one, so that what
was observed serves every later call with other layers left in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.progress import Progress, Steps
from optimizers.quantization.nncf_quiet import quiet
from optimizers.quantization.quantizer import Bits, LayerGrid, Method, Observed, Quantized, Source, StaticGrid

_METHODS: dict[Method, str] = {"minmax": "MINMAX", "percentile": "MEAN_QUANTILE", "mse": "HISTOGRAM"}
"""Its name for each way to choose a range. Its percentile is the mean over batches of their 0.01 and 99.99 %."""
_Tensor = tuple[str, int]
"""The operation that makes it, and which of its outputs it is."""
_BATCH = 16
_PART = 128
"""Images between two signs of life."""


def why_refused(grid: StaticGrid) -> str | None:
    """One sentence on why NNCF cannot work with these settings, or None. Imports nothing heavy."""
    if grid.method not in _METHODS:
        return "NNCF, OpenVINO's quantizer, has no entropy calibration: choose min-max, percentile or MSE"
    return None


@dataclass(frozen=True)
class NncfStatic:
    """NNCF's post-training quantization of an OpenVINO model."""

    grid: StaticGrid
    title: str = "NNCF quantize"

    def observe(self, source: Source) -> Steps[Observed]:
        """The range of every tensor that may be quantized, seen on the calibration images."""
        yield Progress(done=0, total=len(source.x), unit="images", doing="observing ranges")
        with quiet():
            observation = _Observation(self.grid, source)
        for start in range(0, len(source.x), _PART):
            with quiet():
                observation.look_at(start, start + _PART)
            done = min(start + _PART, len(source.x))
            yield Progress(done=done, total=len(source.x), unit="images", doing="observing ranges")
        with quiet():
            return _Observed(self.grid, source, observation.model, observation.statistics())


@dataclass(frozen=True, eq=False)
class _Observed:
    grid: StaticGrid
    source: Source
    model: Any
    """The float `openvino.Model`; its copies have the same names, which reading it again would not give."""
    statistics: Mapping[_Tensor, Any]
    """What NNCF noted of each tensor."""

    def quantize(self, bits: Bits) -> Quantized:
        """The network with the layers of `bits` in INT8; what lies between layers in float stays in float, too."""
        from optimizers.quantization.openvino_graph import input_grid, products, weight_grid, written

        with quiet():
            model = self._quantized(bits)
        grids = {}
        for name, product in products(model).items():
            weight, entering = weight_grid(product), input_grid(product)
            if name in bits and weight and entering:
                grids[name] = LayerGrid(weight, entering)
        return Quantized(written(model), "int8", grids)

    def _quantized(self, bits: Bits) -> Any:
        from nncf.common.factory import build_graph
        from openvino._offline_transformations import compress_quantize_weights_transformation

        from optimizers.quantization.openvino_graph import share_ends

        model = self.model.clone()
        graph = build_graph(model)
        algorithm = _algorithm(self.grid, self.source, ignored=_ignored(model, bits, self.source.layers))
        points = algorithm.get_statistic_points(model, graph)
        for point, collector in _collectors(points):
            collector.set_cache(self.statistics[_tensor(point, graph)])
        quantized = algorithm.apply(model, graph, points)
        compress_quantize_weights_transformation(quantized)
        share_ends(quantized)  # a tenth of the text of the file
        return quantized


class _Observation:
    """NNCF's collection of statistics, in parts."""

    def __init__(self, grid: StaticGrid, source: Source) -> None:
        from nncf.common.factory import build_graph

        from optimizers.quantization.openvino_graph import graph_of

        self._x = source.x
        self.model = graph_of(source.onnx())
        self._graph = build_graph(self.model)
        self._points = _algorithm(grid, source).get_statistic_points(self.model, self._graph)

    def look_at(self, start: int, stop: int) -> None:
        """Take the images from `start` to `stop` into account."""
        import nncf
        from nncf.quantization.algorithms.pipeline import collect_statistics

        x = self._x[start:stop]
        batches = [x[first : first + _BATCH] for first in range(0, len(x), _BATCH)]
        collect_statistics(self._points, self.model, self._graph, nncf.Dataset(batches))

    def statistics(self) -> dict[_Tensor, Any]:
        """What was seen of each tensor."""
        return {_tensor(point, self._graph): each.get_statistics() for point, each in _collectors(self._points)}


def _collectors(points: Any) -> list[tuple[Any, Any]]:
    return [(point, collector) for _, point, collector in points.get_tensor_collectors()]


def _tensor(point: Any, graph: Any) -> _Tensor:
    """What a point of the graph looks at: the same tensor can be looked at where it is made or where it is used."""
    target = point.target_point
    if target.type.name == "POST_LAYER_OPERATION":
        return target.target_node_name, target.port_id
    edges = graph.get_input_edges(graph.get_node_by_name(target.target_node_name))
    edge = next(edge for edge in edges if edge.input_port_id == target.port_id)
    return edge.from_node.node_name, edge.output_port_id


def _algorithm(grid: StaticGrid, source: Source, *, ignored: list[str] | None = None) -> Any:
    """Corrections are off: they happen beforehand, in the same way for every engine."""
    import nncf
    from nncf.quantization.advanced_parameters import QuantizationParameters
    from nncf.quantization.algorithms.post_training.algorithm import PostTrainingQuantization
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return PostTrainingQuantization(
        preset=nncf.QuantizationPreset.PERFORMANCE if grid.symmetric else nncf.QuantizationPreset.MIXED,
        subset_size=-(-len(source.x) // _BATCH) + 1,
        # Keeps LayerNorm, softmax and what is added between blocks in float.
        model_type=nncf.ModelType.TRANSFORMER if source.family == "transformer" else None,
        ignored_scope=nncf.IgnoredScope(names=ignored or [], validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE if grid.seven_bit_weights else nncf.OverflowFix.DISABLE,
            disable_bias_correction=True,
            disable_channel_alignment=True,
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1),
            activations_range_estimator_params=getattr(RangeEstimatorParametersSet, _METHODS[grid.method]),
            activations_quantization_params=QuantizationParameters(per_channel=False),
            weights_quantization_params=QuantizationParameters(per_channel=grid.per_channel),
        ),
    )


def _ignored(model: Any, bits: Bits, layers: tuple[str, ...]) -> list[str]:
    """The operations to leave in float: layers that `bits` lacks, and what takes nothing from the ones it has."""
    from optimizers.quantization.openvino_graph import makers, products

    names = {each.get_friendly_name(): name for name, each in products(model).items()}
    takes_integers: dict[str, bool] = {}
    for operation in model.get_ordered_ops():
        own = operation.get_friendly_name()
        if own in names:
            takes_integers[own] = _is_wanted(names[own], bits, layers)
        else:
            takes_integers[own] = any(takes_integers[each.get_friendly_name()] for each in makers(operation))
    fixed = {each.get_friendly_name() for each in model.get_ordered_ops() if not each.inputs()}
    return [name for name, wanted in takes_integers.items() if not wanted and name not in fixed]


def _is_wanted(name: str, bits: Bits, layers: tuple[str, ...]) -> bool:
    """Whether a layer, or a product of the module before the slash, is computed in integers."""
    if name in layers:
        return name in bits
    module = name.rpartition("/")[0]
    return any(layer.startswith(f"{module}." if module else "") for layer in bits)
