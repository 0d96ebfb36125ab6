"""INT8 static post-training quantization by ONNX Runtime's quantizer."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.devices import Device
from core.errors import BadInput, CannotCompose, NothingDone
from core.progress import Note, Progress, Steps
from optimizers.fit import refuse_repetition
from optimizers.technique import Context, Technique, choice, slider

_RUNTIMES = ("onnxruntime", "openvino")
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni"})


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

    calibration_images: int = slider(
        256,
        low=16,
        high=2000,
        step=16,
        title="Calibration images",
        unit="images",
        help="How many images the activations are observed on. More is steadier and slower; a few hundred suffice.",
    )
    method: Literal["minmax", "entropy", "percentile"] = choice(
        "minmax",
        title="Calibration method",
        help="Min-max covers every value seen. Entropy keeps the range that loses the least information, percentile "
        "cuts off the rarest values: both give common values finer steps.",
        labels={"minmax": "Min-max", "entropy": "Entropy", "percentile": "Percentile"},
    )
    per_channel: bool = choice(
        True,
        title="A scale per channel",
        help="Each output channel of a layer has its own weight scale instead of one for the layer. More accurate, "
        "above all for depthwise convolutions, at hardly any cost.",
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

    def label(self) -> str:
        """`INT8`, with the calibration method where it is not the usual one."""
        return "INT8" if self.method == "minmax" else f"INT8 {self.method}"

    def check(self, situation: Situation) -> Situation:
        """An INT8 ONNX graph afterwards. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        if situation.form == "onnx":
            raise CannotCompose(
                f"{self.title} of an ONNX graph",
                expected="a PyTorch module",
                action="Keep one step that makes an ONNX graph, as the last one",
            )
        if situation.precision != "fp32":
            raise CannotCompose(
                f"{self.title} after mixed precision in {situation.precision}",
                expected="a float32 network, because 8-bit values replace 16-bit ones and do not add to them",
                action="Remove one of the two",
            )
        if situation.runtime not in _RUNTIMES:
            raise CannotCompose(
                f"{self.title} for the runtime {situation.runtime}",
                expected="ONNX Runtime or OpenVINO, because the result is an ONNX graph that PyTorch does not execute",
                action="Choose one of these as the runtime",
            )
        return replace(situation, form="onnx", precision="int8", applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network as an ONNX graph in QDQ form. Raises `BadInput` without calibration images, and `NothingDone`."""
        from core.onnx_export import export_onnx
        from optimizers import calibration

        images = bundle.data.calibrate.take(self.calibration_images).pixels
        if not len(images):
            raise BadInput("There are no calibration images", expected="at least one", action="Add images to the model")
        grid = calibration.Grid(
            per_channel=self.per_channel,
            symmetric=self.symmetric,
            seven_bit_weights=self._uses_seven_bits(context.device),
            layers_only=bundle.family == "transformer",
        )
        yield Progress(done=0, total=len(images), unit="images", doing="exporting")
        path = calibration.prepared(export_onnx(bundle.module, bundle.contract), context.folder)
        ranges = yield from calibration.observe(path, bundle.contract.prepare(images), self.method, grid)
        graph = calibration.quantize(path, ranges, grid)
        yield _what_changed(*calibration.count_quantized(graph), seven_bits=grid.seven_bit_weights)
        network = OnnxGraph(graph.SerializeToString())
        return replace(bundle, network=network, precision="int8", applied=(*bundle.applied, self.key))

    def _uses_seven_bits(self, device: Device) -> bool:
        if self.weight_range != "auto":
            return self.weight_range == "reduced"
        return "avx2" in device.cpu_flags and not device.cpu_flags & _DOT_PRODUCTS


def _what_changed(quantized: int, layers: int, *, seven_bits: bool) -> Note:
    if not quantized:
        raise NothingDone(f"0 of {layers} layers could be quantized", action="Leave out INT8 quantization")
    bits = "; weights in 7 bits, because this CPU could overflow with 8" if seven_bits else ""
    return Note(text=f"{quantized} of {layers} layers quantized{bits}.", warning=quantized < layers)
