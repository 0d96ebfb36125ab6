"""Why a .tflite variant is as large and as fast as it is: plain facts, and speeds only as measured."""

from __future__ import annotations

import pytest

from core.bundle import Precision
from experiments.measures import NO_DIFFERENCE
from experiments.why_tflite import in_general, remarks
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
        ("dynamic", "int8", 0.0125, "Every call rounds the activations", "2.24x faster"),
        ("fp16", "w16", 0.028, "changes nothing in speed", NO_DIFFERENCE),
        ("int16x8", "int16", 0.776, "reference kernels", "27.70x slower"),
    ],
)
def test_each_format_has_its_reason_and_the_speed_that_was_measured(
    scheme: str, precision: Precision, p50_ms: float, said: str, verdict: str
) -> None:
    asked = recipe(("keras_quantization", {"scheme": scheme}))
    (found,) = remarks(asked, result(asked, precision=precision, p50_ms=p50_ms), REFERENCE)
    assert said in found.sentence
    assert f"Measured here: {verdict} (" in found.sentence


def test_nothing_is_called_faster_that_is_not() -> None:
    asked = recipe(("keras_quantization", {"scheme": "int8"}))
    (found,) = remarks(asked, result(asked, precision="int8", p50_ms=0.0282), REFERENCE)
    assert f"Measured here: {NO_DIFFERENCE}" in found.sentence
    (alone,) = remarks(asked, result(asked, precision="int8"), None)
    assert "Measured" not in alone.sentence


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
