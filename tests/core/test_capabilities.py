"""What devices have, against NVIDIA's tables and against what techniques refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.bundle import Situation
from core.capabilities import FEATURES, GENERATIONS, nearest_generation
from core.devices import Device
from core.errors import CannotCompose
from core.sparsity import skips_fours
from optimizers import TECHNIQUES

GPU = Device("cuda:0", "cuda", "a GPU", 2**34, (7, 5))
T4 = {"int8", "fp16", "cuda_graph", "energy"}
A100 = T4 | {"bf16", "tf32", "two_four"}
ON_GPUS: dict[tuple[int, int], set[str]] = {
    (7, 0): set(),  # V100: no builds
    (7, 5): T4,
    (8, 0): A100,
    (8, 9): A100 | {"fp8"},  # RTX 4090
    (9, 0): A100 | {"fp8"},  # H100
    (10, 0): A100 | {"fp8", "nvfp4"},  # B200
}


def cpu(*flags: str) -> Device:
    return Device("cpu", "cpu", "a CPU", 2**34, cpu_flags=frozenset(flags))


def had(device: Device) -> set[str]:
    return {key for key, feature in FEATURES.items() if feature.of(device).has}


@pytest.mark.parametrize("capability", ON_GPUS)
def test_what_gpus_have_is_what_nvidia_lists(capability: tuple[int, int]) -> None:
    assert had(replace(GPU, compute_capability=capability)) == ON_GPUS[capability]


def test_every_answer_is_a_sentence() -> None:
    devices = [cpu(), cpu("avx2"), *(replace(GPU, compute_capability=each.capability) for each in GENERATIONS)]
    answers = [feature.of(device) for feature in FEATURES.values() for device in devices]
    assert all(answer.why.endswith(".") and (answer.where.endswith(".") or not answer.where) for answer in answers)


def test_a_refusal_says_what_it_would_take_and_what_is_here() -> None:
    why = FEATURES["fp8"].of(replace(GPU, compute_capability=(8, 0))).why
    assert "8.9 (Ada)" in why
    assert "this is 8.0" in why
    assert "7.5 (Turing)" in FEATURES["energy"].of(replace(GPU, compute_capability=(7, 0))).why


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"avx2", "avx512_vnni", "amx_int8"}, "AMX"),
        ({"avx2", "avx512_vnni"}, "AVX512-VNNI"),
        ({"avx2", "avx_vnni"}, "AVX-VNNI"),
        ({"avx2"}, "7-bit"),
        ({"sse2"}, "little or nothing"),
        (set(), "does not tell"),
    ],
)
def test_int8_on_a_cpu_goes_by_its_instructions(flags: set[str], words: str) -> None:
    answer = FEATURES["int8"].of(cpu(*flags))
    assert answer.has
    assert "LiteRT" in answer.where
    assert words in answer.why


@pytest.mark.parametrize("flags", [{"avx512_bf16"}, {"amx_bf16"}, {"avx2"}, {"avx512_fp16"}, set()])
def test_on_a_cpu_only_bf16_depends_on_instructions_for_it(flags: set[str]) -> None:
    has_bf16 = bool(flags & {"avx512_bf16", "amx_bf16"})
    assert had(cpu(*flags)) == {"int8"} | ({"bf16"} if has_bf16 else set())


DEVICES = [
    cpu("avx2"),
    cpu("avx2", "avx512_bf16"),
    cpu(),
    *(replace(GPU, compute_capability=each) for each in ON_GPUS if each >= (7, 5)),
]
REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bf16": ("mixed_precision", {"precision": "bf16"}, "pytorch"),
    "fp16": ("mixed_precision", {"precision": "fp16"}, "pytorch"),
    "tf32": ("mixed_precision", {"precision": "fp32", "fine_tune_epochs": 1, "training": "tf32"}, "pytorch"),
    "fp8": ("fp8", {"number_format": "fp8"}, "pytorch"),
    "nvfp4": ("fp8", {"number_format": "nvfp4"}, "pytorch"),
}


@pytest.mark.parametrize(
    "device", DEVICES, ids=lambda device: str(device.compute_capability or sorted(device.cpu_flags))
)
def test_techniques_refuse_where_the_answer_is_no_and_nowhere_else(device: Device) -> None:
    for key, (technique, settings, runtime) in REFUSALS.items():
        assert FEATURES[key].of(device).has is is_accepted(technique, settings, runtime, device), key
    assert FEATURES["two_four"].of(device).has is skips_fours(device)


def is_accepted(technique: str, settings: dict[str, Any], runtime: str, device: Device) -> bool:
    try:
        TECHNIQUES[technique](**settings).check(Situation("transformer", 100, 10, device, runtime))
    except CannotCompose:
        return False
    return True


def test_a_gpu_between_generations_counts_as_the_older() -> None:
    assert [each.name for each in map(nearest_generation, [(8, 7), (12, 1), (9, 0)]) if each] == [
        "Ampere", "Blackwell", "Hopper",
    ]  # fmt: skip
    assert nearest_generation((6, 1)) is None
