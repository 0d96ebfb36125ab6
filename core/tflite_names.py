"""Which layer a tensor of a `.tflite` file belongs to, by the name that the converter left it."""

from __future__ import annotations

import re

_PRODUCTS = frozenset(
    {"Conv2D", "convolution", "MatMul", "depthwise", "separable_conv2d", "conv2d_transpose", "conv_transpose"}
    | {"Tensordot", "einsum", "Einsum"}
)
"""What TensorFlow calls the operations that multiply by weights; the last part of a name."""
_ROUNDED = "quant_"
"""What training for INT8 puts before a layer's name."""
_OF_TORCH = re.compile(r"(?P<layer>[a-z]\w*_\d+)/\d+")
"""`fully_connected_18/1`: all that is left of a network of PyTorch."""


def layer_of(tensor: str) -> str:
    """The layer whose weights or product the tensor is: `conv1` for `cnn/conv1/Relu;cnn/conv1/Conv2D`; else empty.

    Parts of layers follow behind a dot (`attention.key`), the network's own name is left out.
    """
    if found := _OF_TORCH.fullmatch(tensor):
        return found["layer"]
    for name in tensor.split(";"):
        *parts, operation = name.split("/")
        if parts and (operation in _PRODUCTS or operation.rstrip("0123456789") in _PRODUCTS):
            return ".".join(part.removeprefix(_ROUNDED) for part in parts[1:] or parts)
    return ""
