"""PyTorch's FP8 and NVFP4, of linear layers on a GPU: torchao. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from core.progress import Progress, Steps
from core.reduced import cast
from core.torchao_import import quiet
from optimizers.quantization.minifloat import e2m1, e4m3
from optimizers.quantization.quantizer import Bits, LayerGrid, Quantized, Source

NumberFormat = Literal["fp8", "nvfp4"]

_MULTIPLE = 16
"""Both sides of a weight matrix must be multiples of it for the GPU's matrix units."""


class InBfloat16(nn.Module):
    """A network that computes in bfloat16 between float32 ends."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(torch.bfloat16)

    def forward(self, input: Tensor) -> Tensor:
        """float32 logits[N, classes]."""
        logits: Tensor = self.network(cast(input, torch.bfloat16))
        return logits.float()


class TorchaoFloat:
    """`torchao.quantization.quantize_`: weights rounded once, activations anew at every inference; the rest in bf16."""

    def __init__(self, number_format: NumberFormat, device_id: str) -> None:
        self.number_format, self._device_id = number_format, device_id
        self.title = "torchao quantize_"

    def observe(self, source: Source) -> Steps[TorchaoFloatObserved]:
        """Nothing to look at: ranges are found anew at every inference."""
        yield Progress(done=1, total=1, unit="networks", doing="quantizing")
        return TorchaoFloatObserved(source, self.number_format, self._device_id)


class TorchaoFloatObserved:
    """The float network, quantized as often as is asked."""

    def __init__(self, source: Source, number_format: NumberFormat, device_id: str) -> None:
        self._source, self._number_format, self._device_id = source, number_format, device_id

    def quantize(self, bits: Bits) -> Quantized:
        """A copy on the CPU with the linear layers of `bits` quantized, as far as their sizes allow."""
        with quiet():
            from torchao.quantization import quantize_
        network = InBfloat16(copy.deepcopy(self._source.module)).eval().to(self._device_id)
        with torch.no_grad(), quiet():
            quantize_(network.network, _config(self._number_format), filter_fn=_chosen(bits))
        network = network.cpu()
        grids = {name: grid for name in bits if (grid := _grid(network.network.get_submodule(name)))}
        return Quantized(network, self._number_format, grids)


def _config(number_format: NumberFormat) -> Any:
    if number_format == "nvfp4":
        from torchao.prototype.mx_formats import NVFP4DynamicActivationNVFP4WeightConfig

        # Its kernel for activations is in MSLK, a library of its own.
        return NVFP4DynamicActivationNVFP4WeightConfig(use_triton_kernel=False)
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow

    # Otherwise it changes torch.compile's settings for the whole process.
    return Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)


def _chosen(bits: Bits) -> Callable[[nn.Module, str], bool]:
    def is_chosen(module: nn.Module, name: str) -> bool:
        if name not in bits or not isinstance(module, nn.Linear):
            return False
        return module.in_features % _MULTIPLE == 0 and module.out_features % _MULTIPLE == 0

    return is_chosen


def _grid(layer: nn.Module) -> LayerGrid | None:
    """Read back from the weight that torchao put there; None for a layer it left alone."""
    with quiet():
        from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor
        from torchao.quantization import Float8Tensor
    weight: Any = layer.weight
    if isinstance(weight, Float8Tensor):
        return LayerGrid(e4m3(_numpy(weight.scale).reshape(-1)), None)
    if isinstance(weight, NVFP4Tensor):
        return LayerGrid(e2m1(_numpy(weight.get_hp_scales())), None)
    return None


def _numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(tensor.detach().float().cpu().numpy())
