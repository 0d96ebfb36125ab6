"""FP8 and NVFP4 quantization: floating-point numbers of 8 and 4 bits, which only recent NVIDIA GPUs multiply."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.formats import why_not_multiplied
from core.progress import Steps
from core.settings import choice, names, slider
from optimizers.fit import refuse_repetition, require_float
from optimizers.quantization.engines import FORMS
from optimizers.quantization.modelopt_ import ModelOpt, why_refused
from optimizers.quantization.quantizer import Quantizer, StaticGrid
from optimizers.technique import Context, Technique

_NAMES = {"fp8": "FP8", "nvfp4": "NVFP4"}
_BITS = {"fp8": 8, "nvfp4": 4}
_ENGINES = {"fp8": ("tensorrt", "pytorch", "torch_compile"), "nvfp4": ("pytorch", "torch_compile")}
_GRID = StaticGrid(symmetric=True)
_SIMULATE = "Simulate it with Simulated number format"


class Fp8(Technique):
    """Weights and activations as small floating-point numbers, multiplied as such by the GPU."""

    key: ClassVar[str] = "fp8"
    title: ClassVar[str] = "FP8 and NVFP4 quantization"
    summary: ClassVar[str] = "Computes in floating point of 8 or 4 bits, which GPUs since Ada and Hopper multiply fast."
    learn: ClassVar[str] = (
        "Integers lie on an even grid. Floating-point numbers lie close together near zero and far apart at the ends, "
        "as weights and activations do. FP8 (E4M3) has 4 bits of exponent and 3 of mantissa: the largest value seen "
        "becomes 448, and from there down to a 28,000th part every number keeps 3 bits after its first, so that a few "
        "extreme values cost less than in INT8. NVFP4 (E2M1) knows 0, 0.5, 1, 1.5, 2, 3, 4 and 6, with a scale in FP8 "
        "for every 16 numbers and one for the whole tensor: about half of FP8's bytes, and coarser. It pays where "
        "large matrix products fill the GPU, and not at batch 1, where launching them takes the time. Sources: "
        "Micikevicius et al. 2022, [arXiv:2209.05433](https://arxiv.org/abs/2209.05433), and NVIDIA on [NVFP4]"
        "(https://developer.nvidia.com/blog/introducing-nvfp4-for-efficient-and-accurate-low-precision-inference/)."
    )
    pays: ClassVar[str] = (
        "large matrix products fill a GPU that multiplies such numbers, FP8 from compute capability 8.9 and NVFP4 from "
        "10.0. No speed was measured here."
    )
    pays_not: ClassVar[str] = (
        "the batch is 1, where launching takes the time, or there is no such GPU. NVFP4 is coarse: simulated, it cost "
        "the samples of Fashion-MNIST 0.48 to 2.81 points."
    )

    number_format: Literal["fp8", "nvfp4"] = choice(
        "fp8",
        title="Number format",
        help="FP8 runs on GPUs since Ada and Hopper, in TensorRT and PyTorch. NVFP4 needs Blackwell and PyTorch.",
        labels={"fp8": "FP8 (E4M3)", "nvfp4": "NVFP4 (E2M1)"},
    )
    calibration_images: int = slider(
        256,
        low=1,
        high=2000,
        step=1,
        title="Calibration images",
        unit="images",
        help="How many images TensorRT's quantizer observes activations on. PyTorch scales activations anew at every "
        "inference; there these images are what is said about each layer rests on.",
    )
    keep: tuple[str, ...] = names(
        title="Keep in float",
        help="Layers that stay in float, separated by commas: names as `head` or `blocks.0.*`, or kinds as `Linear`.",
    )
    rest: Literal["fp16", "fp32"] = choice(
        "fp16",
        title="Layers in float",
        help="What the layers that are not quantized compute in, in TensorRT. FP16 is faster; FP32 is for networks "
        "whose values overflow it. In PyTorch they compute in BF16.",
        labels={"fp16": "FP16", "fp32": "FP32"},
        advanced=True,
    )

    def label(self) -> str:
        """`FP8` or `NVFP4`."""
        return _NAMES[self.number_format]

    def check(self, situation: Situation) -> Situation:
        """The situation in that format. Raises `CannotCompose` where nothing multiplies it."""
        refuse_repetition(situation, self.key, self.title)
        require_float(situation, self.title, takes_graphs=True)
        self._require_gpu(situation.device)
        self._require_engine(situation)
        form = FORMS[situation.runtime]
        return replace(situation, form=form, precision=self.number_format, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network in that format. Raises `CannotCompose` without such a GPU, and `NothingDone`."""
        from optimizers.quantization.graph_pipeline import quantized_graph
        from optimizers.quantization.pipeline import Wishes, quantized_bundle

        self._require_gpu(context.target or context.device)
        wishes = Wishes(
            key=self.key,
            title=self.title,
            bits=_BITS[self.number_format],
            images=self.calibration_images,
            keep=self.keep,
            linear_only=context.runtime != "tensorrt",
        )
        quantized = quantized_graph if bundle.form == "onnx" else quantized_bundle
        return (yield from quantized(bundle, context, self._quantizer(context), wishes))

    def _quantizer(self, context: Context) -> Quantizer:
        if context.runtime == "tensorrt":
            return ModelOpt(_GRID, rest=self.rest, number_format="fp8")
        from optimizers.quantization.torchao_float import TorchaoFloat

        return TorchaoFloat(self.number_format, context.device.id)

    def _require_engine(self, situation: Situation) -> None:
        name, engines = _NAMES[self.number_format], _ENGINES[self.number_format]
        if situation.runtime not in engines:
            raise CannotCompose(
                f"{name} for the runtime {situation.runtime}",
                expected=f"{', '.join(engines)}, the engines here that can be given it",
                action=_SIMULATE,
            )
        if situation.runtime == "tensorrt" and (reason := why_refused(_GRID)):
            raise Unavailable(reason, action=_SIMULATE)
        if situation.runtime != "tensorrt" and situation.family != "transformer":
            raise CannotCompose(
                f"{name} for a convolutional network in PyTorch",
                expected="a transformer, because PyTorch's libraries have it for linear layers only",
                action=f"Choose TensorRT for FP8. {_SIMULATE}",
            )

    def _require_gpu(self, device: Device) -> None:
        if reason := why_not_multiplied(self.number_format, device):
            raise CannotCompose(reason[0], expected=reason[1], action=_SIMULATE)
