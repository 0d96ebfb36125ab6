"""What an engine's quantizer is: a float network and calibration images in, a network in few bits out.

Every engine has its own, from the library its makers keep; each file beside this one wraps one. What happens to the
float network beforehand, and which layers are quantized, is the same for all and lies in `pipeline`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from core.bundle import Family, Network, OnnxGraph, PlainNetwork, Precision
from core.data import Contract, Inputs
from core.progress import Steps

if TYPE_CHECKING:
    from torch import nn

Method = Literal["minmax", "entropy", "percentile", "mse"]
Bits = Mapping[str, int]
"""Bits of each layer's weights by module name; a layer that is missing stays in float."""


@dataclass(frozen=True, eq=False)
class Source:
    """A float network, ready to be quantized."""

    network: Network
    """A torch module on the CPU in eval mode, or an ONNX graph whose layers are named; BatchNorm is merged into
    convolutions where it could be."""
    layers: tuple[str, ...]
    """Names of what has weights to quantize (convolutions and linear layers), in the order of execution."""
    contract: Contract
    x: Inputs
    """Calibration images [N, C, H, W], normalised."""
    family: Family
    folder: Path
    """An existing folder for intermediate files."""
    threads: int

    @property
    def module(self) -> nn.Module:
        """The torch module. Raises `TypeError` where there is none: techniques check the form beforehand."""
        if isinstance(self.network, PlainNetwork):
            raise TypeError(f"the network is an {type(self.network).__name__}, not a torch module")
        return self.network

    def onnx(self) -> bytes:
        """The network as an ONNX graph whose layers have the names of `layers`."""
        if isinstance(self.network, OnnxGraph):
            return self.network.content
        from core.onnx_export import export_onnx

        return export_onnx(self.module, self.contract, name_layers=True)


@dataclass(frozen=True, eq=False)
class TensorGrid:
    """Where the values of a quantized tensor lie: scale x (integer - zero point)."""

    bits: int
    low: int
    """Smallest integer that is used."""
    high: int
    scale: NDArray[np.float32]
    """[] for the whole tensor, [C] for each output channel, [C, G] for each group of a channel's inputs."""
    zero_point: NDArray[np.int32]
    """Shaped like `scale`."""


@dataclass(frozen=True, eq=False)
class LayerGrid:
    """How one layer was really quantized, as read back from the quantized network."""

    weight: TensorGrid
    input: TensorGrid | None
    """Of the values that come in; None where they stay in float or get a grid anew at every inference."""


@dataclass(frozen=True, eq=False)
class Quantized:
    """A network in few bits."""

    network: Network
    precision: Precision
    grids: Mapping[str, LayerGrid]
    """Of the layers that are quantized, by module name; a layer asked for and missing here could not be."""


class Observed(Protocol):
    """A network whose values were seen: it can be quantized again and again with other layers left in float."""

    def quantize(self, bits: Bits) -> Quantized:
        """The network with the layers of `bits` quantized. Leaves nothing of an earlier call behind."""


class Quantizer(Protocol):
    """One engine's quantizer with its settings. Heavy libraries are imported inside the method."""

    @property
    def title(self) -> str:
        """The library and its entry: `ONNX Runtime quantize_static`."""

    def observe(self, source: Source) -> Steps[Observed]:
        """Look at the calibration images, with progress."""


@dataclass(frozen=True)
class StaticGrid:
    """Settings of INT8 weights and activations that every engine's static quantizer understands."""

    method: Method = "minmax"
    per_channel: bool = True
    symmetric: bool = False
    """Activations with zero point 0, signed; else any zero point."""
    seven_bit_weights: bool = False


@dataclass(frozen=True)
class WeightGrid:
    """Settings of weights in few bits, multiplied as floats or by activations rounded anew at every inference."""

    group_size: int
    """Inputs of a channel that share a scale; 0 for all of them."""
    symmetric: bool
    dynamic: bool
    """Activations in INT8, their grid chosen anew at every inference."""
