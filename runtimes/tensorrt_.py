"""TensorRT: an engine built for one NVIDIA GPU, from the module `tensorrt` or else `tensorrt_rtx`.

Networks are strongly typed: their precision is that of the ONNX graph. Building with `tensorrt_rtx` needs no GPU when a
compute capability is named; everything else here needs one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from core.bundle import Form, ModelBundle, Precision, Situation
from core.data import Floats, InputContract
from core.devices import Device
from core.errors import CannotCompose, RunFailed, Unavailable
from core.formats import why_not_multiplied
from core.layers import LayerProfile
from core.settings import choice, slider
from runtimes.cuda import graphed, staged
from runtimes.extras import EXTRAS
from runtimes.onnx_file import onnx_bytes
from runtimes.runtime import NO_AIDS, Aids, Artifact, EngineSettings, Session
from runtimes.sample_code import sample_code

if TYPE_CHECKING:
    import torch

_FILE = "model.engine"
_PRECISIONS: Mapping[Form, tuple[Precision, ...]] = {
    "torch": ("fp32", "fp16"),
    "onnx": ("int8", "w8", "w4", "fp8", "nvfp4"),
}
"""What it is given, by form: networks to export, and graphs that were quantized for it."""
_BATCHES = (1, 16, 256)
"""Smallest, preferred and largest batch the engine is built for."""
_ENGINE = """
trt = tensorrt
engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine((HERE / "{file}").read_bytes())
context = engine.create_execution_context()


def logits(x):
    x = torch.from_numpy(x).cuda()
    context.set_input_shape("input", tuple(x.shape))
    y = torch.empty(tuple(context.get_tensor_shape("logits")), device="cuda")
    context.set_tensor_address("input", x.data_ptr())
    context.set_tensor_address("logits", y.data_ptr())
    context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
    return y.cpu().numpy()
