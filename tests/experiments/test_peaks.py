from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.devices import Device, find_device
from core.progress import Progress, result_of
from experiments import peaks as module
from experiments.peaks import Peaks, peaks_for
from profiling.machine import conditions

CPU = Device("cpu", "cpu", "A CPU", 1 << 30, cpu_flags=frozenset({"avx2", "avx512f"}))
PEAKS = Peaks(
    runtime="onnxruntime", device="A CPU", threads=1, libraries={}, macs_per_s={"fp32": 5e10},
    bandwidth=((2**18, 8e10), (2**22, 4e10), (2**26, 2e10)),
)  # fmt: skip


@pytest.fixture(scope="module")
def probes() -> None:
    """Here they are what is tested."""


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """What was probed, without probing."""
    probed: list[tuple[str, str, int]] = []

    def probe(runtime: str, device: Device, threads: int, precision: str) -> float:
        probed.append((runtime, precision, threads))
        return {"fp32": 5e10, "bf16": 1e11, "int8": 2e11, "tf32": 4e11}[precision]

    monkeypatch.setattr(module, "_macs_per_s", probe)
    monkeypatch.setattr(module, "_bandwidth", lambda device, threads: iter(PEAKS.bandwidth))
    return probed


def test_bandwidth_lies_between_the_probed_sizes_on_a_logarithmic_scale() -> None:
    assert PEAKS.bytes_per_s(2**22) == pytest.approx(4e10)
    assert PEAKS.bytes_per_s(2**20) == pytest.approx(6e10)
    assert PEAKS.bytes_per_s(0) == pytest.approx(8e10)
    assert PEAKS.bytes_per_s(2**40) == pytest.approx(2e10)
    assert Peaks.model_validate_json(PEAKS.model_dump_json()) == PEAKS


def test_a_precision_is_probed_once_and_remembered(quick: list[tuple[str, str, int]]) -> None:
    first = result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32",)))
    both = result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32", "int8")))
    again = result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("int8", "fp32")))
    assert quick == [("onnxruntime", "fp32", 1), ("onnxruntime", "int8", 1)]
    assert first.macs_per_s == {"fp32": 5e10}
    assert again == both
    assert both.macs_per_s == {"fp32": 5e10, "int8": 2e11}
    assert both.lanes == (1, 16)


def test_other_threads_runtimes_or_libraries_are_probed_anew(
    quick: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32",)))
    result_of(peaks_for("onnxruntime", CPU, threads=2, precisions=("fp32",)))
    result_of(peaks_for("pytorch", CPU, threads=2, precisions=("fp32",)))
    before = module.conditions
    monkeypatch.setattr(
        module, "conditions", lambda *a, **k: before(*a, **k).model_copy(update={"libraries": {"torch": "9"}})
    )
    result_of(peaks_for("pytorch", CPU, threads=2, precisions=("fp32",)))
    assert quick == [("onnxruntime", "fp32", 1), ("onnxruntime", "fp32", 2), *[("pytorch", "fp32", 2)] * 2]


def test_what_a_runtime_cannot_compute_is_left_out(quick: list[tuple[str, str, int]]) -> None:
    peaks = result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32", "bf16", "fp16")))
    assert set(peaks.macs_per_s) == {"fp32"}
    assert "w4" not in result_of(peaks_for("pytorch", CPU, threads=1, precisions=("w4",))).macs_per_s


def test_compiled_networks_multiply_with_pytorchs_own_kernels(quick: list[tuple[str, str, int]]) -> None:
    assert result_of(peaks_for("torch_compile", CPU, threads=1, precisions=("fp32",))).runtime == "pytorch"


def test_pytorch_is_probed_compiled_in_int8(quick: list[tuple[str, str, int]]) -> None:
    assert "int8" in result_of(peaks_for("pytorch", CPU, threads=1, precisions=("int8",))).macs_per_s


def test_a_damaged_file_is_replaced(quick: list[tuple[str, str, int]], data: Path) -> None:
    result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32",)))
    (path,) = (data / "peaks").iterdir()
    path.write_text("{}")
    assert result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32",))).macs_per_s == {"fp32": 5e10}
    assert [each.name for each in (data / "peaks").iterdir()] == [path.name]


def test_a_profile_leaves_what_runs_are_explained_with(
    quick: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32", "int8")))
    monkeypatch.setattr(module, "_macs_per_s", lambda *_: 1e9)  # a busy minute
    anew = result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32",), anew=True))
    assert anew.macs_per_s == {"fp32": 1e9}
    assert result_of(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32", "int8"))) == known


@pytest.mark.parametrize(
    ("runtime", "capability", "expected"),
    [
        ("pytorch", (9, 0), ["tf32", "fp32"]),
        ("torch_compile", (8, 0), ["tf32", "fp32"]),
        ("pytorch", (7, 5), ["fp32"]),
        ("tensorrt", (9, 0), ["fp32"]),  # all of its products use TF32 alike
    ],
)
def test_pytorch_s_two_float32_rates_are_probed_apart(
    runtime: str,
    capability: tuple[int, int],
    expected: list[str],
    quick: list[tuple[str, str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_is_possible", lambda *_: True)
    monkeypatch.setattr(module, "conditions", lambda *_, **__: conditions(find_device("cpu"), threads=1, seed=0))
    gpu = Device("cuda:0", "cuda", "A GPU", 1 << 34, compute_capability=capability)
    rates = result_of(peaks_for(runtime, gpu, threads=1, precisions=("fp32",))).macs_per_s
    assert [precision for _, precision, _ in quick] == expected == list(rates)


def test_tf32_is_off_while_fp32_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(module, "_fastest_s", lambda _: seen.append(torch.backends.cudnn.allow_tf32) or 1.0)
    before = torch.backends.cudnn.allow_tf32
    for precision in ("tf32", "fp32"):
        module._macs_per_s("pytorch", find_device("cpu"), 1, precision)
    assert (seen, torch.backends.cudnn.allow_tf32) == ([True, False], before)


def test_progress_names_what_is_probed(quick: list[tuple[str, str, int]]) -> None:
    events = list(peaks_for("onnxruntime", CPU, threads=1, precisions=("fp32", "int8")))
    assert [type(event) for event in events] == [Progress] * 3
    assert "int8" in events[1].doing
    assert [(event.done, event.total) for event in events] == [(0, 3), (1, 3), (2, 3)]


def test_a_real_probe_finds_rates_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small, so that only the order of magnitude is looked at."""
    for name, value in {"CHANNELS": 16, "SIDE": 14, "LAYERS": 2, "LONGEST_SECONDS": 0.02}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "WORKING_SETS", {"cpu": (2**16, 2**20)})
    peaks = result_of(peaks_for("onnxruntime", find_device("cpu"), threads=1, precisions=("fp32", "int8")))
    assert set(peaks.macs_per_s) == {"fp32", "int8"}
    assert all(1e7 < rate < 1e14 for rate in peaks.macs_per_s.values())
    assert [size for size, _ in peaks.bandwidth] == [2**16, 2**20]
    assert all(1e7 < rate < 1e14 for _, rate in peaks.bandwidth)


def test_litert_is_probed_in_integers_by_its_own_quantizer_and_without_a_converter(data: Path) -> None:
    possible = [precision for precision in module._PROBED if module._is_possible("litert", CPU, precision)]
    assert possible == ["fp32", "int8"]
    assert module._macs_per_s("litert", find_device("cpu"), 1, "int8") > 0
