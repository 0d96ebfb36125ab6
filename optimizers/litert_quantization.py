"""Quantization of any float `.tflite` file, by LiteRT's own quantizer and without TensorFlow."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from bridges.environments import LITERT_TORCH
from bridges.torch_to_tflite import tflite_of
from core.bundle import Form, KerasModel, ModelBundle, Precision, Situation, Task, TfliteModel
from core.data import Inputs
from core.errors import BadInput, CannotCompose, NothingDone, RunFailed, Unavailable
from core.progress import Note, Progress, Steps
from core.settings import choice, slider
from core.tflite_ends import Ends
from core.tflite_file import facts_of, precision_of_file
from core.tflite_rewriting import INPUT, SIGNATURE, plain_form
from core.tflite_session import TfliteSession
from optimizers.fit import refuse_repetition, require_float
from optimizers.technique import Context, Technique

Scheme = Literal["dynamic_int8", "static_int8", "weights_int8", "dynamic_int4", "weights_int4", "static_16x8"]
RUNTIMES = ("litert", "openvino")
"""Engines that open a `.tflite` file."""
_RECIPES: dict[Scheme, str] = {
    "dynamic_int8": "dynamic_wi8_afp32",
    "static_int8": "static_wi8_ai8",
    "weights_int8": "weight_only_wi8_afp32",
    "dynamic_int4": "dynamic_wi4_afp32",
    "weights_int4": "weight_only_wi4_afp32",
    "static_16x8": "static_wi8_ai16",
}
_PRECISIONS: dict[Scheme, Precision] = {
    "dynamic_int8": "int8",
    "static_int8": "int8",
    "weights_int8": "w8",
    "dynamic_int4": "w4",
    "weights_int4": "w4",
    "static_16x8": "int16",
}
_LABELS = {
    "dynamic_int8": "Dynamic INT8",
    "static_int8": "INT8",
    "weights_int8": "INT8 weights",
    "dynamic_int4": "Dynamic INT4",
    "weights_int4": "INT4 weights",
    "static_16x8": "16x8",
}
_CALIBRATED = ("static_int8", "static_16x8")
_NOT_IN_OPENVINO = {
    "dynamic_int8": "OpenVINO computes a file of that scheme in float, as if only the weights were rounded",
    "dynamic_int4": "OpenVINO cannot open 4-bit weights of convolutions in a .tflite file",
    "weights_int4": "OpenVINO cannot open 4-bit weights of convolutions in a .tflite file",
    "static_16x8": "OpenVINO has no arithmetic with 16-bit integers and computes a file of that scheme in float",
}
_IN_OPENVINO = tuple(scheme for scheme in get_args(Scheme) if scheme not in _NOT_IN_OPENVINO)
_AT_ONCE = 16
_TRIED = 4


class LiteRtQuantization(Technique):
    """The weights of a `.tflite` file, and where wanted its activations, in few bits."""

    key: ClassVar[str] = "litert_quantization"
    title: ClassVar[str] = "LiteRT quantizer"
    summary: ClassVar[str] = (
        "Rounds any float LiteRT file to 8 or 4 bits in seconds, without TensorFlow: a quarter or less of the size."
    )
    takes: ClassVar[tuple[Form, ...]] = ("torch", "keras", "tflite")
    learn: ClassVar[str] = (
        "Works on the `.tflite` file itself, whatever it was made of: a network of Keras, one of PyTorch (converted "
        "by LiteRT Torch first) or a file that was brought. Each output channel of the weights gets a scale: "
        "`real = scale × integer`. **Dynamic** rounds activations anew at every inference and multiplies integers: "
        "no images needed. **Static** observes on calibration images how far activations reach, from the smallest "
        "to the largest value seen, and computes in integers throughout: usually the fastest. **Weights only** stores "
        "integers and multiplies floats: small, and no faster. **4 bits** leave 16 values for a whole channel: half "
        "the size once more, which matrix products of transformers bear better than convolutions do, depthwise ones "
        "least of all. **16x8** keeps activations in 16 bits, for accelerators that multiply so; CPUs compute it "
        "with unoptimised kernels, many times slower. Sources: Jacob et al. 2017, "
        "[arXiv:1712.05877](https://arxiv.org/abs/1712.05877), and "
        "[LiteRT's quantizer](https://github.com/google-ai-edge/litert-quantizer)."
    )
    pays: ClassVar[str] = (
        "there is only a `.tflite` file, or no TensorFlow: in static INT8 the Keras sample took 26.5 % of the bytes "
        "and ran 2.1 times as fast, with nothing measurable lost."
    )
    pays_not: ClassVar[str] = (
        "4 bits or 16x8 are to be fast on a CPU: on the one measured dynamic INT4 took 2.4 times as long as FP32."
    )

    scheme: Scheme = choice(
        "dynamic_int8",
        title="Scheme",
        help="Dynamic: integer arithmetic, activations rounded at every inference. Static: ranges from calibration "
        "images. Weights only: small file, float arithmetic. 16x8: for accelerators; far slower on CPUs.",
        labels={
            "dynamic_int8": "Dynamic INT8",
            "static_int8": "Static INT8",
            "weights_int8": "INT8 weights only",
            "dynamic_int4": "Dynamic INT4",
            "weights_int4": "INT4 weights only",
            "static_16x8": "Static 16x8",
        },
    )
    calibration_images: int = slider(
        128,
        low=8,
        high=1000,
        step=8,
        title="Calibration images",
        unit="images",
        help="How many images the ranges of activations are observed on. More is steadier and slower; a hundred often "
        "suffice.",
        only_if=("scheme", _CALIBRATED),
    )

    def label(self) -> str:
        """`Dynamic INT8 by LiteRT's quantizer`."""
        return f"{_LABELS[self.scheme]} by LiteRT's quantizer"

    @classmethod
    def fitting(cls, task: Task, runtime: str) -> dict[str, tuple[str, ...]]:
        """For OpenVINO the schemes that it computes as they are meant."""
        return {"scheme": _IN_OPENVINO} if runtime == "openvino" else {}

    def check(self, situation: Situation) -> Situation:
        """The situation as a quantized `.tflite` file. Raises `CannotCompose`, and `Unavailable` for networks of
        PyTorch where nothing can convert them."""
        refuse_repetition(situation, self.key, self.title)
        require_float(situation, self.title)
        if situation.task == "text":
            raise CannotCompose(
                f"{self.title} of a model for texts",
                expected="images, because only those are converted to LiteRT here",
                action="Choose INT8 or weight-only quantization",
            )
        self._require_engine(situation)
        if situation.form == "torch" and (reason := LITERT_TORCH.why_missing):
            raise Unavailable(reason)
        precision = _PRECISIONS[self.scheme]
        return replace(situation, form="tflite", precision=precision, applied=(*situation.applied, self.key))

    def _require_engine(self, situation: Situation) -> None:
        if situation.runtime not in RUNTIMES:
            raise CannotCompose(
                f"{self.title} for another engine than LiteRT or OpenVINO",
                expected="one that opens the .tflite file that it makes",
                action="Choose LiteRT as the engine",
            )
        reason = _NOT_IN_OPENVINO.get(self.scheme)
        if situation.runtime == "openvino" and reason:
            raise CannotCompose(
                f"The scheme {_LABELS[self.scheme]} for OpenVINO",
                expected=f"static INT8 or INT8 weights, because {reason}",
                action="Choose one of these two, or LiteRT as the runtime",
            )

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The quantized file. Raises `BadInput` where it holds quantized weights already or there are no calibration
        images, `NothingDone` where nothing can be quantized, and `RunFailed` where LiteRT cannot run the outcome."""
        content = plain_form((yield from _float_file(bundle, context)))
        if precision_of_file(content) != "fp32":
            raise BadInput(
                "The weights in this .tflite file are in fewer bits than 32 already",
                expected="a float file",
                action="Add the float file that it was made of, or measure this one as it is",
            )
        ranges = None
        if self.scheme in _CALIBRATED:
            ranges = yield from self._observed(content, bundle, context.threads)
        quantized = plain_form(_quantized(content, self._recipe(), ranges))
        yield _what_was_done(quantized)
        _try(quantized, bundle.contract.prepare(bundle.data.test.take(_TRIED).pixels))
        applied = (*bundle.applied, self.key)
        return replace(bundle, network=TfliteModel(quantized), precision=_PRECISIONS[self.scheme], applied=applied)

    def _recipe(self) -> list[dict[str, Any]]:
        """The library's, with float ends."""
        from litert_quantizer import recipe

        entries: list[dict[str, Any]] = getattr(recipe, _RECIPES[self.scheme])()
        if self.scheme not in _CALIBRATED:
            return entries
        ends = [{"regex": ".*", "operation": end, "algorithm_key": "no_quantize"} for end in ("INPUT", "OUTPUT")]
        return [*entries, *ends]

    def _observed(self, content: bytes, bundle: ModelBundle, threads: int) -> Steps[Any]:
        """By tensor, the smallest and the largest value on calibration images; the library's usual moving average would
        cut off what single images need."""
        from litert_quantizer.calibrator import Calibrator
        from litert_quantizer.recipe_manager import RecipeManager
        from litert_quantizer.utils.qsv_utils import min_max_update

        x = bundle.contract.prepare(bundle.data.calibrate.take(self.calibration_images).pixels)
        if not len(x):
            raise BadInput(
                "There are no calibration images",
                expected="at least one, to see how far activations reach",
                action="Choose a dynamic scheme, or add images to the model",
            )
        manager = RecipeManager()
        manager.load_quantization_recipe(self._recipe())
        with _quiet():
            calibrator = Calibrator(content, num_threads=threads, qsv_update_func=min_max_update)
        images = Ends.of(content).arranged(x)
        for start in range(0, len(images), _AT_ONCE):
            yield Progress(done=start, total=len(images), unit="images", doing="observing activations")
            given = [{INPUT: image[None]} for image in images[start : start + _AT_ONCE]]
            with _quiet():
                calibrator.calibrate({SIGNATURE: given}, manager)
        return calibrator.get_model_qsvs()


