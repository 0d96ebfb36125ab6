"""ONNX Runtime: one `model.onnx`, served on CPUs and, with its GPU build, on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.data import Floats, Inputs
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.layers import LayerProfile
from core.settings import choice
from core.unsupported import naming_the_operator
from runtimes.fit import refuse_fp16_on_cpu, refuse_tflite, why_not_installed
from runtimes.onnx_file import left_out_rewriting, write_onnx
from runtimes.onnxruntime_providers import (
    CUDA,
    TENSORRT,
    own_providers,
    own_providers_in_words,
    refuse_zero_points,
    tensorrt_in_words,
    tensorrt_providers,
)
from runtimes.runtime import NO_AIDS, Aids, Artifact, EngineSettings, Session
from runtimes.sample_code import THREADS, sample_code

_ENGINE = """
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}{level}
{providers}
session = onnxruntime.InferenceSession(HERE / "{file}", options, providers{left_out})

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

    def label(self) -> str:
        """What is not as usual: `with TensorRT, basic rewriting`."""
        rewriting = "no" if self.rewriting == "none" else self.rewriting
        parts = {"with TensorRT": self.provider == "tensorrt", f"{rewriting} rewriting": self.rewriting != "all"}
        return ", ".join(part for part, is_unusual in parts.items() if is_unusual)

    @property
    def level(self) -> str:
        """ONNX Runtime's name of the level of rewriting."""
        return "ORT_DISABLE_ALL" if self.rewriting == "none" else f"ORT_ENABLE_{self.rewriting.upper()}"


@dataclass(frozen=True)
class OnnxRuntime:
    """Microsoft's engine for ONNX files."""

    settings: OnnxRuntimeSettings

    key = "onnxruntime"
    title = "ONNX Runtime"
    summary = "One portable .onnx file without PyTorch: fast on any CPU, above all in INT8."

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        if missing := why_not_installed("onnxruntime", self.title):
            return missing
        if device.kind == "cpu":
            needs = "TensorRT runs on NVIDIA GPUs only: choose the device's own execution provider"
            return needs if self.settings.provider == "tensorrt" else None
        import onnxruntime

        there = onnxruntime.get_available_providers()
        if CUDA not in there:
            return "The installed ONNX Runtime is the CPU build: onnxruntime-gpu in its place would serve NVIDIA GPUs"
        if self.settings.provider == "tensorrt" and TENSORRT not in there:
            return f"The installed ONNX Runtime has no TensorRT provider, only {' and '.join(there)}"
        return None

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` where it has no kernels: bf16, fp8, fp16 on a CPU, quantized graphs with CUDA."""
        refuse_fp16_on_cpu(situation)
        refuse_tflite(situation, self.title)
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
        is_float = situation.precision in ("fp32", "fp16")
        if situation.form == "onnx" and not is_float and situation.device.kind == "cuda":
            self._check_quantized_on_gpu(situation)

    def _check_quantized_on_gpu(self, situation: Situation) -> None:
        if self.settings.provider != "tensorrt" or situation.precision != "int8":
            raise CannotCompose(
                "a quantized graph for ONNX Runtime on a GPU",
                expected="a CPU, because its CUDA kernels compute these graphs in float",
                action="Choose the CPU as the device, or static INT8 with TensorRT as the execution provider",
            )

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.onnx`, for any batch size. Raises `CannotCompose` for grids that TensorRT would not take."""
        if self.settings.provider == "tensorrt" and isinstance(bundle.network, OnnxGraph):  # one in float has no grids
            refuse_zero_points(bundle.network)
        file = write_onnx(bundle, folder, bundle.precision)
        return Artifact(self.key, bundle.precision, folder, (file,), self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session. Raises `Unavailable` where the GPU provider fails to load, `RunFailed` for an unknown operator."""
        return _OnnxSession(_opened(artifact.main_file, artifact, device, threads=threads), device)

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs) -> LayerProfile:
        """Each node's time on x[N, C, H, W]. Raises `Unavailable` on a GPU."""
        if device.kind == "cuda":
            raise Unavailable(
                "ONNX Runtime's profile of a GPU session holds only the time that launching each kernel took",
                action="Choose PyTorch or TensorRT to see a time for each layer",
            )
        from runtimes.layers_onnxruntime import profile_onnx

        return profile_onnx(artifact.main_file, threads=threads, x=x, level=_settings(artifact).level)

    def tensors(self, artifact: Artifact) -> tuple[str, ...]:
        """Names of the intermediate results of `model.onnx`, in order."""
        from runtimes.tensors_onnx import onnx_tensors

        return onnx_tensors(artifact.main_file.read_bytes())

    def probe(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs, name: str) -> Floats:
        """One of them for x[N, C, H, W], as one more output of the graph."""
        from runtimes.tensors_onnx import probe_onnx

        opened = partial(_opened, artifact=artifact, device=device, threads=threads)
        return probe_onnx(artifact.main_file.read_bytes(), opened, x=x, name=name)

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.onnx`, served as it was measured."""
        settings = _settings(artifact)
        in_words = tensorrt_in_words if settings.provider == "tensorrt" else own_providers_in_words
        level = f"\noptions.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{settings.level}"
        engine = _ENGINE.format(
            threads=THREADS,
            level="" if settings.rewriting == "all" else level,
            providers=in_words(artifact.precision),
            file=artifact.files[0],
            left_out=f", disabled_optimizers={names}" if (names := left_out_rewriting(artifact.main_file)) else "",
        )
        return sample_code(artifact, imports="import onnxruntime", engine=engine)


def _opened(model: Path | bytes, artifact: Artifact, device: Device, *, threads: int) -> Any:
    """ONNX Runtime's session of a file or a serialised graph, opened as the artifact is for serving."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail, Fail, InvalidGraph, NotImplemented

    settings, providers = _settings(artifact), own_providers(device)
    if settings.provider == "tensorrt":
        providers = tensorrt_providers(artifact.main_file, artifact.precision, device)
    unsupported = (EPFail, Fail, InvalidGraph, NotImplemented)
    with naming_the_operator("ONNX Runtime", unsupported, action="Choose another runtime"):
        session = onnxruntime.InferenceSession(
            model, _options(settings, threads), providers, disabled_optimizers=left_out_rewriting(model)
        )
    _refuse_fallback(session.get_providers()[0], providers[0][0])
    return session


def _options(settings: OnnxRuntimeSettings, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, settings.level)
    return options


def _refuse_fallback(given: str, wanted: str) -> None:
    """ONNX Runtime falls back to the next provider with no more than a log line."""
    if given != wanted:
        raise Unavailable(
            f"ONNX Runtime could not load its {wanted}",
            expected="the CUDA, cuDNN and, for TensorRT, TensorRT libraries of the versions it was built for",
            action="Reinstall onnxruntime-gpu, or choose the CPU as the device",
        )


def _settings(artifact: Artifact) -> OnnxRuntimeSettings:
    return artifact.engine if isinstance(artifact.engine, OnnxRuntimeSettings) else OnnxRuntimeSettings()


class _OnnxSession:
    allocates_past_torch = True

    def __init__(self, session: Any, device: Device) -> None:
        self._session, self._place = session, (device.kind, device.index)

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        logits: Floats = self._session.run(["logits"], {"input": x})[0]
        return logits

    def bind(self, x: Inputs) -> Callable[[], None]:
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
