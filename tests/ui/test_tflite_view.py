"""What is shown of a .tflite file: the facts that were read from it, and nothing else."""

from __future__ import annotations

import pytest

from core.tflite_file import TfliteFacts, TfliteWeights
from tests.experiments.tflite_runs import BASELINE, result
from ui.figures.tflite import distinct_by_tensor, names_of, zeros_by_tensor
from ui.tflite_view import headline, share_of_zeros, weight_table

CONV = TfliteWeights(
    name="net/conv1/Conv2D", operator="CONV_2D", shape=(16, 3, 3, 1), dtype="int8", bits=8, count=144, zeros=36,
    distinct=90,
)  # fmt: skip
DENSE = TfliteWeights(
    name="net/dense/MatMul;net/dense/BiasAdd", operator="FULLY_CONNECTED", shape=(64, 1568), dtype="float32", bits=32,
    count=100_352, zeros=80_282, distinct=16,
)  # fmt: skip
FACTS = TfliteFacts(
    operators={"CONV_2D": 1, "MAX_POOL_2D": 2, "FULLY_CONNECTED": 1}, parameter_count=100_576, nonzero_count=20_258,
    macs=1_117_056, weights=(CONV, DENSE), input_type="float32", output_type="int8",
)  # fmt: skip
EMPTY = TfliteFacts(
    operators={"ADD": 1}, parameter_count=0, nonzero_count=0, macs=0, weights=(), input_type="float32",
    output_type="float32",
)  # fmt: skip


def test_the_headline_has_both_sizes_and_the_zeros() -> None:
    words = headline(FACTS, result(BASELINE, size_bytes=426_000, gzip_bytes=123_000))
    assert words.startswith("416 KiB, 120 KiB compressed with gzip.")
    assert "100,576 parameters, 79.9 % of them zero" in words
    assert words.endswith("Takes float32 and gives int8.")


def test_a_file_without_parameters_has_no_zeros() -> None:
    assert share_of_zeros(EMPTY) == 0
    assert weight_table(EMPTY).empty
    assert not zeros_by_tensor(EMPTY.weights, colour="#112233", ink="#000000").data[0].x


def test_the_table_has_what_was_read() -> None:
    table = weight_table(FACTS)
    assert table.bits.tolist() == [8, 32]
    assert table["shape"].tolist() == ["16 x 3 x 3 x 1", "64 x 1568"]
    assert table.share.tolist() == pytest.approx([25.0, 100 * 80_282 / 100_352])
    assert table.distinct.tolist() == [90, 16]


def test_bars_are_the_shares_and_the_counts() -> None:
    zeros = zeros_by_tensor(FACTS.weights, colour="#112233", ink="#000000")
    assert list(zeros.data[0].x) == pytest.approx([25.0, 80.0], abs=0.01)
    distinct = distinct_by_tensor(FACTS.weights, colour="#112233", ink="#000000")
    assert list(distinct.data[0].x) == [90, 16]
    assert distinct.layout.xaxis.type == "log"


def test_joined_names_are_shown_by_the_first() -> None:
    assert names_of(FACTS.weights) == ["…conv1.Conv2D", "…dense.MatMul"]
