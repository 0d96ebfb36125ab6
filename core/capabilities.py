"""What a device computes, and why not: facts about processors and GPUs, measured nowhere.

GPUs: NVIDIA's tuning guides and CUDA C++ Programming Guide, *Compute Capabilities*
(https://docs.nvidia.com/cuda/cuda-c-programming-guide/#compute-capabilities). CPUs: the instructions they name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.devices import Device
from core.formats import FIRST_CAPABILITY

Capability = tuple[int, int]

BEGINNING: Capability = (7, 5)
"""The ordinary builds of PyTorch from 2.11 on (CUDA 13) and TensorRT have kernels from here on."""


@dataclass(frozen=True)
class Answer:
    """Whether a device has something."""

    has: bool
    why: str
    """One sentence: by what, or what it would take."""
    where: str = ""
    """One sentence where it has it: which engines use it."""


@dataclass(frozen=True)
class Generation:
    """NVIDIA GPUs of one compute capability."""

    capability: Capability
    name: str
    examples: str


GENERATIONS: tuple[Generation, ...] = (
    Generation((7, 0), "Volta", "V100"),
    Generation((7, 5), "Turing", "T4, RTX 20"),
    Generation((8, 0), "Ampere", "A100, A30"),
    Generation((8, 6), "Ampere", "A10, RTX 30"),
    Generation((8, 9), "Ada", "L4, L40S, RTX 40"),
    Generation((9, 0), "Hopper", "H100, H200"),
    Generation((10, 0), "Blackwell", "B200, GB200"),
    Generation((12, 0), "Blackwell", "RTX 50, RTX PRO 6000"),
)
"""Oldest first, as https://developer.nvidia.com/cuda-gpus lists them."""


@dataclass(frozen=True)
class Feature:
    """A number format or an ability that some devices have."""

    title: str
    brings: str
    """One sentence: what it is good for."""
    first: Capability | None
    """Compute capability of the first GPUs that have it; None where all have it that the engines here take."""
    by: str
    """On a GPU: which engines use it."""
    on_cpu: Callable[[Device], Answer]

    def of(self, device: Device) -> Answer:
        """Whether the device has it, and why."""
        if device.compute_capability is None:
            return self.on_cpu(device)
        here = _dotted(device.compute_capability)
        if device.compute_capability < BEGINNING:
            return Answer(False, f"The builds of PyTorch and TensorRT begin at {_named(BEGINNING)}; this is {here}.")
        if self.first is None:
            return Answer(True, "Every GPU has it that the engines here take.", self.by)
        if device.compute_capability < self.first:
            return Answer(False, f"It needs compute capability {_named(self.first)} or newer; this is {here}.")
        return Answer(True, f"Since {_named(self.first)}; this is {here}.", self.by)


def nearest_generation(capability: Capability) -> Generation | None:
    """The newest generation that is not newer than the capability; None before the oldest."""
    return next((each for each in reversed(GENERATIONS) if each.capability <= capability), None)


def names_instructions(device: Device) -> bool:
    """Whether this system tells which instructions the CPU has."""
    return bool(device.cpu_flags)


def _dotted(capability: Capability) -> str:
    return "{}.{}".format(*capability)


def _named(capability: Capability) -> str:
    """`8.9 (Ada)`."""
    generation = nearest_generation(capability)
    return f"{_dotted(capability)} ({generation.name})" if generation else _dotted(capability)


def _int8_on_cpu(device: Device) -> Answer:
    """VNNI multiplies 8-bit integers exactly; without it AVX2 adds pairs of products in 16 bits.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, on reduced ranges.
    """
    flags, engines = device.cpu_flags, "In ONNX Runtime, OpenVINO, LiteRT and torch.compile."
    if not names_instructions(device):
        return Answer(True, "With 8-bit weights; this system does not tell which instructions the CPU has.", engines)
    if found := _first(flags, {"amx_int8": "AMX", "avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI"}):
        return Answer(True, f"{found} multiplies 8 bits without overflow.", engines)
    if "avx2" in flags:
        return Answer(
            True,
            "With 7-bit weights, because pairs of products are added in 16 bits and 8 could overflow, and slower than "
            "with VNNI, which this CPU lacks.",
            engines,
        )
    return Answer(True, "Without instructions for it: the file is smaller, and little or nothing gets faster.", engines)


