from __future__ import annotations

import pytest

from core.devices import Device
from core.sparsity import Pattern, SparseLayer, SparsityReport
from experiments.sparsity import pays
from runtimes import RUNTIMES

CPU = Device("cpu", "cpu", "a CPU", 2**30, cpu_flags=frozenset({"avx512_vnni"}))
TURING = Device("cuda:0", "cuda", "a T4", 2**30, compute_capability=(7, 5))
AMPERE = Device("cuda:0", "cuda", "an A100", 2**30, compute_capability=(8, 0))
LINEAR = SparseLayer(
    name="fc", kind="Linear", shape=(64, 64), weights=4096, zeros=2048, blocks=1024, blocks_with_pattern=1024
)
CONVOLUTION = LINEAR.model_copy(update={"name": "conv", "kind": "Conv2d", "shape": (16, 16, 4, 4)})
DENSE = LINEAR.model_copy(update={"name": "head", "zeros": 0, "blocks_with_pattern": 0, "why_dense": "Kept."})


def report(*layers: SparseLayer, pattern: Pattern = "2:4") -> SparsityReport:
    return SparsityReport(pattern=pattern, method="by hand", layers=layers)


@pytest.mark.parametrize("device", [CPU, TURING, AMPERE], ids=lambda device: device.name)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scattered_zeros_pay_nowhere(runtime: str, device: Device) -> None:
    answer, why = pays(runtime, device, report(LINEAR, pattern="scattered"))
    assert not answer
    assert "like any other weight" in why


@pytest.mark.parametrize(
    ("runtime", "device", "layers", "answer", "words"),
    [
        ("tensorrt", AMPERE, (LINEAR, CONVOLUTION, DENSE), True, "2 of 3 layers, in FP16 and INT8"),
        ("tensorrt", TURING, (LINEAR,), False, "a T4 has no sparse tensor cores"),
        ("pytorch", AMPERE, (LINEAR,), True, "1 linear layer (semi-structured tensors) once the network is in FP16"),
        ("torch_compile", AMPERE, (LINEAR, CONVOLUTION), True, "in the others it multiplies the zeros"),
        ("pytorch", AMPERE, (CONVOLUTION,), False, "no 2:4 layer is one"),
        ("pytorch", TURING, (LINEAR,), False, "compute capability 8.0"),
        ("pytorch", CPU, (LINEAR,), False, "no kernels for a CPU"),
        ("openvino", CPU, (LINEAR,), False, "no kernels for a CPU"),
        ("onnxruntime", AMPERE, (LINEAR,), False, "multiplies the zeros"),
        ("tensorrt", AMPERE, (DENSE,), False, "No layer has two zeros"),
    ],
)
def test_fours_pay_where_hardware_and_engine_skip_them(
    runtime: str, device: Device, layers: tuple[SparseLayer, ...], answer: bool, words: str
) -> None:
    given, why = pays(runtime, device, report(*layers))
    assert given is answer
    assert words in why
    assert why.endswith(".")
    assert why.count(". ") == 0, "one sentence"
