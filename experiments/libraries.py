"""The libraries the studio stands on: what each is for, which versions are taken, and what it unlocks here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from core.capabilities import FEATURES, Answer
from core.devices import Device
from runtimes.extras import EXTRAS
from runtimes.tensorrt_ import GENERATIONS as TARGETS

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ("requirements.txt", "requirements-tensorrt.txt", "requirements-dev.txt")
"""The first that names a library decides which versions the studio takes."""

ORDINARY = "python3 studio.py run"
"""Installs everything in requirements.txt, then starts the studio."""

Unlocks = Callable[[Sequence[Device]], Answer]


@dataclass(frozen=True)
class Library:
    """A distribution on the package index."""

    name: str
    purpose: str
    """What it is for here, in a few words."""
    install: str = ORDINARY
    """The command that brings it where it is missing."""
    replaced_by: str = ""
    """Another distribution of the same module, which cannot stand beside it."""
    unlocks: Unlocks | None = None
    """Whether and what it gives on these devices, the CPU first; None where it works alike on all."""

    @property
    def is_ordinary(self) -> bool:
        """Whether the ordinary installation brings it."""
        return self.install == ORDINARY

    @property
    def installed(self) -> str | None:
        """Its version here, or None."""
        return installed_version(self.name)

    @property
    def tested(self) -> str | None:
        """The version that the tests ran on; None where they ran without it."""
        return tested_versions().get(canonicalize_name(self.name))

    @property
    def range(self) -> SpecifierSet:
        """The versions that the studio's requirements take; all where they do not name it."""
        return ranges().get(canonicalize_name(self.name), SpecifierSet())

    @property
    def is_outside(self) -> bool:
        """Whether the version here is none that the requirements take."""
        return self.installed is not None and not self.range.contains(self.installed, prereleases=True)


def installed_version(name: str) -> str | None:
    """The distribution's version here, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def in_words(range_: SpecifierSet) -> str:
    """`>=2.11, <2.16`: the lower bound first."""
    return ", ".join(sorted(map(str, range_), reverse=True))


@cache
def tested_versions() -> Mapping[str, str]:
    """Version by canonical name, from `constraints.txt`."""
    return {
        canonicalize_name(each.name): next(iter(each.specifier)).version for each in _requirements("constraints.txt")
    }


@cache
def ranges() -> Mapping[str, SpecifierSet]:
    """The versions that are taken, by canonical name, from the requirements files."""
    found: dict[str, SpecifierSet] = {}
    for file in REQUIREMENTS:
        for each in _requirements(file):
            found.setdefault(canonicalize_name(each.name), each.specifier)
    return found


def _requirements(file: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [requirement for line in lines if line and (requirement := read_requirement(line))]


def read_requirement(line: str) -> Requirement | None:
    """The requirement, or None for what is none."""
    try:
        return Requirement(line)
    except InvalidRequirement:  # an option of pip, or from before there were rules
        return None


def built_for_cuda() -> str | None:
    """The CUDA version that the installed PyTorch is built for, or None; torch is not imported."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    found = re.search(r"^cuda\b.*= '([\d.]+)'", file.read_text(), re.MULTILINE) if file and file.exists() else None
    return found[1] if found else None


def _gpus(devices: Sequence[Device]) -> list[Device]:
    """One of each kind."""
    kinds = {(device.name, device.compute_capability): device for device in devices if device.kind == "cuda"}
    return list(kinds.values())


def _on_gpus(devices: Sequence[Device], *keys: str) -> str:
    """`A100: BF16, FP16.` for each kind of GPU; empty where there is none."""
    lines = [(gpu.name, [FEATURES[key].title for key in keys if FEATURES[key].of(gpu).has]) for gpu in _gpus(devices)]
    return " ".join(f"{name}: {', '.join(titles) or 'none of its formats'}." for name, titles in lines)


def _on_cpu(*keys: str) -> Unlocks:
    """What the CPU has and lacks of these, with the reasons."""

    def unlocks(devices: Sequence[Device]) -> Answer:
        answers = [(FEATURES[key].title, FEATURES[key].of(devices[0])) for key in keys]
        words = [f"{title}: {'' if answer.has else 'no. '}{answer.why}" for title, answer in answers]
        return Answer(True, " ".join(words))

    return unlocks


def _torch(devices: Sequence[Device]) -> Answer:
    cuda, on_cpu = built_for_cuda(), "CPU: FP32, BF16." if FEATURES["bf16"].of(devices[0]).has else "CPU: FP32."
    if _gpus(devices) and cuda is None:
        return Answer(True, f"{on_cpu} This is the build without CUDA, which cannot use the GPU.")
    on_gpus = _on_gpus(devices, "bf16", "fp16", "tf32", "fp8", "nvfp4", "two_four", "cuda_graph")
    ready = f"A GPU could be used as it is: the build is for CUDA {cuda}." if cuda else "The build is without CUDA."
    return Answer(True, f"{on_cpu} {on_gpus or ready}")


