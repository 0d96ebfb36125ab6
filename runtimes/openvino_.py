"""OpenVINO: its own format (IR, an `.xml` graph and a `.bin` of weights), served on Intel and AMD CPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from core.bundle import ModelBundle, OnnxGraph, OpenVinoModel, Situation
from core.data import Floats
from core.devices import Device
from core.errors import CannotCompose
from core.layers import LayerProfile
from core.settings import choice, slider
from runtimes.fit import refuse_fp16_on_cpu, why_not_installed
from runtimes.onnx_file import onnx_bytes
from runtimes.runtime import NO_AIDS, Aids, Artifact, EngineSettings, Session
from runtimes.sample_code import sample_code

_FILES = ("model.xml", "model.bin")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_ENGINE = """
config = {{"INFERENCE_PRECISION_HINT": "{hint}", "PERFORMANCE_HINT": "LATENCY"}}
model = openvino.Core().compile_model(HERE / "{file}", "CPU", config)


def logits(x):
    return model(x)[0]
"""


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
        help="Requests that are computed at the same time. 0 lets OpenVINO decide.",
        only_if=("hint", ("throughput",)),
    )
    place: Literal["CPU", "GPU", "NPU"] = choice(
        "CPU",
        title="Runs on",
        help="Intel's integrated or discrete GPU, or its NPU, where this machine has one with its driver.",
        labels={"CPU": "CPU", "GPU": "Intel GPU", "NPU": "Intel NPU"},
    )
    file: Literal["ir", "onnx"] = choice(
        "ir",
        title="File",
        help="OpenVINO's own format (an .xml graph and a .bin of weights), or one .onnx file, which it reads as well.",
        labels={"ir": "OpenVINO IR", "onnx": "ONNX"},
    )
    weights: Literal["fp32", "fp16"] = choice(
        "fp32",
        title="Weights in the file",
        help="FP16 halves the file of a network in float. Computed is as before, with weights rounded to 11 bits.",
        labels={"fp32": "FP32", "fp16": "FP16"},
        only_if=("file", ("ir",)),
    )


@dataclass(frozen=True)
class OpenVino:
    """Intel's engine."""

    settings: OpenVinoSettings

    key = "openvino"
    title = "OpenVINO"
    summary = "Intel's engine for x86 CPUs: often the fastest there, in FP32, BF16 and INT8."
    requirements: tuple[str, ...] = ("openvino", "numpy", "pillow")

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        if device.kind == "cuda":
            return "OpenVINO does not run on NVIDIA GPUs: choose the CPU as the device"
        return why_not_installed("openvino", self.title)

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` for fp16, and for bf16 where the CPU has no such instructions."""
        refuse_fp16_on_cpu(situation)
        if situation.precision == "bf16" and not situation.device.cpu_flags & _BF16_FLAGS:
            raise CannotCompose(
                f"bf16 for OpenVINO on {situation.device.name}",
                expected="a CPU with AVX512-BF16 or AMX instructions",
                action="Choose fp32 or INT8",
            )

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.xml` and `model.bin`, for any batch size; weights stay fp32, bf16 is chosen when opened.

        An OpenVINO model is written as it is, with the options for the engine that it carries.
        """
        xml, weights = (folder / name for name in _FILES)
        if isinstance(bundle.network, OpenVinoModel):
            xml.write_bytes(bundle.network.xml)
            weights.write_bytes(bundle.network.weights)
        else:
            import openvino

            # The default would round every weight to fp16.
            openvino.save_model(_converted(bundle), xml, compress_to_fp16=False)
        return Artifact(self.key, bundle.precision, folder, _FILES, self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session that answers one request at a time."""
        import openvino

        return _OpenVinoSession(openvino.Core().compile_model(artifact.main_file, "CPU", _config(artifact, threads)))

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Floats) -> LayerProfile:
        """Each executed node's time on x[N, C, H, W], in whole microseconds."""
        from runtimes.layers_openvino import profile_openvino

        return profile_openvino(artifact.main_file, _config(artifact, threads), x=x)

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.xml`."""
        engine = _ENGINE.format(hint=_precision_hint(artifact), file=artifact.files[0])
        return sample_code(artifact, imports="import openvino", engine=engine)


def _converted(bundle: ModelBundle) -> Any:
    import openvino

    model = openvino.Core().read_model(onnx_bytes(bundle, "fp32"), b"")
    if not isinstance(bundle.network, OnnxGraph):  # it would turn the weights of a quantized graph back into floats
        from runtimes.layers_openvino import fold_constants

        fold_constants(model)
    return model


def _config(artifact: Artifact, threads: int) -> dict[str, str | int]:
    return {
        "INFERENCE_PRECISION_HINT": _precision_hint(artifact),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }


def _precision_hint(artifact: Artifact) -> str:
    # Left to itself OpenVINO computes fp32 models in bf16 wherever the CPU can.
    return "bf16" if artifact.precision == "bf16" else "f32"


class _OpenVinoSession:
    def __init__(self, model: Any) -> None:
        self._model, self._request = model, model.create_infer_request()

    def run(self, x: Floats) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        logits: Floats = self._request.infer({"input": x})["logits"]
        return logits

    def bind(self, x: Floats) -> Callable[[], None]:
        """One inference on x; returns once it has finished."""
        import openvino

        request = self._model.create_infer_request()
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

        def infer() -> None:
            request.infer()

        return infer

    def __enter__(self) -> _OpenVinoSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._model, self._request
