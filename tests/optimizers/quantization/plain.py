"""A quantizer in a few lines of numpy, to test what does not depend on an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from core.bundle import ModelBundle
from core.data import Floats
from core.progress import Progress, Steps
from optimizers.quantization.quantizer import Bits, LayerGrid, Quantized, Source, TensorGrid
from optimizers.quantization.twin import outputs_of, twin


def weight_grid(weight: np.ndarray, *, bits: int = 8, per_channel: bool = True) -> TensorGrid:
    top = 2 ** (bits - 1) - 1
    largest = np.abs(weight).reshape(len(weight), -1).max(1) if per_channel else np.abs(weight).max()
    scale = np.asarray(np.maximum(largest, 1e-12) / top, np.float32)
    return TensorGrid(bits, -top, top, scale, np.zeros(scale.shape, np.int32))


def input_grid(values: np.ndarray) -> TensorGrid:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = max(high - low, 1e-12) / 255
    return TensorGrid(8, 0, 255, np.float32(scale), np.int32(round(-low / scale)))  # type: ignore[arg-type]


class Plain:
    """Per channel, symmetric weights; asymmetric inputs by min-max."""

    title = "a test's quantizer"

    def __init__(self, *, inputs: bool = True, per_channel: bool = True) -> None:
        self.inputs, self.per_channel, self.observations = inputs, per_channel, 0

    def observe(self, source: Source) -> Steps[Plain]:
        self.source = source
        self.observations += 1
        seen, _ = outputs_of(source.module, source.layers, torch.from_numpy(source.x))
        self.seen = {name: value.numpy() for name, value in seen.items()}
        yield Progress(done=1, total=1, unit="images", doing="observing ranges")
        return self

    def grid(self, name: str, bits: int) -> LayerGrid:
        weight = self.source.module.get_submodule(name).weight.detach().numpy()  # type: ignore[union-attr,operator]
        grid = input_grid(self.seen[name]) if self.inputs else None
        return LayerGrid(weight_grid(weight, bits=bits, per_channel=self.per_channel), grid)

    def quantize(self, bits: Bits) -> Quantized:
        grids = {name: self.grid(name, width) for name, width in bits.items()}
        return Quantized(twin(self.source.module, grids), "int8", grids)


class ServedModule:
    """Serves a bundle's torch module; every call takes as many ms as it has layers in float."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.size_bytes = module, 1000

    def run(self, x: Floats) -> Floats:
        with torch.inference_mode():
            logits: Floats = self.module(torch.from_numpy(x)).numpy()
        return logits

    def p50_ms(self) -> float:
        return 1.5


@contextmanager
def serve(bundle: ModelBundle) -> Iterator[ServedModule]:
    yield ServedModule(bundle.module)
