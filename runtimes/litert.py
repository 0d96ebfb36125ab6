"""LiteRT (TensorFlow Lite): one `model.tflite`, served on CPUs, as on phones and small devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridges.environments import LITERT_TORCH
from core.bundle import ModelBundle, Situation, form_title
from core.data import Floats, Inputs
from core.devices import Device
from core.errors import CannotCompose
from core.layers import LayerProfile
from core.settings import choice
from core.tflite_ends import RESOLVERS, End, Ends, Kernels
from core.tflite_reference import tensor_of, tensors_in
from core.tflite_session import TfliteSession
from runtimes.fit import why_not_installed
from runtimes.runtime import NO_AIDS, Aids, Artifact, EngineSettings, Session
from runtimes.sample_code import sample_code
from runtimes.tflite_file import TFLITE_FORMS, write_tflite

_ENGINE = """
interpreter = Interpreter(str(HERE / "{file}"), num_threads={threads}{kernels})
GIVEN, ANSWER = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
def {name}(x):
    x = x if x.shape[1:] == tuple(GIVEN["shape"][1:]) else x.transpose(0, 2, 3, 1){resized}
    interpreter.allocate_tensors()
    interpreter.set_tensor(GIVEN["index"], {given})
    interpreter.invoke()
    return {answer}{one_by_one}
"""
_THREADS = 'int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count()'
_RESIZED = """
    interpreter.resize_tensor_input(GIVEN["index"], x.shape)"""
_ONE_BY_ONE = """
logits = lambda x: np.concatenate([of_one(image[None]) for image in x])  # the file takes one image at a time"""
_ROUNDED = 'np.clip(np.rint(x / {scale:.9g}) + {zero}, {low}, {high}).astype(GIVEN["dtype"])'
_WIDENED = "np.float32({scale:.9g}) * (np.float32({answer}) - {zero})"


class LiteRtSettings(EngineSettings):
    """Which of its kernels compute."""

    kernels: Kernels = choice(
        "xnnpack",
        title="Kernels",
        help="XNNPACK, which LiteRT hands to what it can, or its own kernels for all operators. The reference kernels "
        "are written to be read: tens of times slower, they show what an answer should be.",
        labels={"xnnpack": "XNNPACK", "own": "LiteRT's own", "reference": "Reference"},
    )

    def label(self) -> str:
        """What is not as usual: `without XNNPACK`."""
        return {"xnnpack": "", "own": "without XNNPACK", "reference": "reference kernels"}[self.kernels]


@dataclass(frozen=True)
class LiteRt:
    """Google's runtime for small devices."""

    settings: LiteRtSettings

    key = "litert"
    title = "LiteRT"
    summary = "One small .tflite file, as phones and small devices run it: what networks of Keras are served with."

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        if device.kind == "cuda":
            return "LiteRT does not run on NVIDIA GPUs: choose the CPU as the device"
        return why_not_installed("ai_edge_litert", self.title)

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` for what has no `.tflite` form, or none without LiteRT Torch where that is missing."""
        if situation.task == "text":
            raise CannotCompose(
                "a model of texts for LiteRT",
                expected="images",
                action="Choose ONNX Runtime or OpenVINO as the runtime",
            )
        if situation.form in TFLITE_FORMS:
            return
        if situation.form != "torch":
            raise CannotCompose(
                f"a model {form_title(situation.form)} for LiteRT",
                expected="a model of PyTorch, of Keras or that is a .tflite file, because nothing converts others",
                action="Choose ONNX Runtime or OpenVINO as the runtime",
            )
        if situation.precision != "fp32":
            raise CannotCompose(
                f"a PyTorch network in {situation.precision} for LiteRT",
                expected="fp32, which LiteRT Torch converts",
                action="Leave the technique that reduces precision out, or take the technique LiteRT quantizer",
            )
        if why := LITERT_TORCH.why_missing:
            raise CannotCompose(
                "a network of PyTorch for LiteRT", expected="LiteRT Torch, which converts it", action=why
            )

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.tflite`: as it is, of a network of Keras its conversion, or LiteRT Torch's of one of PyTorch."""
        file = write_tflite(bundle, folder, aids)
        return Artifact(self.key, bundle.precision, folder, (file,), self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session. Raises `RunFailed` with the name of an operator that LiteRT lacks."""
        return TfliteSession(artifact.main_file, _settings(artifact).kernels, threads)

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs) -> LayerProfile:
        """Where the time of one inference on x[N, C, H, W] goes, by LiteRT's own profiler.

        Raises `Unavailable` for the reference kernels, and where the profiler cannot tell.
        """
        from runtimes.layers_litert import profile_litert

        return profile_litert(artifact.main_file, _settings(artifact).kernels, threads=threads, x=x)

    def tensors(self, artifact: Artifact) -> tuple[str, ...]:
        """Names of the intermediate results of the file, in order."""
        return tensors_in(artifact.main_file.read_bytes())

    def probe(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs, name: str) -> Floats:
        """One of them for x[N, C, H, W], in the layout that the file has, as its output in the place of the logits."""
        content, kernels = artifact.main_file.read_bytes(), _settings(artifact).kernels
        return tensor_of(content, name, x, kernels=kernels, threads=threads)

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.tflite`, served as it was measured."""
        kernels = _settings(artifact).kernels
        resolver = "" if kernels == "xnnpack" else f"OpResolverType.{RESOLVERS[kernels]}"
        ends = Ends.of(artifact.main_file)
        engine = _ENGINE.format(
            file=artifact.files[0],
            threads=_THREADS,
            kernels=f",\n    experimental_op_resolver_type={resolver}" if resolver else "",
            name="of_one" if ends.fixed_batch else "logits",
            resized="" if ends.fixed_batch else _RESIZED,
            given=_given(ends.given),
            answer=_answer(ends.answer),
            one_by_one=_ONE_BY_ONE if ends.fixed_batch else "",
        )
        names = "Interpreter, OpResolverType" if resolver else "Interpreter"
        return sample_code(artifact, imports=f"from ai_edge_litert.interpreter import {names}", engine=engine)


def _given(given: End) -> str:
    if not given.is_quantized:
        return "x"
    low, high = given.limits
    return _ROUNDED.format(scale=given.scale or 1, zero=given.zero_point, low=low, high=high)


def _answer(answer: End) -> str:
    found = 'interpreter.get_tensor(ANSWER["index"])'
    if not answer.is_quantized:
        return found
    return _WIDENED.format(scale=answer.scale or 1, zero=answer.zero_point, answer=found)


def _settings(artifact: Artifact) -> LiteRtSettings:
    return artifact.engine if isinstance(artifact.engine, LiteRtSettings) else LiteRtSettings()
