"""Quantized bundles, as optimizers hand them on to PyTorch's runtimes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from core.bundle import ModelBundle
from core.data import Floats
from core.progress import result_of
from optimizers.quantization.folding import folded
from optimizers.quantization.pt2e import Pt2e
from optimizers.quantization.quantizer import Quantizer, Source, StaticGrid, WeightGrid
from optimizers.quantization.selection import layers_of
from optimizers.quantization.torchao_weights import TorchaoWeights

SCHEMES: dict[str, tuple[Quantizer, int]] = {
    "static int8": (Pt2e(StaticGrid()), 8),
    "w8": (TorchaoWeights(WeightGrid(0, True, False)), 8),
    "w4": (TorchaoWeights(WeightGrid(32, True, False)), 4),
    "dynamic int8": (TorchaoWeights(WeightGrid(0, True, True)), 8),
}


def quantized(bundle: ModelBundle, scheme: str, folder: Path) -> ModelBundle:
    """The bundle with every layer that the scheme can quantize."""
    quantizer, bits = SCHEMES[scheme]
    x = bundle.contract.prepare(bundle.data.calibrate.pixels[:64])
    network, _ = folded(bundle.module, torch.from_numpy(x[:2]))
    layers = tuple(layers_of(network, torch.from_numpy(x[:2])))
    source = Source(network, layers, bundle.contract, x, bundle.family, folder, 1)
    made = result_of(quantizer.observe(source)).quantize(dict.fromkeys(layers, bits))
    assert made.grids
    return replace(bundle, network=made.network, precision=made.precision)


def module_logits(bundle: ModelBundle, x: Floats) -> Floats:
    """What the bundle's module answers, run by PyTorch as it is."""
    with torch.inference_mode():
        logits: Floats = np.asarray(copy.deepcopy(bundle.module).eval()(torch.from_numpy(x)))
    return logits
