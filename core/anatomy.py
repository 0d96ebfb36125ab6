"""What a network is made of, module by module, whatever engine serves it: plain data for the result and the pages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from core.quantization import Histogram


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModuleFacts(_Frozen):
    """One module that computes something itself, in float32 and for one image."""

    name: str
    """`features.3.conv1`; empty for what the network does outside of any inner module."""
    kind: str
    """`Conv2d`, `depthwise Conv2d`, `Linear`, `BatchNorm2d`."""
    parameters: int
    """Its own, without those of modules inside it."""
    nonzero: int
    macs: int
    """Multiply-accumulates of all its calls."""
    output_shape: tuple[int, ...]
    """Of the first tensor that its last call handed on, for a batch of one; empty where it never ran."""
    output_bytes: int
    """Of everything that it hands on, all calls together."""
    weights: Histogram | None = None
    """Of its weight; None where it has none. Of very many values all histograms count an even selection."""
    inputs: Histogram | None = None
    """Of what comes in on the images looked at, all calls together; None for modules without weights."""
    outputs: Histogram | None = None
    """Of what goes out on the images looked at."""


class MemoryStep(_Frozen):
    """The forward pass after one operation."""

    module: str
    op: str
    """`aten.convolution`."""
    live_bytes: int
    """Results that are still needed, or held, at this moment; weights are not among them."""


class Anatomy(_Frozen):
    """A network in float32, before any engine rewrites it."""

    images: int
    """Calibration images behind the histograms of activations."""
    modules: tuple[ModuleFacts, ...]
    """In the order of execution."""
    memory: tuple[MemoryStep, ...]
    """One image in eager PyTorch, operation by operation."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(module.macs for module in self.modules)

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(module.parameters for module in self.modules)

    @property
    def peak_bytes(self) -> int:
        """Activations held at once when they are most."""
        return max((step.live_bytes for step in self.memory), default=0)

    def module(self, name: str) -> ModuleFacts | None:
        """The module of that name, or None."""
        return next((module for module in self.modules if module.name == name), None)
