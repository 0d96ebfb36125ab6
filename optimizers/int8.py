"""INT8 static post-training quantization, by the quantizer of the engine that will serve the network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.devices import Device
from core.errors import CannotCompose
from core.progress import Note, Steps
from core.settings import choice, names, slider
from optimizers.fit import refuse_for_graphs, refuse_repetition, require_float
from optimizers.quantization.engines import FORMS, static_quantizer, static_refusal
from optimizers.quantization.quantizer import Method, StaticGrid
from optimizers.technique import Context, Technique

if TYPE_CHECKING:
    from optimizers.quantization.pipeline import Wishes

_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni"})
_WHY_SEVEN = ", because this CPU could overflow with 8"


class Int8(Technique):
    """Weights and activations as 8-bit integers, on a grid chosen from calibration images."""

    key: ClassVar[str] = "int8"
    title: ClassVar[str] = "INT8 quantization"
    summary: ClassVar[str] = "Computes in 8-bit integers: a quarter of the size, faster on CPUs, little accuracy lost."
    learn: ClassVar[str] = (
        "Every number is rounded to one of 256 values: `real = scale × (integer − zero point)`. Weights are known "
        "beforehand; how far activations reach is observed on calibration images, which share nothing with the test "
        "set. Integers are a quarter of the size of float32 and processors multiply several at once. It pays where "
        "the time goes into convolutions and large matrix products and the processor has integer dot products (VNNI, "
        "AMX, tensor cores). It pays little where conversions between float and integer dominate, and costs accuracy "
        "where a few extreme values stretch the grid: LayerNorm and softmax in transformers, which stay in float "
        "here, and depthwise convolutions, which want a scale per channel. Sources: Jacob et al. 2017, "
        "[arXiv:1712.05877](https://arxiv.org/abs/1712.05877), and [ONNX Runtime's guide]"
        "(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html)."
    )
    pays: ClassVar[str] = (
        "convolutions and large matrix products take the time and the processor multiplies integers: the ResNet sample "
        "ran 3.1 to 3.5 times as fast, with nothing measurable lost."
    )
    pays_not: ClassVar[str] = (
        "layers are small or depthwise, or conversions to integers and back take the time: in ONNX Runtime the vision "
        "transformer sample gained nothing, and the tiny depthwise one took twice as long."
    )

    calibration_images: int = slider(
        256,
        low=1,
        high=2000,
        step=1,
        title="Calibration images",
        unit="images",
        help="How many images the activations are observed on. More is steadier and slower; a few hundred suffice.",
    )
    method: Method = choice(
        "minmax",
        title="Calibration method",
        help="Min-max covers every value seen. Percentile cuts off the rarest, entropy keeps the range that loses the "
        "least information, MSE the one with the smallest squared error: all three give common values finer steps.",
        labels={"minmax": "Min-max", "entropy": "Entropy", "percentile": "Percentile", "mse": "MSE"},
    )
    per_channel: bool = choice(
        True,
        title="A scale per channel",
        help="Each output channel of a layer has its own weight scale instead of one for the layer. More accurate, "
        "above all for depthwise convolutions, at hardly any cost.",
    )
    max_loss: float = slider(
        0,
        low=0,
        high=5,
        step=0.1,
        title="Lose at most",
        unit="points",
        help="Leaves the layers that hurt most in float until no more than this many percentage points of accuracy are "
        "lost on calibration images; without labels, of agreement with the float network. 0 sets no limit. Every "
        "candidate is made and opened: ten times as long, with torch.compile far longer.",
    )
    keep: tuple[str, ...] = names(
        title="Keep in float",
        help="Layers that stay in float, separated by commas: names as `head` or `features.3.*`, or kinds as `Linear`.",
    )
    smooth_quant: float = slider(
        0,
        low=0,
        high=1,
        step=0.05,
        title="SmoothQuant",
        help="For transformers: moves outliers from activations into weights, across each LayerNorm, before rounding. "
        "0 leaves it out, 0.5 shares them evenly, higher moves more.",
        advanced=True,
    )
    bias_correction: bool = choice(
        False,
        title="Bias correction",
        help="Takes the mean error that rounding causes in each channel back out of the layer's bias.",
        advanced=True,
    )
    reestimate_batchnorm: bool = choice(
        False,
        title="BatchNorm re-estimation",
        help="Estimates the statistics of BatchNorm anew on what the rounded layers give, before it is merged into "
        "them: mean and spread of each channel are right again.",
        advanced=True,
    )
    symmetric: bool = choice(
        False,
        title="Symmetric activations",
        help="Every zero point is 0 and biases stay in float, as TensorRT requires. On CPUs the asymmetric grid is "
        "faster and wastes no values on what ReLU never gives.",
        advanced=True,
    )
    weight_range: Literal["auto", "full", "reduced"] = choice(
        "auto",
        title="Weight range",
        help="CPUs without VNNI add pairs of 8-bit products in 16 bits, which can overflow; with 7-bit weights it "
        "cannot happen.",
        labels={"auto": "As this CPU needs", "full": "8 bits", "reduced": "7 bits"},
        advanced=True,
    )
    rest: Literal["fp32", "fp16"] = choice(
        "fp32",
        title="Layers in float",
        help="What the layers that are not quantized compute in. FP16 is for TensorRT, where it is twice as fast.",
        labels={"fp32": "FP32", "fp16": "FP16"},
        advanced=True,
    )

    def label(self) -> str:
        """`INT8`, with what differs from the usual and matters most."""
        parts = [
            "" if self.method == "minmax" else self.method,
            "" if self.per_channel else "per tensor",
            "symmetric" if self.symmetric else "",
            "7-bit weights" if self.weight_range == "reduced" else "",
            f"SmoothQuant {self.smooth_quant:g}" if self.smooth_quant else "",
            "biases corrected" if self.bias_correction else "",
            "BatchNorm re-estimated" if self.reestimate_batchnorm else "",
            "beside FP16" if self.rest == "fp16" else "",
            f"≤ {self.max_loss:g} points" if self.max_loss else "",
            f"{len(self.keep)} kept" if self.keep else "",
        ]
        return " ".join(["INT8", *(part for part in parts if part)])

    def check(self, situation: Situation) -> Situation:
        """The situation in INT8, in the form that the runtime takes. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_float(situation, self.title, takes_graphs=True)
        refuse_for_graphs(
            situation,
            {
                "An accuracy limit": self.max_loss,
                "SmoothQuant": self.smooth_quant,
                "Bias correction": self.bias_correction,
                "BatchNorm re-estimation": self.reestimate_batchnorm,
            },
        )
        if situation.runtime == "pytorch":
            raise CannotCompose(
                f"{self.title} for eager PyTorch",
                expected="an engine that multiplies integers, because eager PyTorch would compute the rounded values "
                "in float",
                action="Choose torch.compile, ONNX Runtime or OpenVINO as the runtime",
            )
        if reason := static_refusal(situation.runtime, situation.device, self._grid(situation.device)):
            raise reason
        if self.rest == "fp16" and situation.runtime != "tensorrt":
            raise CannotCompose(
                f"Layers in FP16 beside INT8 for the runtime {situation.runtime}",
                expected="TensorRT, the one engine here that mixes the two",
                action="Leave these layers in FP32",
            )
        if self.smooth_quant and situation.family != "transformer":
            raise CannotCompose(
                "SmoothQuant for a convolutional network",
                expected="a transformer, because it moves outliers across LayerNorms",
                action="Set SmoothQuant to 0",
            )
        if self.max_loss and (self.bias_correction or self.reestimate_batchnorm):
            raise CannotCompose(
                "corrections together with an accuracy limit",
                expected="one of the two, because a correction is for the layers that are rounded, and the limit "
                "changes which these are",
                action="Switch the corrections off or set the limit to 0",
            )
        if self.reestimate_batchnorm and situation.family != "cnn":
            raise CannotCompose(
                "BatchNorm re-estimation for a transformer",
                expected="a network with BatchNorm",
                action="Switch BatchNorm re-estimation off",
            )
        form = FORMS[situation.runtime]
        return replace(situation, form=form, precision="int8", applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network in INT8. Raises `BadInput` without calibration images, and `NothingDone`."""
        from optimizers.quantization.graph_pipeline import quantized_graph
        from optimizers.quantization.pipeline import quantized_bundle

        grid = self._grid(context.device)
        if grid.seven_bit_weights:
            yield Note(text="Weights have 7 bits" + _WHY_SEVEN * (self.weight_range == "auto") + ".")
        quantizer = static_quantizer(context.runtime, grid, rest=self.rest)
        quantized = quantized_graph if bundle.form == "onnx" else quantized_bundle
        return (yield from quantized(bundle, context, quantizer, self._wishes(bundle, context)))

    def _wishes(self, bundle: ModelBundle, context: Context) -> Wishes:
        from optimizers.quantization.pipeline import Wishes

        return Wishes(
            key=self.key,
            title=self.title,
            bits=8,
            images=self.calibration_images,
            keep=self.keep,
            max_loss_points=self.max_loss,
            smooth=self.smooth_quant,
            correct_biases=self.bias_correction,
            renormalise=self.reestimate_batchnorm,
        )

    def _grid(self, device: Device) -> StaticGrid:
        return StaticGrid(
            method=self.method,
            per_channel=self.per_channel,
            symmetric=self.symmetric,
            seven_bit_weights=self._uses_seven_bits(device),
        )

    def _uses_seven_bits(self, device: Device) -> bool:
        if self.weight_range != "auto":
            return self.weight_range == "reduced"
        return "avx2" in device.cpu_flags and not device.cpu_flags & _DOT_PRODUCTS
