"""The graph in bf16: computed by onnx's reference, and compared with PyTorch's own bf16."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from core.reduced import in_float32, reduced
from runtimes.tensorrt_graph import in_bf16
from tests.optimizers.conftest import CONTRACT, TinyNet, TinyTransformer

pytest.importorskip("modelopt")
BF16 = onnx.TensorProto.BFLOAT16
STEP = 2.0**-8
"""Half the distance of neighbouring bf16 numbers, relative."""


@pytest.mark.parametrize("kind", [TinyNet, TinyTransformer])
def test_it_computes_in_bf16_what_the_network_does(kind: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    network, x = kind().eval(), torch.randn(3, *CONTRACT.shape)
    graph = onnx.load_from_string(in_bf16(network, CONTRACT))
    weights = [each for each in graph.graph.initializer if each.data_type in (BF16, onnx.TensorProto.FLOAT)]
    assert {each.data_type for each in weights} == {BF16}
    (logits,) = ReferenceEvaluator(graph).run(None, {"input": x.numpy()})
    assert logits.dtype == np.float32
    with torch.no_grad():
        exact = network(x).numpy()
        coarse = reduced(network, torch.bfloat16)(x.bfloat16()).float().numpy()
    largest = np.abs(exact).max()
    assert 0 < np.abs(logits - exact).max() < 16 * STEP * largest
    np.testing.assert_allclose(logits, coarse, atol=16 * STEP * largest)


def test_modules_that_stay_in_float32_do_so() -> None:
    torch.manual_seed(0)
    network = in_float32(TinyNet().eval(), ["block"])
    model = onnx.load_from_string(in_bf16(network, CONTRACT))
    graph = model.graph
    types = {each.name: each.data_type for each in graph.initializer}
    of_convolutions = [types[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert of_convolutions == [BF16, onnx.TensorProto.FLOAT]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    kinds = {each.name: each.type.tensor_type.elem_type for each in inferred.graph.value_info}
    relus = [kinds[node.output[0]] for node in graph.node if node.op_type == "Relu"]
    assert relus == [BF16, onnx.TensorProto.FLOAT]
