"""OpenVINO: its own format (IR, an `.xml` graph and a `.bin` of weights), ONNX or `.tflite`, on Intel and AMD CPUs,
Intel's GPUs and NPUs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.bundle import ModelBundle, OpenVinoModel, Precision, Situation, form_title, precision_title
from core.data import Floats, Inputs
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.layers import LayerProfile
from core.settings import choice, slider
from core.tflite_ends import End, Ends
from runtimes.fit import refuse_fp16_on_cpu, why_not_installed
from runtimes.onnx_file import onnx_bytes, write_onnx
from runtimes.runtime import NO_AIDS, Aids, Artifact, EngineSettings, Session
from runtimes.sample_code import THREADS, sample_code
from runtimes.tflite_file import TFLITE_FORMS, write_tflite

_FILES = ("model.xml", "model.bin")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_PLACES = {"CPU": "CPU", "GPU": "Intel GPU", "NPU": "Intel NPU"}
_COMPUTED: dict[str, tuple[Precision, ...]] = {"GPU": ("fp32", "fp16"), "NPU": ("fp16",)}
"""In which number formats those processors multiply what is not quantized."""
_FLOATS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
_NOT_FROM_TFLITE = {
    "w4": "it does not open 4-bit weights of convolutions in such a file",
    "int16": "it has no arithmetic of 16-bit integers and answers otherwise",
}
_HINTS = {"bf16": "bf16", "fp16": "f16"}
_ENGINE = """
config = {config}{threads}
model = openvino.Core().compile_model(HERE / "{file}", "{place}", config)

def logits(x):
    return model(x)[0]
"""
_FIXED_ENGINE = """
model = openvino.Core().read_model(HERE / "{file}")
model.reshape([1, *CONTRACT["shape"]])  # an NPU takes no open dimensions
model = openvino.Core().compile_model(model, "{place}", {config})

def logits(x):
    return np.concatenate([model(image[None])[0] for image in x])
"""
_TFLITE_ENGINE = """
config = {config}{threads}
model = openvino.Core().read_model(HERE / "{file}")
{reshaped}model = openvino.Core().compile_model(model, "{place}", config)

def logits(x):
    if list(x.shape[1:]) != [{sides}]:
        x = x.transpose(0, 2, 3, 1){rounded}
    return {answer}
"""
_ROUNDED = """
    x = np.clip(np.rint(x / np.float32({scale:.9g})) + {zero}, {low}, {high}).astype(np.{dtype})"""
_WIDENED = "np.float32({scale:.9g}) * (np.float32({answer}) - {zero})"


class OpenVinoSettings(EngineSettings):
    """What it is tuned for, and where it runs."""

    hint: Literal["latency", "throughput"] = choice(
        "latency",
        title="Tuned for",
        help="Latency answers one request as fast as it can. Throughput shares the cores out among several requests "
        "at once: more images a second, each of which waits longer.",
        labels={"latency": "Latency", "throughput": "Throughput"},
    )
    streams: int = slider(
        0,
        low=0,
        high=64,
        step=1,
        title="Streams",
        unit="streams",
        help="Requests that are computed at the same time, on a CPU at most one for each thread. 0 lets OpenVINO "
        "decide.",
        only_if=("hint", ("throughput",)),
    )
    place: Literal["CPU", "GPU", "NPU"] = choice(
        "CPU",
        title="Runs on",
        help="Intel's integrated or discrete GPU, or its NPU, where this machine has one with its driver.",
        labels=_PLACES,
    )
    file: Literal["ir", "onnx"] = choice(
        "ir",
        title="File",
        help="OpenVINO's own format (an .xml graph and a .bin of weights), or one .onnx file, which it reads as well. "
        "Models of Keras and .tflite files ship as the .tflite file that it opens.",
        labels={"ir": "OpenVINO IR", "onnx": "ONNX"},
    )
    weights: Literal["fp32", "fp16"] = choice(
        "fp32",
        title="Weights in the file",
        help="FP16 halves the file of a network in float. Computed is as before, with weights rounded to 11 bits.",
        labels={"fp32": "FP32", "fp16": "FP16"},
        only_if=("file", ("ir",)),
    )

    def label(self) -> str:
        """What is not as usual: `throughput, 4 streams, FP16 file`."""
        streams = "1 stream" if self.streams == 1 else f"{self.streams} streams"
        parts = {
            "throughput": self.hint == "throughput",
            streams: self.hint == "throughput" and self.streams,
            "from ONNX": self.file == "onnx",
            "FP16 file": self.rounds_weights,
            f"on {_PLACES[self.place]}": self.place != "CPU",
        }
        return ", ".join(part for part, is_unusual in parts.items() if is_unusual)

    def target(self, device: Device) -> Device:
        """Intel's GPU or NPU beside the CPU, where that is chosen."""
        return device if self.place == "CPU" else replace(device, kind="intel", name=_PLACES[self.place])

    @property
    def rounds_weights(self) -> bool:
        """Whether the file holds weights in FP16."""
        return (self.file, self.weights) == ("ir", "fp16")

    def config(self, precision: Precision) -> dict[str, str]:
        """What a model in that precision is compiled with, threads left out."""
        # Left to itself OpenVINO computes fp32 models in bf16 wherever the CPU can. An NPU knows no other than f16.
        hint = "f16" if self.place == "NPU" else _HINTS.get(precision, "f32")
        config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": self.hint.upper()}
        if self.hint == "throughput" and self.streams:
            config["NUM_STREAMS"] = str(self.streams)
        return config


