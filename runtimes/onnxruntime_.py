"""ONNX Runtime: one `model.onnx`, served on CPUs and, with its GPU build, on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from core.bundle import ModelBundle, Situation
from core.data import Floats
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.layers import LayerProfile
from core.settings import choice
from runtimes.fit import refuse_fp16_on_cpu, why_not_installed
from runtimes.onnx_file import write_onnx
from runtimes.runtime import NO_AIDS, Aids, Artifact, EngineSettings, Session
from runtimes.sample_code import sample_code

_CUDA = "CUDAExecutionProvider"
_ENGINE = """
session = onnxruntime.InferenceSession(HERE / "{file}", providers=onnxruntime.get_available_providers())


def logits(x):
    return session.run(["logits"], {{"input": x}})[0]
"""


class OnnxRuntimeSettings(EngineSettings):
    """Which of its providers computes, and how far it may rewrite the graph."""

    provider: Literal["device", "tensorrt"] = choice(
        "device",
        title="Execution provider",
        help="What computes inside ONNX Runtime: its own kernels for the chosen device (CPU or CUDA), or, on an NVIDIA "
        "GPU, TensorRT, which builds an engine when the file is opened.",
        labels={"device": "The device's own", "tensorrt": "TensorRT"},
    )
    rewriting: Literal["all", "extended", "basic", "none"] = choice(
        "all",
        title="Graph rewriting",
        help="How far the graph is rewritten when it is opened: fused operations and layouts for this processor (all), "
        "without the layouts (extended), only what is redundant removed (basic), or left as it is (none).",
        labels={"all": "All", "extended": "Extended", "basic": "Basic", "none": "None"},
    )


@dataclass(frozen=True)
class OnnxRuntime:
    """Microsoft's engine for ONNX files."""

    settings: OnnxRuntimeSettings

    key = "onnxruntime"
    title = "ONNX Runtime"
    summary = "One portable .onnx file without PyTorch: fast on any CPU, and fastest there in INT8."
    requirements: tuple[str, ...] = ("onnxruntime", "numpy", "pillow")

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        if missing := why_not_installed("onnxruntime", self.title):
            return missing
        if device.kind == "cpu":
            return None
        import onnxruntime

        if _CUDA in onnxruntime.get_available_providers():
            return None
        return "The installed ONNX Runtime is the CPU build: onnxruntime-gpu in its place would serve NVIDIA GPUs"

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` where it has no kernels: bf16, fp8, fp16 on a CPU, quantized graphs on a GPU."""
        refuse_fp16_on_cpu(situation)
        if situation.form == "openvino":
            raise CannotCompose(
                "a network in OpenVINO's form for ONNX Runtime",
                expected="PyTorch or ONNX, because nothing turns it back",
                action="Choose OpenVINO as the runtime",
            )
        if situation.precision == "bf16":
            raise CannotCompose(
                "bf16 for ONNX Runtime",
                expected="fp32, fp16 on a GPU, or INT8, because it has no bf16 convolutions",
                action="Choose PyTorch, torch.compile or OpenVINO as the runtime",
            )
        if situation.precision in ("fp8", "nvfp4"):
            raise CannotCompose(
                f"{situation.precision} for ONNX Runtime",
                expected="fp32 or integers, because it multiplies no 8- or 4-bit floats",
                action="Choose TensorRT as the runtime",
            )
        if situation.form == "onnx" and situation.device.kind == "cuda":
            raise CannotCompose(
                "a quantized graph for ONNX Runtime on a GPU",
                expected="a CPU, because its CUDA kernels compute these graphs in float",
                action="Choose the CPU as the device",
            )

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.onnx`, for any batch size."""
        return Artifact(self.key, bundle.precision, folder, (write_onnx(bundle, folder),), self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session. Raises `Unavailable` where the GPU provider fails to load."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        cuda: list[Any] = [(_CUDA, {"device_id": device.index})] if device.kind == "cuda" else []
        session = onnxruntime.InferenceSession(artifact.main_file, options, [*cuda, "CPUExecutionProvider"])
        # ONNX Runtime falls back to the CPU with no more than a log line.
        if cuda and session.get_providers()[0] != _CUDA:
            raise Unavailable(
                "ONNX Runtime could not load its CUDA provider",
                expected="CUDA and cuDNN libraries of the versions it was built for",
                action="Reinstall onnxruntime-gpu, or choose the CPU as the device",
            )
        return _OnnxSession(session, device)

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Floats) -> LayerProfile:
        """Each node's time on x[N, C, H, W]. Raises `Unavailable` on a GPU."""
        if device.kind == "cuda":
            raise Unavailable(
                "ONNX Runtime's profile of a GPU session holds only the time that launching each kernel took",
                action="Choose PyTorch or TensorRT to see a time for each layer",
            )
        from runtimes.layers_onnxruntime import profile_onnx

        return profile_onnx(artifact.main_file, threads=threads, x=x)

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.onnx`."""
        return sample_code(artifact, imports="import onnxruntime", engine=_ENGINE.format(file=artifact.files[0]))


class _OnnxSession:
    allocates_past_torch = True

    def __init__(self, session: Any, device: Device) -> None:
        self._session, self._place = session, (device.kind, device.index)

    def run(self, x: Floats) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        logits: Floats = self._session.run(["logits"], {"input": x})[0]
        return logits

    def bind(self, x: Floats) -> Callable[[], None]:
        """One inference on x, which lies on the device already; returns once the device has finished."""
        import onnxruntime

        session, binding = self._session, self._session.io_binding()
        binding.bind_ortvalue_input("input", onnxruntime.OrtValue.ortvalue_from_numpy(x, *self._place))
        binding.bind_output("logits", *self._place)

        def infer() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return infer

    def __enter__(self) -> _OnnxSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._session
