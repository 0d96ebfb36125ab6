"""Names as converters write them."""

from __future__ import annotations

import pytest

from core.tflite_names import layer_of


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("keras_cnn/conv1/Conv2D", "conv1"),
        ("keras_cnn/conv1/Relu;keras_cnn/conv1/BiasAdd;keras_cnn/conv1/Conv2D;keras_cnn/conv1/BiasAdd1", "conv1"),
        ("keras_cnn/quant_conv1/Conv2D;keras_cnn/quant_conv1/LastValueQuant/FakeQuantWithMinMaxVars", "conv1"),
        ("net_0.35/pad_relu/Relu6;net_0.35/pad_BN/FusedBatchNormV3;net_0.35/pad/depthwise;;net_0.35/x/Pad", "pad"),
        ("efficientnetb0/stem_conv/Conv2D;;efficientnetb0/stem_conv_pad/Pad1", "stem_conv"),
        ("functional_1/multi_head_attention_1/key_1/MatMul1", "multi_head_attention_1.key_1"),
        ("functional_1/separable_conv2d_1/separable_conv2d", "separable_conv2d_1"),
        ("functional_1/conv2d_transpose_1/conv_transpose1", "conv2d_transpose_1"),
        ("dense/MatMul", "dense"),
        ("fully_connected_18/1", "fully_connected_18"),
        ("keras_cnn/pool1/MaxPool", ""),
        ("StatefulPartitionedCall:0", ""),
        ("features.3.weight", ""),
        ("MatMul", ""),
        ("", ""),
    ],
)
def test_the_layer_is_read_from_what_the_converter_leaves(tensor: str, layer: str) -> None:
    assert layer_of(tensor) == layer
