"""Why a .tflite variant is as large and as fast as it is: plain facts, and speeds only as measured."""

from __future__ import annotations

import numpy as np
import pytest

from core.bundle import Precision
from core.tflite_file import facts_of, precision_of_file
from experiments.measures import NO_DIFFERENCE
from experiments.why_tflite import in_general, remarks
from tests.core.tflite_graphs import Op, Tensor, constant, file_of
from tests.experiments.tflite_runs import BASELINE, recipe, result

REFERENCE = result(BASELINE)
PRUNED = recipe(("keras_pruning", {}))
CLUSTERED = recipe(("keras_clustering", {}))


def test_zeros_shrink_the_compressed_file_only_and_both_sizes_are_said() -> None:
    (found,) = remarks(PRUNED, result(PRUNED, zeros=0.8, gzip_bytes=123_000), REFERENCE)
    assert "80 % of the weights are zero" in found.sentence
    assert "neither shrinks this file nor speeds it up" in found.sentence
    assert "gzip leaves 29 % (120 of 416 KiB) of this one, and 92 % (385 of 416 KiB)" in found.sentence


def test_clusters_shrink_the_compressed_file_only() -> None:
    (found,) = remarks(CLUSTERED, result(CLUSTERED, gzip_bytes=84_000), REFERENCE)
    assert found.key == "clusters"
    assert "neither shrinks this file nor speeds it up" in found.sentence
    assert "gzip leaves 20 %" in found.sentence


def test_zeros_that_the_reference_has_too_are_no_remark() -> None:
    sparse = result(BASELINE, zeros=0.5)
    assert remarks(PRUNED, result(PRUNED, zeros=0.55), sparse) == ()


@pytest.mark.parametrize(
    ("scheme", "precision", "p50_ms", "said", "verdict"),
    [
        ("int8", "int8", 0.0134, "Weights and activations are 8-bit integers", "2.09x faster"),
        ("fp16", "w16", 0.028, "changes nothing in speed", NO_DIFFERENCE),
        ("int16x8", "int16", 0.776, "reference kernels", "27.7x slower"),
    ],
)
def test_each_format_has_its_reason_and_the_speed_that_was_measured(
    scheme: str, precision: Precision, p50_ms: float, said: str, verdict: str
) -> None:
    asked = recipe(("keras_quantization", {"scheme": scheme}))
    (found,) = remarks(asked, result(asked, precision=precision, p50_ms=p50_ms), REFERENCE)
    assert said in found.sentence
    assert f"Measured here: {verdict} (" in found.sentence


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("floats", "Every call rounds the activations"),
        ("rounded inside", "Weights and activations are 8-bit integers"),
        ("integers", "Weights and activations are 8-bit integers"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "int8", "dynamic"])
def test_whether_activations_are_integers_is_read_from_the_file_not_from_the_recipe(
    kind: str, said: str, scheme: str
) -> None:
    asked = recipe(("keras_quantization", {"scheme": scheme})) if scheme else BASELINE
    content = in_int8(kind)
    assert precision_of_file(content) == "int8"
    (found,) = remarks(asked, result(asked, precision="int8", tflite=facts_of(content)), None)
    assert said in found.sentence


def in_int8(kind: str) -> bytes:
    """A dense layer with weights in 8 bits; its input as it comes, rounded by an operator, or of integers."""
    given = Tensor("x", (1, 4), "FLOAT32")
    rounded = Tensor("q", (1, 4), "INT8", scale=0.1)
    weights = constant("w", np.ones((2, 4), np.int8), scale=0.1)
    taken = given if kind == "floats" else rounded
    result_of = Tensor("y", (1, 2), taken.dtype, scale=0.0 if kind == "floats" else 0.1)
    first = [Op("QUANTIZE", ("x",), "q")] if kind == "rounded inside" else []
    tensors = [*([given] if first else []), taken, weights, result_of]
    return file_of(tensors, [*first, Op("FULLY_CONNECTED", (taken.name, "w", ""), "y")], tensors[0].name, "y")


def test_nothing_is_called_faster_that_is_not() -> None:
    asked = recipe(("keras_quantization", {"scheme": "int8"}))
    (found,) = remarks(asked, result(asked, precision="int8", p50_ms=0.0282), REFERENCE)
    assert f"Measured here: {NO_DIFFERENCE}" in found.sentence
    (alone,) = remarks(asked, result(asked, precision="int8"), None)
    assert "Measured" not in alone.sentence


@pytest.mark.parametrize("whose", ["variant", "reference"])
def test_a_speed_that_other_work_may_have_made_is_doubted(whose: str) -> None:
    asked = recipe(("keras_quantization", {"scheme": "int8"}))
    both = {"variant": result(asked, precision="int8", p50_ms=0.0134), "reference": REFERENCE}
    busy = both[whose].latency.model_copy(update={"contended_share": 0.5})
    both[whose] = both[whose].model_copy(update={"latency": busy})
    (found,) = remarks(asked, both["variant"], both["reference"])
    assert (
        "Measured here: 2.09x faster, but the timing was disturbed (13.4 µs against 28.0 µs for FP32)" in found.sentence
    )


def test_a_pruned_and_clustered_integer_network_has_all_three_reasons() -> None:
    asked = recipe(("keras_pruning", {}), ("keras_clustering", {}), ("keras_qat", {}))
    found = remarks(asked, result(asked, precision="int8", zeros=0.8, size_bytes=112_000, gzip_bytes=28_000), REFERENCE)
    assert [each.key for each in found] == ["numbers", "zeros", "clusters"]


def test_other_kernels_than_the_usual_ones_explain_the_time_first() -> None:
    asked = recipe(("keras_quantization", {"scheme": "int8"}))
    slow = asked.model_copy(update={"engine": type(asked.engine).model_validate({"kernels": "reference"})})
    (found,) = remarks(slow, result(slow, precision="int8", p50_ms=3.0), REFERENCE)
    assert found.title == "Not the fast kernels"


def test_openvino_s_way_with_a_format_is_not_explained_by_litert_s() -> None:
    asked = recipe(("keras_quantization", {"scheme": "int8"})).model_copy(update={"runtime": "openvino"})
    assert remarks(asked, result(asked, precision="int8"), REFERENCE) == ()


def test_variants_that_are_no_tflite_file_have_none() -> None:
    onnx = result(PRUNED, zeros=0.8).model_copy(update={"artifact_files": ("model.onnx",)})
    assert remarks(PRUNED, onnx, REFERENCE) == ()


def test_the_general_sentence_is_said_where_some_variant_needs_it() -> None:
    assert "compressed file alone" in in_general([BASELINE, PRUNED])
    assert in_general([BASELINE, recipe(("keras_qat", {}))]) == ""
