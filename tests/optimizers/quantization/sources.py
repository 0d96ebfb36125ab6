"""Small networks as quantizers get them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from core.bundle import OnnxGraph
from core.data import Floats
from core.onnx_export import export_onnx
from optimizers.quantization.quantizer import Quantized, Source
from optimizers.quantization.selection import layers_of
from tests.optimizers.conftest import CONTRACT, DATA

X = CONTRACT.prepare(DATA.calibrate.pixels)
TEST_X = CONTRACT.prepare(DATA.test.pixels)


exported_once = cache(export_onnx)
"""The export takes most of the time: for networks that are not changed afterwards."""


def source_of(network: nn.Module, folder: Path, family: str = "cnn", x: Floats = X) -> Source:
    """The network with the tests' images; BatchNorm is not folded."""
    layers = tuple(layers_of(network.eval(), torch.from_numpy(x[:1])))
    return Source(network, layers, CONTRACT, x, family, folder, 1)  # type: ignore[arg-type]


def graph_of(quantized: Quantized) -> onnx.GraphProto:
    assert isinstance(quantized.network, OnnxGraph)
    return onnx.load_from_string(quantized.network.content).graph


def logits_of(quantized: Quantized, x: Floats = TEST_X) -> NDArray[Any]:
    """What ONNX Runtime answers, by the plain session that our sample code opens."""
    assert isinstance(quantized.network, OnnxGraph)
    session = onnxruntime.InferenceSession(quantized.network.content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"input": x})[0])


def float_logits(network: nn.Module, x: Floats = TEST_X) -> NDArray[Any]:
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(x)).numpy()