def _torchao(devices: Sequence[Device]) -> Answer:
    on_gpus = _on_gpus(devices, "fp8", "nvfp4") or "FP8 and NVFP4 need a GPU."
    return Answer(True, f"{_on_cpu('int8')(devices).why} {on_gpus}")


def _tensorrt(devices: Sequence[Device]) -> Answer:
    on_gpus = _on_gpus(devices, "fp16", "int8", "fp8", "two_four")
    return Answer(bool(on_gpus), on_gpus or "Nothing: its engines are built where they run, on an NVIDIA GPU.")


def _tensorrt_rtx(devices: Sequence[Device]) -> Answer:
    targets = [capability for capability, _ in TARGETS.values()]
    names = ", ".join(f"{name} ({major}.{minor})" for (major, minor), name in TARGETS.values())
    here = [
        f"{gpu.name} is among them."
        if gpu.compute_capability in targets
        else f"{gpu.name} is not among them: TensorRT builds for it."
        for gpu in _gpus(devices)
    ]
    return Answer(True, " ".join([f"Engines ahead of time, without the GPU, for {names}.", *here]))


def _onnxruntime_gpu(devices: Sequence[Device]) -> Answer:
    names = ", ".join(gpu.name for gpu in _gpus(devices))
    if not names:
        return Answer(False, "Nothing: there is no NVIDIA GPU here.")
    return Answer(True, f"Serves .onnx files in FP32 and FP16 on {names}.")


def _nvml(devices: Sequence[Device]) -> Answer:
    if not _gpus(devices):
        return Answer(False, "Nothing: no NVIDIA GPU answers. With one: its memory, power and clocks, live.")
    return Answer(True, f"Memory, power and clocks, live. {_on_gpus(devices, 'energy')}")


_TENSORRT = EXTRAS["tensorrt"].command

LIBRARIES: tuple[Library, ...] = (
    Library("torch", "Networks, training, and the runtimes PyTorch, torch.compile and AOTInductor", unlocks=_torch),
    Library("torchao", "INT8 for torch.compile; FP8, NVFP4 and small weights in PyTorch", unlocks=_torchao),
    Library(
        "onnxruntime",
        "Serves .onnx files; its INT8 quantizer",
        replaced_by="onnxruntime-gpu",
        unlocks=_on_cpu("int8"),
    ),
    Library(
        "onnxruntime-gpu",
        "The same for NVIDIA GPUs, in its place",
        install="pip uninstall onnxruntime && pip install onnxruntime-gpu",
        replaced_by="onnxruntime",
        unlocks=_onnxruntime_gpu,
    ),
    Library("openvino", "Serves its own format and .onnx files", unlocks=_on_cpu("int8", "bf16")),
    Library("tensorrt", "Builds and serves engines for NVIDIA GPUs", install=_TENSORRT, unlocks=_tensorrt),
    Library(
        "tensorrt-rtx",
        "The same for RTX GPUs; tells without a GPU what TensorRT reads",
        install="pip install tensorrt-rtx",
        unlocks=_tensorrt_rtx,
    ),
    Library("nvidia-ml-py", "Asks the NVIDIA driver", unlocks=_nvml),
    Library("nvidia-modelopt", "INT8 and FP8 quantizer for TensorRT", install=_TENSORRT),
    Library("nncf", "INT8 and INT4 quantizer for OpenVINO"),
    Library("ai-edge-litert", "Serves .tflite files: LiteRT"),
    Library("litert-quantizer", "INT8 and INT4 quantizer of .tflite files"),
    Library("torch-pruning", "Which channels go together, for structured pruning"),
    Library("torchvision", "Named architectures"),
    Library("timm", "A thousand more architectures by name"),
    Library("onnx", "Reads, checks and writes .onnx files"),
    Library("onnxscript", "PyTorch's export to ONNX"),
    Library("safetensors", "Weights in files that cannot run code"),
    Library("streamlit", "The pages"),
    Library("plotly", "The figures"),
    Library("pandas", "Tables"),
    Library("numpy", "Arrays"),
    Library("scipy", "Statistics"),
    Library("sqlalchemy", "The store of runs"),
    Library("pydantic", "Settings and recipes, checked"),
    Library("pillow", "Reads images"),
    Library("psutil", "Memory, clocks and processes"),
    Library("pyyaml", "Recipes as text"),
    Library("filelock", "One run a device"),
    Library("packaging", "Compares versions"),
)
"""Those first whose use depends on the machine."""
