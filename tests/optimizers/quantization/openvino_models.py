"""OpenVINO models as OpenVINO itself reads and runs them, to judge what quantizers say about theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from core.bundle import OpenVinoModel
from core.data import Floats
from optimizers.quantization.quantizer import Quantized
from tests.optimizers.quantization.sources import TEST_X


def model_of(quantized: Quantized) -> Any:
    assert isinstance(quantized.network, OpenVinoModel)
    return openvino.Core().read_model(quantized.network.xml, quantized.network.weights)


def logits_of(quantized: Quantized, x: Floats = TEST_X) -> NDArray[Any]:
    """What the engine answers with the options that our artifacts are opened with."""
    compiled = openvino.Core().compile_model(model_of(quantized), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled({"input": x})["logits"])


def stored_weights(quantized: Quantized) -> dict[str, tuple[str, NDArray[Any]]]:
    """By the name of its product: the type in which a weight is stored, and its values in that type."""
    found = {}
    for operation in model_of(quantized).get_ordered_ops():
        if operation.get_type_name() not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        node = operation.input_value(1).get_node()
        while node.get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape"):
            node = node.input_value(0).get_node()
        if node.get_type_name() == "Constant":
            name = operation.get_friendly_name().removesuffix("/WithoutBiases")
            found[name] = node.get_element_type().get_type_name(), np.array(node.get_data(dtype=np.float32))
    return found
