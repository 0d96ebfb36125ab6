"""Which quantizer belongs to which engine, and what it cannot do. Imports no library of theirs."""

from __future__ import annotations

from typing import Literal

from core.bundle import Form
from core.devices import Device
from core.errors import CannotCompose
from optimizers.quantization import modelopt_, nncf_static, nncf_weights, ort_weights, pt2e, torchao_weights
from optimizers.quantization.modelopt_ import ModelOpt
from optimizers.quantization.nncf_static import NncfStatic
from optimizers.quantization.nncf_weights import NncfWeights
from optimizers.quantization.ort_weights import OrtWeights
from optimizers.quantization.pt2e import Pt2e
from optimizers.quantization.quantizer import Quantizer, StaticGrid, WeightGrid
from optimizers.quantization.torchao_weights import TorchaoWeights

FORMS: dict[str, Form] = {
    "pytorch": "torch",
    "torch_compile": "torch",
    "aotinductor": "torch",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "tensorrt": "onnx",
}
"""What each engine's quantizer gives."""


def static_quantizer(runtime: str, grid: StaticGrid, *, rest: Literal["fp32", "fp16"]) -> Quantizer:
    """The engine's quantizer of weights and activations; what is not quantized computes in `rest`."""
    if runtime == "onnxruntime":
        from optimizers.quantization.ort_static import OrtStatic

        return OrtStatic(grid)
    others: dict[str, Quantizer] = {
        "openvino": NncfStatic(grid),
        "torch_compile": Pt2e(grid),
        "tensorrt": ModelOpt(grid, rest=rest),
    }
    return others[runtime]


def static_refusal(runtime: str, device: Device, grid: StaticGrid) -> CannotCompose | None:
    """Why the engine's quantizer cannot work with these settings, or None."""
    if runtime not in FORMS:
        return _no_quantizer()
    if runtime == "torch_compile":
        return _refusal(pt2e.why_refused(grid, device))
    asked = {"openvino": nncf_static.why_refused, "tensorrt": modelopt_.why_refused}.get(runtime)
    return _refusal(asked(grid) if asked else None)


def weight_quantizer(runtime: str, grid: WeightGrid) -> Quantizer:
    """The engine's quantizer of weights alone."""
    if runtime == "tensorrt":
        from optimizers.quantization.tensorrt_weights import TensorRtWeights

        return TensorRtWeights(grid)
    torchao = TorchaoWeights(grid)
    others: dict[str, Quantizer] = {
        "onnxruntime": OrtWeights(grid),
        "openvino": NncfWeights(grid),
        "pytorch": torchao,
        "torch_compile": torchao,
    }
    return others[runtime]


def weight_refusal(runtime: str, device: Device, grid: WeightGrid, *, bits: int) -> CannotCompose | None:
    """Why the engine cannot keep weights in that form, or None."""
    if runtime not in FORMS:
        return _no_quantizer()
    if runtime == "onnxruntime":
        return _refusal(ort_weights.why_refused(grid))
    if runtime == "openvino":
        return _refusal(nncf_weights.why_refused(grid, bits=bits))
    if runtime == "tensorrt":
        from optimizers.quantization.tensorrt_weights import why_weights_refused

        return _refusal(why_weights_refused(grid, bits=bits))
    return _refusal(torchao_weights.why_refused(grid, device, bits=bits))


def _no_quantizer() -> CannotCompose:
    return CannotCompose(
        "this kind of quantization for LiteRT",
        expected="the technique LiteRT quantizer, which works on LiteRT's own files",
        action="Choose that technique instead, or another runtime",
    )


def _refusal(reason: str | None) -> CannotCompose | None:
    action = "Change that setting, or choose another runtime"
    return CannotCompose(reason, action=action) if reason else None
