"""Weights in 8 or 4 bits by NNCF, the quantizer that OpenVINO's makers keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.bundle import Precision
from core.progress import Progress, Steps
from optimizers.quantization.nncf_quiet import quiet
from optimizers.quantization.quantizer import Bits, LayerGrid, Observed, Quantized, Source, WeightGrid

_ACTIVATIONS = ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"]
"""Where a model tells the engine how many activations of a row share a scale; 0 leaves them in float."""
_DYNAMIC, _FLOAT = "32", "0"


def why_refused(grid: WeightGrid, *, bits: int) -> str | None:
    """One sentence on why NNCF cannot keep weights in that form, or None. Imports nothing heavy."""
    if bits == 8 and grid.group_size:
        return "NNCF, OpenVINO's quantizer, gives 8-bit weights one scale a channel: choose the whole channel as group"
    return None


@dataclass(frozen=True)
class NncfWeights:
    """NNCF's weight compression of an OpenVINO model."""

    grid: WeightGrid
    title: str = "NNCF compress_weights"

    def observe(self, source: Source) -> Steps[Observed]:
        """The exported network: weights need no calibration."""
        yield Progress(done=0, total=1, unit="networks", doing="converting for OpenVINO")
        with quiet():
            from optimizers.quantization.openvino_graph import graph_of

            model = graph_of(source.onnx())
        yield Progress(done=1, total=1, unit="networks", doing="converting for OpenVINO")
        return _Observed(self.grid, model)


@dataclass(frozen=True, eq=False)
class _Observed:
    grid: WeightGrid
    model: Any
    """The float `openvino.Model`."""

    def quantize(self, bits: Bits) -> Quantized:
        """The network with the weights of `bits` in 8 or 4 bits.

        8-bit weights have one scale a channel, whatever the group size. In 4 bits NNCF keeps the weights of linear
        layers alone, and only where the groups come out even.
        """
        from optimizers.quantization.openvino_graph import products, weight_grid, written

        model = self.model.clone()
        with quiet():
            for width in sorted(set(bits.values())):
                model = self._compressed(model, width, {name for name, each in bits.items() if each == width})
        model.set_rt_info(_DYNAMIC if self.grid.dynamic else _FLOAT, _ACTIVATIONS)
        found = {name: weight_grid(product) for name, product in products(model).items() if name in bits}
        grids = {name: LayerGrid(weight, None) for name, weight in found.items() if weight}
        return Quantized(written(model), self._precision(bits), grids)

    def _compressed(self, model: Any, width: int, layers: set[str]) -> Any:
        import nncf

        kind = f"INT{width}_{'SYM' if self.grid.symmetric else 'ASYM'}"
        in_groups = {
            "group_size": self.grid.group_size or -1,
            "ratio": 1.0,
            "all_layers": True,
            "backup_mode": nncf.BackupMode.NONE,
            "advanced_parameters": nncf.AdvancedCompressionParameters(
                group_size_fallback_mode=nncf.GroupSizeFallbackMode.IGNORE
            ),
        }
        return nncf.compress_weights(
            model,
            mode=nncf.CompressWeightsMode[kind],
            ignored_scope=nncf.IgnoredScope(names=_others(model, layers), validate=False),
            **(in_groups if width == 4 else {}),
        )

    def _precision(self, bits: Bits) -> Precision:
        if min(bits.values(), default=8) == 4:
            return "w4"
        return "int8" if self.grid.dynamic else "w8"


def _others(model: Any, layers: set[str]) -> list[str]:
    """Every operation but these layers: embeddings are compressed as well where nobody objects."""
    from optimizers.quantization.openvino_graph import products

    wanted = {each.get_friendly_name() for name, each in products(model).items() if name in layers}
    operations = (each.get_friendly_name() for each in model.get_ordered_ops() if each.inputs())
    return [name for name in operations if name not in wanted]
