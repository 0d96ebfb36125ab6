"""A model together with everything needed to judge it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from core.data import DataSplits, InputContract
from core.devices import Device

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "fp16", "bf16", "int8"]
Family = Literal["cnn", "transformer"]
Form = Literal["torch", "onnx"]


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """A serialised ONNX model with one input `input`[batch, C, H, W] and one output `logits`[batch, classes]."""

    content: bytes


Network: TypeAlias = "torch.nn.Module | OnnxGraph"


@dataclass(frozen=True)
class Situation:
    """What is known about a bundle without loading it, enough to tell whether the next step fits."""

    family: Family
    train_images: int
    classes: int
    device: Device
    runtime: str
    form: Form = "torch"
    precision: Precision = "fp32"
    applied: tuple[str, ...] = ()
    """Keys of the techniques applied so far, in order."""


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A model, its input contract, its data and what was done to it. Passes return a new one."""

    key: str
    family: Family
    network: Network
    contract: InputContract
    data: DataSplits
    precision: Precision = "fp32"
    applied: tuple[str, ...] = ()

    @property
    def form(self) -> Form:
        """Whether the network is a torch module or an ONNX graph."""
        return "onnx" if isinstance(self.network, OnnxGraph) else "torch"

    @property
    def module(self) -> torch.nn.Module:
        """The network as a torch module. Raises `TypeError` on an ONNX graph: techniques check the form beforehand."""
        if isinstance(self.network, OnnxGraph):
            raise TypeError(f"{self.key} is an ONNX graph here, not a torch module")
        return self.network