def _bf16_on_cpu(device: Device) -> Answer:
    flags = device.cpu_flags
    if found := _first(flags, {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "bf16": "Arm BF16"}):
        return Answer(True, f"{found} multiplies it.", "In PyTorch, torch.compile, AOTInductor and OpenVINO.")
    lacks = "this CPU has neither" if names_instructions(device) else "this system does not tell whether it has them"
    return Answer(False, f"It needs AVX512-BF16 or AMX, and {lacks}; emulated, it is many times slower.")


def _fp16_on_cpu(device: Device) -> Answer:
    if "avx512_fp16" in device.cpu_flags:
        return Answer(False, "This CPU has AVX512-FP16, which the studio does not use: BF16 serves the same end here.")
    return Answer(False, "CPUs emulate it, 4 to 21 times slower than FP32: refused.")


def _first(flags: frozenset[str], names: Mapping[str, str]) -> str | None:
    return next((name for flag, name in names.items() if flag in flags), None)


def _never(why: str) -> Callable[[Device], Answer]:
    return lambda _device: Answer(False, why)


_GPU_FORMAT = "No CPU multiplies it; its accuracy can be simulated here."

FEATURES: Mapping[str, Feature] = {
    "int8": Feature(
        "INT8",
        "A quarter of the bytes of FP32, and several products at once.",
        (7, 5),
        "In TensorRT, the one engine here that multiplies INT8 on a GPU.",
        _int8_on_cpu,
    ),
    "bf16": Feature(
        "BF16",
        "Half of the bytes with the range of FP32: needs little care.",
        (8, 0),
        "In PyTorch and torch.compile.",
        _bf16_on_cpu,
    ),
    "fp16": Feature(
        "FP16",
        "Half of the bytes, more precise than BF16, with a narrow range.",
        (7, 0),
        "In PyTorch, torch.compile, TensorRT and ONNX Runtime's GPU build.",
        _fp16_on_cpu,
    ),
    "tf32": Feature(
        "TF32",
        "FP32 numbers multiplied with 10 bits of mantissa: faster training and convolutions, no conversion.",
        (8, 0),
        "In PyTorch, for convolutions by default and for training on request.",
        _never("Only GPUs have it."),
    ),
    "fp8": Feature(
        "FP8",
        "Floating point in 8 bits: a few extreme values cost less than in INT8.",
        FIRST_CAPABILITY["fp8"],
        "In TensorRT, and in PyTorch for transformers.",
        _never(_GPU_FORMAT),
    ),
    "nvfp4": Feature(
        "NVFP4",
        "Floating point in 4 bits with a scale for every 16 numbers: about half of FP8's bytes.",
        FIRST_CAPABILITY["nvfp4"],
        "In PyTorch, for transformers.",
        _never(_GPU_FORMAT),
    ),
    "two_four": Feature(
        "2:4 sparsity",
        "Half of the multiplications of layers with two zeros in every four weights.",
        (8, 0),
        "In TensorRT (FP16, INT8), and in PyTorch for linear layers in FP16 or BF16.",
        _never("No engine here has CPU kernels that skip such zeros: they are multiplied like any number."),
    ),
    "cuda_graph": Feature(
        "CUDA graphs",
        "A recorded inference, replayed without launching each operation: pays at small batches.",
        None,
        "In PyTorch and TensorRT.",
        _never("Only NVIDIA GPUs have them."),
    ),
    "energy": Feature(
        "Energy counter",
        "Joules per inference, from a counter of the whole board.",
        None,
        "By NVML, where the driver tells.",
        _never("NVML counts the energy of NVIDIA GPUs only."),
    ),
}
"""In the order in which they are shown."""
