"""TensorRT's own parser takes the graphs that show a tensor; running their engines is in tests/gpu."""

from __future__ import annotations

from typing import Any

import pytest

from core.bundle import ModelBundle, Precision
from core.onnx_export import export_onnx
from runtimes.lowering import lowered
from runtimes.tensors_onnx import onnx_tensors, with_output

trt = pytest.importorskip("tensorrt_rtx")


def outputs_of(graph: bytes) -> dict[str, Any]:
    """Names and types, as the parser understands them."""
    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(graph), parser.get_error(0).desc()
    outputs = (network.get_output(place) for place in range(network.num_outputs))
    return {output.name: output.dtype for output in outputs}


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", trt.float32), ("fp16", trt.float16)])
def test_every_tensor_can_be_an_output(bundle: ModelBundle, precision: Precision, dtype: Any) -> None:
    content = export_onnx(lowered(bundle.module, precision), bundle.contract)
    for name in ("relu", "relu_1", "logits"):
        assert name in onnx_tensors(content)
        graph, output = with_output(content, name)
        assert outputs_of(graph) == {"logits": trt.float32, output: trt.float32 if name == "logits" else dtype}
