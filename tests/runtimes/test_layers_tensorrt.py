"""What the engine inspector says, in the form that NVIDIA documents; running an engine is in tests/gpu."""

from __future__ import annotations

import pytest

from runtimes.layers_tensorrt import read_layers

CONVOLUTION = {
    "Name": "node_Conv_1 + node_relu",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Dimensions": [8, 16, 28, 28],
                "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
    "Outputs": [{"Name": "y", "Dimensions": [8, 32, 14, 14],
                 "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
    "ParameterType": "Convolution",
    "Kernel": [3, 3],
    "Groups": 1,
    "OutMaps": 32,
    "Weights": {"Type": "Half", "Count": 32 * 16 * 9},
    "Metadata": "[ONNX Layer: node_Conv_1]\u001e[ONNX Layer: node_relu]",
}  # fmt: skip
PRODUCT = {
    "Name": "head",
    "LayerType": "gemm",
    "Inputs": [{"Name": "a", "Dimensions": [8, 64], "Format/Datatype": "Row major linear FP32"}],
    "Outputs": [{"Name": "b", "Dimensions": [8, 10], "Format/Datatype": "Row major linear FP32"}],
    "ParameterType": "MatrixMultiply",
}
REFORMAT = {"Name": "Reformatting CopyNode for Input Tensor 0", "LayerType": "Reformat", "Inputs": [], "Outputs": []}
DEPTHWISE = {
    **CONVOLUTION,
    "Name": "depthwise",
    "Groups": 16,
    "OutMaps": 16,
    "Outputs": [{"Name": "y", "Dimensions": [8, 16, 28, 28], "Format/Datatype": "Two wide channel vectorized Int8"}],
    "Weights": {"Type": "Int8", "Count": 16 * 9},
}


def test_a_convolution_multiplies_its_weights_at_every_position() -> None:
    (layer,) = read_layers([CONVOLUTION], {CONVOLUTION["Name"]: 0.02})
    assert (layer.kind, layer.precision, layer.op) == ("compute", "fp16", "CaskConvolution")
    assert layer.name == "node_Conv_1 + node_relu"
    assert layer.macs == 8 * 14 * 14 * 32 * 16 * 9
    assert layer.weight_bytes == 2 * 32 * 16 * 9
    assert (layer.input_bytes, layer.output_bytes) == (2 * 8 * 16 * 28 * 28, 2 * 8 * 32 * 14 * 14)
    assert (layer.channels, layer.groups, layer.time_ms) == ((16, 32), 1, 0.02)
    assert layer.output_shape == (8, 32, 14, 14)


def test_a_depthwise_convolution_has_few_weights() -> None:
    (layer,) = read_layers([DEPTHWISE], {"depthwise": 0.01})
    assert layer.macs == 8 * 28 * 28 * 16 * 9
    assert (layer.weight_bytes, layer.groups) == (16 * 9, 16)


def test_a_product_and_a_reformat() -> None:
    product, reformat = read_layers([PRODUCT, REFORMAT], {"head": 0.01, REFORMAT["Name"]: 0.002})
    assert (product.macs, product.precision, product.kind) == (8 * 10 * 64, "fp32", "compute")
    assert (reformat.macs, reformat.kind) == (0, "conversion")


@pytest.mark.parametrize(("name", "kind"), [("{ForeignNode[blocks.0...head]}", "compute"), ("softmax", "other")])
def test_a_layer_that_the_engine_only_names_has_no_arithmetic(name: str, kind: str) -> None:
    (layer,) = read_layers([name, "another"], {name: 0.5})
    assert (layer.name, layer.kind, layer.macs, layer.precision) == (name, kind, 0, "unknown")
