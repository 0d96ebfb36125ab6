"""AOTInductor: a network compiled ahead into a library, which PyTorch opens in moments and without a compiler."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.bundle import ModelBundle, Precision, Situation
from core.data import Floats, Inputs
from core.devices import Device, find_device
from core.errors import CannotCompose, Unavailable
from core.layers import LayerProfile
from runtimes.fit import (
    refuse_bf16_before_ampere,
    refuse_fp16_on_cpu,
    refuse_graph,
    refuse_tflite,
    why_no_compiler,
    why_no_cuda,
    why_not_installed,
)
from runtimes.runtime import NO_AIDS, Aids, Artifact, Session
from runtimes.sample_code import sample_code
from runtimes.torch_session import TorchSession
from runtimes.torch_settings import PyTorchSettings

_FILE = "model.pt2"
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
_INSTRUCTIONS = (
    "abm", "adx", "aes", "amx", "avx", "bmi", "f16c", "fma", "gfni", "movbe", "pclmul", "popcnt", "sha", "sse", "ssse",
    "vaes", "vpclmul",
)  # fmt: skip
"""How flags of a processor begin that name instructions which a C++ compiler may use."""
_FLAGS = "processor_flags"
_ENGINE = """
network = torch._inductor.aoti_load_package(str(HERE / "{file}"))  # runs code from the file: open only files you trust
DEVICE = network.get_metadata()["AOTI_DEVICE_KEY"]

def logits(x):
    with torch.inference_mode():
        return network(torch.from_numpy(x).to(DEVICE)).cpu().numpy()
"""


@dataclass(frozen=True)
class AotInductor:
    """PyTorch's compiler, ahead of time."""

    settings: PyTorchSettings

    key = "aotinductor"
    title = "AOTInductor"
    summary = "The kernels of torch.compile in one file, compiled beforehand: opens in moments, without a compiler."

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""
        return (
            why_not_installed("torch", "PyTorch")
            or (why_no_cuda() if device.kind == "cuda" else None)
            or why_no_compiler(device, self.title)
        )

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` for what is quantized, and for floats that the device only emulates."""
        refuse_graph(situation, self.title)
        refuse_tflite(situation, self.title)
        if situation.form != "torch" or situation.precision not in _PRECISIONS:
            raise CannotCompose(
                f"a quantized network for {self.title}",
                expected="a network in float, because PyTorch's INT8 kernels are compiled for one batch size each, and "
                "its small weights are unpacked by code that a compiled library does not hold",
                action="Choose torch.compile, ONNX Runtime or OpenVINO as the runtime",
            )
        refuse_fp16_on_cpu(situation)
        refuse_bf16_before_ampere(situation)

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write `model.pt2`, compiled for the device that the aids name, or for the CPU, and for any batch size."""
        import torch
        from torch.export.passes import move_to_device_pass

        from runtimes.aotinductor_file import compile_package
        from runtimes.lowering import lowered

        device = aids.device or find_device("cpu")
        module = lowered(bundle.module, bundle.precision)
        if self.settings.layout == "channels_last":
            module = module.to(memory_format=torch.channels_last)
        example = torch.from_numpy(bundle.contract.example(2))
        batch = torch.export.Dim("batch", min=1)
        with torch.no_grad():
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
            program = move_to_device_pass(program, device.id)
        compile_package(program, folder / _FILE, facts={_FLAGS: " ".join(sorted(_instructions()))})
        return Artifact(self.key, bundle.precision, folder, (_FILE,), self.settings)

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """A session. Raises `Unavailable` for a file that was compiled for another kind of processor.

        Loading runs code that the file contains: open only what `export` wrote.
        """
        import torch

        from runtimes.aotinductor_file import facts_of, open_package

        _refuse_foreign(facts_of(artifact.main_file), device)
        return TorchSession(open_package(artifact.main_file, device), torch.device(device.id), threads)

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs) -> LayerProfile:
        """Raises `Unavailable`: a compiled library does not tell its kernels apart."""
        raise Unavailable(
            "AOTInductor's file is one compiled library, which does not say what its kernels take",
            action="Choose torch.compile, which makes the same kernels, to see a time for each",
        )

    def tensors(self, artifact: Artifact) -> tuple[str, ...]:
        """None: a compiled library shows its logits only."""
        return ()

    def probe(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs, name: str) -> Floats:
        """Raises `Unavailable`, as there are no tensors to ask for."""
        raise Unavailable(f"AOTInductor's compiled library does not show {name}")

    def sample_code(self, artifact: Artifact) -> str:
        """A program that classifies images with `model.pt2`."""
        return sample_code(artifact, imports="import torch", engine=_ENGINE.format(file=artifact.files[0]))


def _refuse_foreign(facts: Mapping[str, str], device: Device) -> None:
    """Raises `Unavailable` for a library that this processor cannot run."""
    lacking = _needs(facts) - _has(device)
    if lacking:
        raise Unavailable(
            f"The file was compiled for {', '.join(sorted(lacking))}, which {device.name} lacks",
            expected="a file compiled on a machine like this one",
            action="Run its recipe again here",
        )


def _needs(facts: Mapping[str, str]) -> set[str]:
    needs = {facts.get("AOTI_DEVICE_KEY", "cpu"), *facts.get(_FLAGS, "").split()}
    if machine := facts.get("AOTI_MACHINE"):
        needs.add(machine)
    if capability := facts.get("AOTI_COMPUTE_CAPABILITY"):
        needs.add(f"compute capability {capability}")
    return needs


def _has(device: Device) -> set[str]:
    has = {device.kind, platform.machine(), *_instructions()}
    if device.compute_capability:
        has.add("compute capability {}{}".format(*device.compute_capability))
    return has


def _instructions() -> set[str]:
    """Flags of this machine's processor that matter to what is compiled on it, in the system's words."""
    return {flag for flag in find_device("cpu").cpu_flags if flag.startswith(_INSTRUCTIONS)}
