"""Post-training quantization of a Keras network, by TensorFlow's own converter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from core.bundle import Form, ModelBundle, Precision, Situation, TfliteModel
from core.errors import BadInput, CannotCompose
from core.progress import Note, Steps
from core.settings import choice, slider
from optimizers.keras_fit import require_keras
from optimizers.keras_handover import handed_over, taken
from optimizers.technique import Context, Technique

_CALIBRATED = ("int8", "int16x8")
_PRECISIONS: Mapping[str, Precision] = {"dynamic": "int8", "fp16": "w16", "int8": "int8", "int16x8": "int16"}
_LABELS = {
    "int8": "INT8",
    "dynamic": "INT8 weights, activations rounded anew each time",
    "fp16": "FP16 weights",
    "int16x8": "INT16 activations, INT8 weights",
}


class KerasQuantization(Technique):
    """The float network of Keras becomes a `.tflite` file in few bits, without training."""

    key: ClassVar[str] = "keras_quantization"
    title: ClassVar[str] = "Post-training quantization (TensorFlow)"
    summary: ClassVar[str] = (
        "Converts a Keras network to a LiteRT file in 8 or 16 bits: a quarter or half of the size, without training."
    )
    takes: ClassVar[tuple[Form, ...]] = ("keras",)
    learn: ClassVar[str] = (
        "TensorFlow's converter writes the network as a `.tflite` file and rounds on the way: "
        "`real = scale × (integer − zero point)`, a scale for each output channel of the weights. **INT8** also "
        "rounds what flows between layers, on ranges that it observes on calibration images: integers from end to "
        "end. **Dynamic** rounds weights beforehand and activations anew at "
        "every inference: as small, no images needed, and layers below 1,024 weights stay in float. **FP16** keeps "
        "weights in half precision: half the size, hardly an error, and on CPUs no faster, because they are computed "
        "in FP32. **16x8** keeps activations in 16 bits, for accelerators that multiply so; on CPUs LiteRT computes "
        "it with unoptimised kernels, tens of times slower. Input and output stay float32 in all four. BatchNorm is "
        "merged into the layers before it. It pays on phones and small CPUs; where accuracy suffers, training with "
        "rounding wins much of it back. Sources: Jacob et al. 2017, "
        "[arXiv:1712.05877](https://arxiv.org/abs/1712.05877), and [LiteRT's guide to post-training quantization]"
        "(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_quantization)."
    )
    pays: ClassVar[str] = (
        "phones or CPUs serve the network: in INT8 the Keras sample took 26.5 % of the bytes and ran 2.1 times as "
        "fast, with nothing measurable lost."
    )
    pays_not: ClassVar[str] = (
        "FP16 or 16x8 is to be faster on a CPU: on the one measured FP16 was as fast as FP32, and 16x8 took 41 times "
        "as long."
    )

    scheme: Literal["int8", "dynamic", "fp16", "int16x8"] = choice(
        "int8",
        title="Scheme",
        help="INT8: integers throughout, ranges from calibration images. Dynamic: INT8 weights, activations rounded at "
        "every inference. FP16: half-precision weights. 16x8: for accelerators; far slower on CPUs.",
        labels={"int8": "INT8", "dynamic": "Dynamic", "fp16": "FP16", "int16x8": "16x8"},
    )
    calibration_images: int = slider(
        256,
        low=8,
        high=2000,
        step=8,
        title="Calibration images",
        unit="images",
        help="How many images the ranges of activations are observed on, the first ones, whose classes are mixed. More "
        "is steadier and slower; a few hundred suffice.",
        only_if=("scheme", _CALIBRATED),
    )

    def label(self) -> str:
        """`INT8 by TensorFlow`, `FP16 weights by TensorFlow`."""
        short = {"int8": "INT8", "dynamic": "Dynamic INT8", "fp16": "FP16 weights", "int16x8": "16x8"}
        return f"{short[self.scheme]} by TensorFlow"

    def check(self, situation: Situation) -> Situation:
        """The situation as a quantized `.tflite` file. Raises `CannotCompose`, and `Unavailable`."""
        require_keras(situation, self.key, self.title, quantizes=True)
        if (self.scheme, situation.runtime) == ("dynamic", "openvino"):
            raise CannotCompose(
                "The scheme Dynamic INT8 for OpenVINO",
                expected="static INT8 or FP16 weights, because OpenVINO computes a file of that scheme in float",
                action="Choose one of these two, or LiteRT as the runtime",
            )
        precision = _PRECISIONS[self.scheme]
        return replace(situation, form="tflite", precision=precision, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The `.tflite` file. Raises `BadInput` without calibration images, and `NothingDone`."""
        images = self.calibration_images if self.scheme in _CALIBRATED else 0
        if images and not len(bundle.data.calibrate):
            raise BadInput(
                "There are no calibration images",
                expected="at least one, to see how far activations reach",
                action="Choose the dynamic or the FP16 scheme, or add images to the model",
            )
        with handed_over(bundle, context.folder, trains=False, calibration_images=images) as given:
            told = yield from ask(
                TENSORFLOW, "bridges.keras.quantizing:quantize", {**given, "scheme": self.scheme, "images": images}
            )
        yield self._what_was_done(told, min(images, len(bundle.data.calibrate)))
        return replace(
            bundle,
            network=TfliteModel(taken(context.folder / "quantized.tflite")),
            precision=_PRECISIONS[self.scheme],
            applied=(*bundle.applied, self.key),
        )

    def _what_was_done(self, told: Mapping[str, Any], images: int) -> Note:
        seen = f" Ranges were observed on {images:,} images." if images else ""
        if self.scheme not in _CALIBRATED:
            return Note(text=f"{_LABELS[self.scheme]}, by TensorFlow's converter.")
        left = sorted(set(told["in_float"]))
        some = f" In float: {', '.join(left)}, which have no kernel in these bits." if left else ""
        rounded = told["operators"] - len(told["in_float"])
        return Note(text=f"{rounded} of {told['operators']} operators compute in {_LABELS[self.scheme]}.{seen}{some}")