def _float_file(bundle: ModelBundle, context: Context) -> Steps[bytes]:
    network = bundle.network
    if isinstance(network, KerasModel):
        return network.tflite
    if isinstance(network, TfliteModel):
        return network.content
    return (yield from tflite_of(bundle, context.folder))


def _quantized(content: bytes, recipe: list[dict[str, Any]], ranges: Any) -> bytes:
    from litert_quantizer import Quantizer

    quantizer = Quantizer(content)
    quantizer.load_quantization_recipe(recipe)
    with _quiet():
        outcome = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(outcome.quantized_model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars, and without the warning that intermediate results take memory."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
        yield


def _what_was_done(content: bytes) -> Note:
    """Raises `NothingDone` where no weights are in fewer bits."""
    weights = facts_of(content).weights
    small = [each for each in weights if each.bits < 16]
    if not small:
        raise NothingDone(
            "LiteRT's quantizer found no weights that it can round here",
            expected="convolutions or matrix products with constant weights",
            action="Leave it out",
        )
    return Note(text=f"{len(small)} of {len(weights)} weight tensors are stored in {small[0].bits} bits.")


def _try(content: bytes, x: Inputs) -> None:
    """Raises `RunFailed` where LiteRT cannot run the file on x[N, C, H, W] or answers what is no number."""
    try:
        with TfliteSession(content, "xnnpack", 1) as session:
            if np.isfinite(session.run(x)).all():
                return
        reason = "its answers are not finite"
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip()[:200]
    raise RunFailed(f"LiteRT cannot run what its quantizer made ({reason})", action="Choose another scheme")
