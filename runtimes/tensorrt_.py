"""TensorRT: an engine built for one NVIDIA GPU, from the module `tensorrt` or else `tensorrt_rtx`.

Building for a named generation needs no GPU; opening and running an engine does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from core.bundle import Form, ModelBundle, Precision, Situation
from core.data import Floats, Inputs
from core.devices import Device, list_devices
from core.errors import CannotCompose, Unavailable
from core.formats import why_not_multiplied
from core.layers import LayerProfile
from core.settings import choice, slider
from runtimes.fit import refuse_tflite
from runtimes.runtime import NO_AIDS, Aids, Artifact, EngineSettings, Session
from runtimes.sample_code import sample_code
from runtimes.tensorrt_build import Order, build_engine
from runtimes.tensorrt_facts import read_facts, write_facts
from runtimes.tensorrt_graph import graph_of, why_no_bf16
from runtimes.tensorrt_module import EXTRA_OF, FULL, RTX, RTX_CAPABILITIES, load, module_name, on_gpu
from runtimes.tensorrt_session import TensorRtSession, open_engine

_FILE = "model.engine"
GRAPH_FILE = "engine-graph.onnx"
"""What the engine was built from, left beside the artifact so that its intermediate results can be asked for."""
LAYERS_FILE = "engine-layers.json"
"""What the engine's inspector says of it, left beside the artifact by a profile."""
_PRECISIONS: Mapping[Form, tuple[Precision, ...]] = {
    "torch": ("fp32", "fp16", "bf16"),
    "onnx": ("fp32", "fp16", "int8", "w8", "w4", "fp8", "nvfp4"),
}
"""What it is given, by form: networks to export, and graphs that were brought or quantized for it."""
_FIRST_WITH_BF16 = (8, 0)
_ENGINE = """
runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
context = runtime.deserialize_cuda_engine((HERE / "{file}").read_bytes()).create_execution_context()

def logits(x):
    x, y = torch.tensor(x, device="cuda"), torch.empty(len(x), len(CONTRACT["labels"]), device="cuda")
    context.set_input_shape("input", tuple(x.shape))
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

    @model_validator(mode="after")
    def _order_batches(self) -> Self:
        if self.usual_batch > self.largest_batch:
            raise ValueError(
                f"the usual batch of {self.usual_batch} images is larger than the largest of {self.largest_batch}"
            )
        return self

    def label(self) -> str:
        """What is not as usual: `for Ada, level 5`."""
        usual = type(self)()
        parts = {
            f"for {GENERATIONS.get(self.build_for, ('', ''))[1]}": self.builds_ahead,
            f"level {self.effort}": self.effort != usual.effort,
            f"{self.workspace_mib} MiB workspace": self.workspace_mib != usual.workspace_mib,
            f"batch {self.usual_batch} of {self.largest_batch}": (self.usual_batch, self.largest_batch)
            != (usual.usual_batch, usual.largest_batch),
        }
        return ", ".join(part for part, is_unusual in parts.items() if is_unusual)

    @classmethod
    def usual(cls, device: Device) -> TensorRtSettings:
        """Where there is no GPU, built ahead for Ada."""
        return cls(build_for="SM89") if device.kind == "cpu" else cls()

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
    summary = "An engine built for one kind of GPU: usually its fastest. Building takes seconds to minutes."

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it can neither run on that device nor build there, or None."""
        ahead = self.settings.builds_ahead
        if module_name() is None or (ahead and module_name(ahead=True) is None):
            extra = EXTRA_OF[RTX if ahead else FULL]
            return f"{extra.adds} Install: `{extra.command}`"
        if ahead:
            return None
        if device.kind == "cpu":
            return "Its engines run on NVIDIA GPUs only. Without one, “Build for” builds for a GPU elsewhere."
        if module_name() == RTX and device.compute_capability not in RTX_CAPABILITIES:
            return f"TensorRT for RTX does not build for {device.name}. Install: `{EXTRA_OF[FULL].command}`"
        return None

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` for what its own quantizer did not make and for what the GPU lacks.

        Raises `Unavailable` where nothing makes a graph in bf16.
        """
        refuse_tflite(situation, self.title)
        if situation.precision not in _PRECISIONS.get(situation.form, ()):
            raise CannotCompose(
                f"a network in {situation.precision} that was not quantized for TensorRT",
                expected="a graph of its own quantizer, because its parser rejects zero points and integer biases",
                action="Quantize the network with TensorRT as the runtime",
            )
        if reason := why_not_multiplied(situation.precision, situation.device):
            raise CannotCompose(reason[0], expected=reason[1], action="Choose INT8 quantization or fp16")
        if situation.precision == "bf16":
            _require_bf16(situation.device)

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.engine` for the aids' device, else the first GPU, or for the chosen generation, with its facts.

        Raises `RunFailed` with the operator that the parser refuses, or why the builder made nothing.
        """
        skips = bundle.sparsity is not None and bundle.sparsity.pattern == "2:4"
        target = self.settings.target(aids.device or _first_gpu())
        order = self._order(
            graph_of(bundle), bundle.contract.shape, target, precision=bundle.precision, skips_fours=skips
        )
        engine = build_engine(order, aids)
        (folder / _FILE).write_bytes(engine.content)
        if not self.settings.builds_ahead:
            (folder / GRAPH_FILE).write_bytes(order.onnx)
        return Artifact(self.key, bundle.precision, folder, (_FILE, write_facts(engine.facts, folder)), self.settings)

    def _order(
        self, onnx: bytes, shape: tuple[int, ...], target: Device, *, precision: Precision, skips_fours: bool
    ) -> Order:
        settings = self.settings
        return Order(
            onnx,
            shape,
            target,
            is_ahead=settings.builds_ahead,
            precision=precision,
            batches=(1, settings.usual_batch, settings.largest_batch),
            effort=settings.effort,
            workspace_mib=settings.workspace_mib,
            skips_fours=skips_fours,
        )

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session. Raises `Unavailable` for an engine of another GPU or version."""
        return TensorRtSession(open_engine(artifact, device)[1], device)

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs) -> LayerProfile:
        """Each layer's time on x[N, C, H, W]; the inspector's own words are left in `engine-layers.json`.

        Raises `Unavailable` for an engine of another GPU or version.
        """
        from runtimes.layers_tensorrt import profile_engine

        trt, engine = open_engine(artifact, device)
        profile, inspected = profile_engine(trt, engine, device, x)
        (artifact.folder / LAYERS_FILE).write_text(inspected)
        return profile

    def tensors(self, artifact: Artifact) -> tuple[str, ...]:
        """Names of the intermediate results of the graph that the engine was built from; none where it is gone."""
        from runtimes.tensors_onnx import onnx_tensors

        graph = artifact.folder / GRAPH_FILE
        return onnx_tensors(graph.read_bytes()) if graph.exists() else ()

    def probe(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs, name: str) -> Floats:
        """One of them for x[N, C, H, W], from an engine built in the same way with one output more."""
        import torch

        from runtimes.tensors_tensorrt import probe_tensorrt

        facts = read_facts(artifact.folder)
        order = self._order(
            (artifact.folder / GRAPH_FILE).read_bytes(),
            x.shape[1:],
            device,
            precision=artifact.precision,
            skips_fours=facts is not None and facts.skips_fours,
        )

        def build(onnx: bytes) -> bytes:
            return build_engine(replace(order, onnx=onnx)).content

        with on_gpu(device):
            return probe_tensorrt(load(module_name()), order.onnx, build, torch.device(device.id), x=x, name=name)

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.engine`."""
        facts = read_facts(artifact.folder)
        module = facts.module if facts else module_name() or FULL
        imports = ("import tensorrt" if module == FULL else f"import {module} as tensorrt") + "\nimport torch"
        return sample_code(artifact, imports=imports, engine=_ENGINE.format(file=artifact.files[0]))


def _require_bf16(device: Device) -> None:
    capability = device.compute_capability
    if capability is None or capability < _FIRST_WITH_BF16:
        has = f", whose compute capability is {capability[0]}.{capability[1]}" if capability else ""
        raise CannotCompose(
            f"bf16 on {device.name}{has}", expected="8.0 (Ampere) or newer", action="Choose fp16 as the precision"
        )
    if reason := why_no_bf16():
        raise Unavailable(reason, action="Install it, or choose fp16 as the precision")


def _first_gpu() -> Device:
    """The first GPU, or the CPU where there is none, which builds ahead only."""
    devices = list_devices()
    return next((device for device in devices if device.kind == "cuda"), devices[0])