"""


GENERATIONS: Mapping[str, tuple[tuple[int, int], str]] = {
    "SM75": ((7, 5), "Turing"),
    "SM80": ((8, 0), "Ampere, data centre"),
    "SM86": ((8, 6), "Ampere"),
    "SM89": ((8, 9), "Ada"),
    "SM120": ((12, 0), "Blackwell"),
}
"""Compute capability and name of the generations that engines can be built for ahead of time."""


class TensorRtSettings(EngineSettings):
    """For which GPU the engine is built, and how hard the builder tries."""

    build_for: Literal["here", "SM75", "SM80", "SM86", "SM89", "SM120"] = choice(
        "here",
        title="Build for",
        help="The GPU of this machine, or a generation of NVIDIA GPUs that need not be here: then the engine is built "
        "ahead of time, and neither run nor measured. Needs TensorRT for RTX.",
        labels={"here": "The GPU here"}
        | {key: f"{name} ({major}.{minor})" for key, ((major, minor), name) in GENERATIONS.items()},
    )
    effort: int = slider(
        3,
        low=0,
        high=5,
        step=1,
        title="Optimisation level",
        help="How many ways to compute each layer the builder tries. Higher levels build longer and may run faster.",
    )
    workspace_mib: int = slider(
        0,
        low=0,
        high=16384,
        step=64,
        title="Workspace",
        unit="MiB",
        help="The most memory that a layer may use for intermediate results. 0 allows all of the GPU's memory.",
    )
    usual_batch: int = slider(
        16,
        low=1,
        high=256,
        step=1,
        title="Usual batch",
        unit="images",
        help="The batch size that the engine is tuned for; it takes others up to the largest.",
    )
    largest_batch: int = slider(
        256,
        low=1,
        high=1024,
        step=1,
        title="Largest batch",
        unit="images",
        help="The largest batch that the engine takes. A smaller one saves memory.",
    )

    def label(self) -> str:
        """Which generation it is built for, where that is not the GPU here."""
        return f"for {GENERATIONS[self.build_for][1]}" if self.builds_ahead else ""

    @classmethod
    def usual(cls, device: Device) -> TensorRtSettings:
        """Where there is no GPU, built ahead for Ada."""
        return cls(build_for="SM89") if device.kind == "cpu" else cls()

    @property
    def capability(self) -> str | None:
        """Of the named generation; None for the GPU at hand."""
        return self.build_for if self.builds_ahead else None

    @property
    def builds_ahead(self) -> bool:
        """Whether it is built for a named generation."""
        return self.build_for != "here"

    def target(self, device: Device) -> Device:
        """A GPU of the named generation, or the one at hand."""
        if not self.builds_ahead:
            return device
        capability, name = GENERATIONS[self.build_for]
        return Device("cuda:0", "cuda", f"a GPU of the {name} generation", 0, capability)


@dataclass(frozen=True)
class TensorRt:
    """NVIDIA's engine builder."""

    settings: TensorRtSettings

    key = "tensorrt"
    title = "TensorRT"
    summary = "An engine built for this very GPU: usually its fastest. Building takes seconds to minutes."
    requirements: tuple[str, ...] = ("tensorrt", "torch", "numpy", "pillow")

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        extra = EXTRAS[self.key]
        if not extra.is_installed:
            return f"{extra.adds} Install: `{extra.command}`"
        if self.settings.builds_ahead:
            return None
        return "Its engines run on NVIDIA GPUs only" if device.kind == "cpu" else None

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` for bf16, for what its own quantizer did not make, and for what the GPU lacks."""
        if situation.precision == "bf16":
            raise CannotCompose(
                "bf16 for TensorRT",
                expected="fp32 or fp16, because the exported graph keeps some weights in float, which it does not mix",
                action="Choose fp16 as the precision",
            )
        if situation.precision not in _PRECISIONS.get(situation.form, ()):
            raise CannotCompose(
                f"a network in {situation.precision} that was not quantized for TensorRT",
                expected="a graph of its own quantizer, because its parser rejects zero points and integer biases",
                action="Quantize the network with TensorRT as the runtime",
            )
        if reason := why_not_multiplied(situation.precision, situation.device):
            raise CannotCompose(reason[0], expected=reason[1], action="Choose INT8 quantization or fp16")

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.engine` for the GPU at hand."""
        skips = bundle.sparsity is not None and bundle.sparsity.pattern == "2:4"
        onnx = onnx_bytes(bundle, bundle.precision)
        (folder / _FILE).write_bytes(
            build_engine(onnx, bundle.contract, capability=self.settings.capability, skips_fours=skips)
        )
        return Artifact(self.key, bundle.precision, folder, (_FILE,), self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session. Raises `Unavailable` for an engine of another GPU or version."""
        return _TensorRtSession(_engine(artifact, device), device.id)

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Floats) -> LayerProfile:
        """Each layer's time on x[N, C, H, W]. Raises `Unavailable` for an engine of another GPU or version."""
        import torch

        from runtimes.layers_tensorrt import profile_engine

        return profile_engine(_module(), _engine(artifact, device), torch.device(device.id), x)

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.engine`."""
        imports = f"import {_module().__name__} as tensorrt\nimport torch"
        return sample_code(artifact, imports=imports, engine=_ENGINE.format(file=artifact.files[0]))


def _engine(artifact: Artifact, device: Device) -> Any:
    trt = _module()
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(artifact.main_file.read_bytes())
    if engine is None:
        raise Unavailable(
            f"{artifact.main_file.name} does not open on {device.name}",
            expected=f"an engine built there by {trt.__name__} {trt.__version__}",
            action="Run the recipe again on this GPU",
        )
    return engine


def build_engine(
    onnx: bytes, contract: InputContract, *, capability: str | None = None, skips_fours: bool = False
) -> bytes:
    """The serialised engine of an ONNX graph, for the GPU at hand or for a named capability such as `SM89`.

    With `skips_fours` the builder may take kernels that skip zeros in the 2:4 pattern, where it finds it and they are
    faster. Naming a capability needs the module `tensorrt_rtx`. Raises `RunFailed` with the parser's words or the
    builder's silence.
    """
    trt = _module()
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        first = parser.get_error(0)
        raise RunFailed(
            f"TensorRT cannot read the operator {first.node_operator()}: {first.desc()}",
            action="Choose ONNX Runtime as the runtime",
        )
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("input", *((batch, *contract.shape) for batch in _BATCHES))
    config.add_optimization_profile(profile)
    # Without it an engine cannot say what its layers are; it does not change how they run.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if skips_fours:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if capability:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RunFailed("TensorRT built no engine from the graph", action="Choose ONNX Runtime as the runtime")
    return bytes(engine)


def _module() -> Any:
    name = next(name for name in EXTRAS["tensorrt"].modules if find_spec(name))
    return importlib.import_module(name)


class _TensorRtSession:
    allocates_past_torch = True
    """The engine's weights and scratch memory; only inputs and outputs are torch's."""

    def __init__(self, engine: Any, device_id: str) -> None:
        self._engine, self._context, self._device_id = engine, engine.create_execution_context(), device_id

    def run(self, x: Floats) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        import torch

        bound = torch.tensor(x, device=self._device_id)
        logits: Floats = self._infer(bound).cpu().numpy()
        return logits

    def bind(self, x: Floats) -> Callable[[], None]:
        """One inference on x, which lies on the device already; returns once the device has finished."""
        import torch

        bound = torch.tensor(x, device=self._device_id)

        def infer() -> None:
            self._infer(bound)
            torch.cuda.synchronize(self._device_id)

        return infer

    def stages(self, x: Floats) -> Callable[[], tuple[float, float, float, float]]:
        """ms to the device, computing, back, and launching, of one inference on x."""
        import torch

        return staged(self._infer, x, torch.device(self._device_id))

    def bind_graph(self, x: Floats) -> Callable[[], None]:
        """Like `bind`, replayed as a CUDA graph; until the session serves another batch size."""
        import torch

        return graphed(self._infer, x, torch.device(self._device_id))

    def _infer(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        self._context.set_input_shape("input", tuple(x.shape))
        y = torch.empty(tuple(self._context.get_tensor_shape("logits")), device=x.device)
        self._context.set_tensor_address("input", x.data_ptr())
        self._context.set_tensor_address("logits", y.data_ptr())
        if not self._context.execute_async_v3(torch.cuda.current_stream(x.device).cuda_stream):
            raise RunFailed("TensorRT refused to run the engine", action="Choose another runtime")
        return y

    def __enter__(self) -> _TensorRtSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._context, self._engine
