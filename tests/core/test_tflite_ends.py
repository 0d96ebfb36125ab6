"""How many images a file takes, where its sizes are computed while it runs."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from core.tflite_ends import Ends
from core.tflite_session import TfliteSession
from tests.core.tflite_graphs import Op, Tensor, constant, file_of

X = np.arange(24, dtype=np.float32).reshape(3, 2, 2, 2)


def reshaped(*, is_open: bool) -> bytes:
    """x[N, 2, 2, 2] reshaped to [N, 8], where N is read from its shape, as converters write Flatten."""
    signature = (-1, 2, 2, 2) if is_open else None
    ends = [np.asarray(each, np.int32) for each in ([0], [1], [1])]
    tensors = [
        Tensor("x", (1, 2, 2, 2), signature=signature),
        Tensor("shape", (4,), "INT32"),
        *(constant(name, values) for name, values in zip(("begin", "end", "step"), ends, strict=True)),
        Tensor("batch", (), "INT32"),
        constant("eight", np.asarray(8, np.int32)),
        Tensor("wanted", (2,), "INT32"),
        Tensor("y", (1, 8), signature=(-1, 8) if is_open else None),
    ]
    reading, slicing, packing = schema.ShapeOptionsT(), schema.StridedSliceOptionsT(), schema.PackOptionsT()
    reading.outType, slicing.shrinkAxisMask, packing.valuesCount = schema.TensorType.INT32, 1, 2
    operators = [
        Op("SHAPE", ("x",), "shape", reading),
        Op("STRIDED_SLICE", ("shape", "begin", "end", "step"), "batch", slicing),
        Op("PACK", ("batch", "eight"), "wanted", packing),
        Op("RESHAPE", ("x", "wanted"), "y", schema.ReshapeOptionsT()),
    ]
    return file_of(tensors, operators, "x", "y")


@pytest.mark.parametrize("kernels", ["xnnpack", "own"])
def test_any_number_of_images_passes_where_the_file_leaves_the_batch_open(kernels: str) -> None:
    content = reshaped(is_open=True)
    assert Ends.of(content).fixed_batch == 0
    with TfliteSession(content, kernels, 1) as session:  # type: ignore[arg-type]
        np.testing.assert_array_equal(session.run(X), X.reshape(3, 8))
        assert not hasattr(session, "largest_batch")


def test_a_file_made_for_one_image_is_not_asked_to_compute_more() -> None:
    assert Ends.of(reshaped(is_open=False)).fixed_batch == 1
