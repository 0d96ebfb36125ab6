"""LiteRT's own profile: what it is attributed to, against the file and against numpy's count of the arithmetic."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from core.errors import Unavailable
from core.layers import LayerProfile
from core.litert_profiler import Row, _rows
from core.tflite_ends import Kernels
from core.tflite_file import TfliteFile, facts_of
from runtimes import layers_litert
from runtimes.layers_litert import _behind, _in_order, _precision, profile_litert
from tests.core.tflite_graphs import Op, Tensor, file_of

DATA = Path(__file__).parent / "data"
SAMPLE = Path(__file__).parents[2] / "sample_models" / "weights" / "keras_cnn_fmnist.tflite"
X = np.random.default_rng(0).normal(size=(3, 1, 28, 28)).astype(np.float32)
LAYERS = ["conv1", "conv2", "dense", "logits"]


@pytest.fixture(scope="module")
def profiles() -> dict[str, LayerProfile]:
    both: tuple[Kernels, ...] = ("xnnpack", "own")
    return {kernels: profile_litert(SAMPLE, kernels, threads=1, x=X) for kernels in both}


@pytest.mark.parametrize("kernels", ["xnnpack", "own"])
def test_products_are_those_of_the_file_with_their_arithmetic(kernels: str, profiles: dict[str, LayerProfile]) -> None:
    found = profiles[kernels]
    products = found.of("compute")
    assert [each.name for each in products] == LAYERS
    assert [each.macs for each in products] == [
        3 * 28 * 28 * 9 * 16,
        3 * 14 * 14 * 9 * 16 * 32,
        3 * 7 * 7 * 32 * 64,
        3 * 64 * 10,
    ]
    assert found.macs == len(X) * facts_of(SAMPLE.read_bytes()).macs
    assert [each.channels for each in products] == [(1, 16), (16, 32), (1568, 64), (64, 10)]
    assert [each.weight_bytes for each in products] == [4 * 144, 4 * 4608, 4 * 100_352, 4 * 640]
    assert [each.output_shape for each in products] == [(3, 28, 28, 16), (3, 14, 14, 32), (3, 64), (3, 10)]
    assert (products[1].input_bytes, products[1].output_bytes) == (4 * 3 * 14 * 14 * 16, 4 * 3 * 14 * 14 * 32)
    assert {each.precision for each in found.layers} == {"fp32"}
    assert (found.batch_size, found.resolution_ms) == (3, 0.001)
    assert found.calls >= 3
    assert found.call_ms > 0


def test_its_own_kernels_go_by_the_names_of_the_file(profiles: dict[str, LayerProfile]) -> None:
    executed = [operator.name for operator in TfliteFile(SAMPLE.read_bytes()).operators]
    shown = [layer.op for layer in profiles["own"].layers]
    assert [name for name in executed if name in shown] == shown
    assert {layer.op for layer in profiles["xnnpack"].layers[:1]} == {"Convolution (NHWC, F32) IGEMM"}


def test_the_reference_kernels_cannot_be_reached() -> None:
    with pytest.raises(Unavailable, match="does not reach its reference kernels"):
        profile_litert(SAMPLE, "reference", threads=1, x=X)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; open(sys.argv[2], 'w').write('{\"refused\": \"it answered 3\"}')", "refused: it answered 3"),
        ("import os; os.abort()", "ended with the code -6"),
    ],
)
def test_what_it_cannot_do_is_said(program: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def played(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        return real([command[0], "-c", program, *command[3:]], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(layers_litert.subprocess, "run", played)
    with pytest.raises(Unavailable, match=words):
        profile_litert(SAMPLE, "xnnpack", threads=1, x=X)


def test_times_are_typical_of_calls_that_execute_the_same() -> None:
    calls = [[Row("A", True, 0, time), Row("B", False, 7, 2)] for time in (1, 3, 3, 900)]
    found = _rows([row for call in calls for row in call], 4)
    assert found == [Row("A", True, 0, 3), Row("B", False, 7, 2)]
    for wrong in ([*calls[0], calls[0][0]], [*calls[0], *reversed(calls[0])], []):
        with pytest.raises(ValueError, match="not the same"):
            _rows(wrong, 2)


def branches() -> TfliteFile:
    """x -> ABS -> RELU -> SQRT and x -> NEG, added at the end."""
    tensors = [Tensor(name, (1, 4)) for name in ("x", "abs", "relu", "sqrt", "neg", "y")]
    operators = [
        Op("ABS", ("x",), "abs"),
        Op("RELU", ("abs",), "relu"),
        Op("SQRT", ("relu",), "sqrt"),
        Op("NEG", ("x",), "neg"),
        Op("ADD", ("sqrt", "neg"), "y"),
    ]
    return TfliteFile(file_of(tensors, operators, "x", "y"))


@pytest.mark.parametrize(
    ("own", "order"),
    [
        ("RELU", ["ABS", "NEG", "SQRT", "ADD"]),  # SQRT waits for the part in which RELU is
        ("ABS", ["RELU", "SQRT", "NEG", "ADD"]),
        ("", ["ABS", "RELU", "SQRT", "NEG", "ADD"]),
    ],
)
def test_parts_are_executed_as_litert_cuts_the_graph(own: str, order: list[str]) -> None:
    file = branches()
    delegated = {number for number, operator in enumerate(file.operators) if operator.name != own}
    assert [operator.name for operator in _in_order(file, delegated)] == order


def test_a_depthwise_layer_has_a_group_for_each_channel() -> None:
    x = np.zeros((1, 3, 12, 10), np.float32)
    found = profile_litert(DATA / "pooled.tflite", "xnnpack", threads=1, x=x)
    products = found.of("compute")
    assert [(each.channels, each.groups) for each in products] == [((3, 8), 1), ((8, 8), 8), ((8, 5), 1)]
    assert [each.macs for each in products] == [6 * 5 * 8 * 9 * 3, 6 * 5 * 8 * 9, 8 * 5]
    both = profile_litert(DATA / "pooled.tflite", "xnnpack", threads=1, x=np.zeros((2, 3, 12, 10), np.float32))
    assert both.macs == 2 * found.macs, "it was made for one image, and takes more"


def test_what_cannot_be_told_apart_is_left_without_arithmetic() -> None:
    file = branches()
    rows = [Row("Add (ND)", True, 0, 1.0), Row("Add (ND)", True, 1, 1.0), Row("NEG", False, 3, 1.0)]
    assert {place: operator.name for place, operator in _behind(rows, file).items()} == {2: "NEG"}
    assert {place: operator.name for place, operator in _behind(rows[1:], file).items()} == {0: "ADD", 1: "NEG"}
    with pytest.raises(Unavailable, match="does not have"):
        _behind([Row("NEG", False, 99, 1.0)], file)


@pytest.mark.parametrize(
    ("type", "precision"),
    [
        ("Convolution (NHWC, F32) IGEMM", "fp32"),
        ("Convolution (NHWC, QC8) DWConv", "int8"),
        ("Fully Connected (NC, QS8, QC8W) GEMM", "int8"),
        ("Fully Connected (NC, QDU8, F32, QC4W) GEMM", "int8"),
        ("Fully Connected (NC, F32, QC4W) GEMM", "w4"),
        ("Fully Connected (NC, F16) GEMM", "fp16"),
        ("Add (ND)", "fp32"),
    ],
)
def test_what_it_computes_in_is_read_from_the_name(type: str, precision: str) -> None:
    assert _precision(Row(type, True, 0, 1.0)) == precision