@dataclass(frozen=True)
class OpenVino:
    """Intel's engine."""

    settings: OpenVinoSettings

    key = "openvino"
    title = "OpenVINO"
    summary = "Intel's engine for x86 CPUs, in FP32, BF16 and INT8: often the fastest there for networks of PyTorch."

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        if device.kind == "cuda":
            return "OpenVINO does not run on NVIDIA GPUs: choose the CPU as the device"
        return why_not_installed("openvino", self.title) or _why_not_there(self.settings.place)

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` for what the chosen processor does not compute in, or the chosen file cannot hold."""
        if self.settings.place == "CPU":
            refuse_fp16_on_cpu(situation)
            _refuse_bf16_without_instructions(situation)
        else:
            _refuse_precision(situation.precision, self.settings.place)
        if situation.form in TFLITE_FORMS:
            self._check_tflite(situation)
        if self.settings.file == "onnx" and situation.form == "openvino":
            raise CannotCompose(
                "a network in OpenVINO's form as an ONNX file",
                expected="a network in float, because NNCF's quantized models exist as OpenVINO models only",
                action="Choose OpenVINO IR as the file",
            )
        if self.settings.rounds_weights and (situation.form == "openvino" or situation.precision not in _FLOATS):
            raise CannotCompose(
                "FP16 weights of a network that is quantized",
                expected="a network in float, because quantized weights are smaller already",
                action="Choose FP32 for the weights in the file",
            )

    def _check_tflite(self, situation: Situation) -> None:
        what = f"a model {form_title(situation.form)} for OpenVINO"
        if self.settings.file == "onnx" or self.settings.rounds_weights:
            raise CannotCompose(
                f"{what} as {'an ONNX file' if self.settings.file == 'onnx' else 'a file with FP16 weights'}",
                expected="the .tflite file itself, which it opens as it is",
                action="Choose OpenVINO IR as the file and FP32 for the weights in it",
            )
        if reason := _NOT_FROM_TFLITE.get(situation.precision):
            raise CannotCompose(
                f"{what}, with {precision_title(situation.precision)}",
                expected=f"float or INT8, because {reason}",
                action="Choose LiteRT as the runtime",
            )

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.xml` and `model.bin`, `model.onnx`, or of Keras and `.tflite` files `model.tflite`.

        They are for any batch size where the network is. Weights are fp32, or fp16 in OpenVINO's own format; what is
        computed in is chosen when it is opened. An OpenVINO model is written as it is, with the options for the engine
        that it carries.
        """
        if bundle.form in TFLITE_FORMS:
            files: tuple[str, ...] = (write_tflite(bundle, folder),)
        elif self.settings.file == "onnx":
            files = (write_onnx(bundle, folder, "fp32"),)
        else:
            files = _FILES
            _write_ir(bundle, folder, compress_to_fp16=self.settings.rounds_weights)
        return Artifact(self.key, bundle.precision, folder, files, self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session for an `.xml`, `.onnx` or `.tflite` file; tuned for throughput, it takes several requests at once.

        Raises `RunFailed` with the name of an operator that OpenVINO lacks.
        """
        from runtimes.openvino_file import read_model
        from runtimes.openvino_session import FixedShapeSession, OpenVinoSession, ThroughputSession

        model, compile_model = read_model(artifact.main_file), partial(_compiled, artifact=artifact, threads=threads)
        settings = _settings(artifact)
        if settings.place == "NPU":
            return FixedShapeSession(model, compile_model)
        session = ThroughputSession if settings.hint == "throughput" else OpenVinoSession
        return session(compile_model(model))

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs) -> LayerProfile:
        """Each executed node's time on x[N, C, H, W], in whole microseconds, of one request at a time.

        Raises `Unavailable` on an Intel GPU or NPU.
        """
        settings = _settings(artifact)
        if settings.place != "CPU":
            raise Unavailable(
                f"What OpenVINO calls the operations on an {_PLACES[settings.place]} is not known to this studio",
                action="Choose the CPU as the place it runs on to see a time for each layer",
            )
        from runtimes.layers_openvino import profile_openvino
        from runtimes.openvino_file import read_model

        file = artifact.main_file
        return profile_openvino(read_model(file), _config(artifact, threads), x=x, file=file)

    def tensors(self, artifact: Artifact) -> tuple[str, ...]:
        """Names of the intermediate results of the model, in order."""
        from runtimes.tensors_openvino import openvino_tensors

        return openvino_tensors(artifact.main_file)

    def probe(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs, name: str) -> Floats:
        """One of them for x[N, C, H, W], as one more output of the model."""
        from runtimes.tensors_openvino import probe_openvino

        compiled = partial(_compiled, artifact=artifact, threads=threads)
        return probe_openvino(artifact.main_file, compiled, x=x, name=name)

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with the file that `export` wrote, served as it was measured."""
        settings = _settings(artifact)
        in_words = _FIXED_ENGINE if settings.place == "NPU" else _ENGINE
        tflite = _tflite_in_words(artifact) if artifact.main_file.suffix == ".tflite" else {}
        engine = (_TFLITE_ENGINE if tflite else in_words).format(
            config=json.dumps(settings.config(artifact.precision)),
            threads=f'\nconfig["INFERENCE_NUM_THREADS"] = {THREADS}' if settings.place == "CPU" else "",
            file=artifact.files[0],
            place=settings.place,
            **tflite,
        )
        return sample_code(artifact, imports="import openvino", engine=engine)


def _tflite_in_words(artifact: Artifact) -> dict[str, str]:
    """How a program gives images to the file and takes its answers, as they are when it serves."""
    from runtimes.openvino_file import read_model

    ends = Ends.of(artifact.main_file)
    batch, *others = read_model(artifact.main_file).input(0).get_partial_shape()
    sides = ", ".join(str(side.get_length()) for side in others)
    is_open = batch.is_dynamic and _settings(artifact).place != "NPU"
    answer = "model(x)[0]" if is_open else "np.concatenate([model(image[None])[0] for image in x])"
    return {
        "sides": sides,
        "reshaped": f"model.reshape([-1, {sides}])\n" if is_open else "",
        "rounded": _rounded(ends.given) if ends.given.is_quantized else "",
        "answer": _widened(answer, ends.answer) if ends.answer.is_quantized else answer,
    }


def _rounded(end: End) -> str:
    low, high = end.limits
    dtype = np.dtype(end.dtype).name
    return _ROUNDED.format(scale=end.scale or 1, zero=end.zero_point, low=low, high=high, dtype=dtype)


def _widened(answer: str, end: End) -> str:
    return _WIDENED.format(scale=end.scale or 1, zero=end.zero_point, answer=answer)


def _why_not_there(place: str) -> str | None:
    if place == "CPU":
        return None
    import openvino

    there = openvino.Core().available_devices
    if any(each.partition(".")[0] == place for each in there):
        return None
    return f"OpenVINO finds no {_PLACES[place]} with its driver here, only {' and '.join(there)}"


def _refuse_bf16_without_instructions(situation: Situation) -> None:
    if situation.precision == "bf16" and not situation.device.cpu_flags & _BF16_FLAGS:
        raise CannotCompose(
            f"bf16 for OpenVINO on {situation.device.name}",
            expected="a CPU with AVX512-BF16 or AMX instructions",
            action="Choose fp32 or INT8",
        )


def _refuse_precision(precision: Precision, place: str) -> None:
    if precision in _FLOATS and precision not in _COMPUTED[place]:
        raise CannotCompose(
            f"{precision} for OpenVINO on an {_PLACES[place]}",
            expected=" or ".join(_COMPUTED[place]) + ", which are all it computes in",
            action="Choose fp16 as the precision, or another place to run on",
        )


def _write_ir(bundle: ModelBundle, folder: Path, *, compress_to_fp16: bool) -> None:
    xml, weights = (folder / name for name in _FILES)
    if isinstance(bundle.network, OpenVinoModel):
        xml.write_bytes(bundle.network.xml)
        weights.write_bytes(bundle.network.weights)
        return
    import openvino

    openvino.save_model(_converted(bundle), xml, compress_to_fp16=compress_to_fp16)


def _converted(bundle: ModelBundle) -> Any:
    from runtimes.openvino_file import read_model

    model = read_model(onnx_bytes(bundle, "fp32"))
    if bundle.precision in _FLOATS:  # it would turn the weights of a quantized graph back into floats
        from runtimes.layers_openvino import fold_constants

        fold_constants(model)
    return model


def _compiled(model: Any, *, artifact: Artifact, threads: int) -> Any:
    """The model as it serves."""
    import openvino

    from runtimes.openvino_file import unsupported_named

    with unsupported_named():
        return openvino.Core().compile_model(model, _settings(artifact).place, _config(artifact, threads))


def _config(artifact: Artifact, threads: int) -> dict[str, str | int]:
    settings = _settings(artifact)
    config: dict[str, str | int] = {**settings.config(artifact.precision)}
    return config | {"INFERENCE_NUM_THREADS": threads} if settings.place == "CPU" else config


def _settings(artifact: Artifact) -> OpenVinoSettings:
    return artifact.engine if isinstance(artifact.engine, OpenVinoSettings) else OpenVinoSettings()
