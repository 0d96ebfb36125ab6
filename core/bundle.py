"""A model together with everything needed to judge it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from core.data import Contract, DataSplits
from core.devices import Device
from core.distillation import DistillationReport
from core.judging import Judging, Metric
from core.low_rank import LowRankReport
from core.pruning import PruningReport
from core.quantization import QuantizationReport, TrainingComparison
from core.sparsity import SparsityReport

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "nvfp4", "w8", "w4"]
"""What is multiplied; `w8` and `w4` are weights kept in 8 or 4 bits and multiplied as floats."""
Family = Literal["cnn", "transformer"]
Form = Literal["torch", "onnx", "openvino"]
Task = Literal["images", "text"]
"""What is classified."""


def precision_title(precision: str) -> str:
    """How a precision is called on screen: `INT8`, `INT4 weights`."""
    return {"w8": "INT8 weights", "w4": "INT4 weights"}.get(precision, precision.upper())


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """A serialised ONNX model with one input `input`[batch, C, H, W] and one output `logits`[batch, classes]."""

    content: bytes


@dataclass(frozen=True, eq=False)
class OpenVinoModel:
    """OpenVINO's own form of a network, as the contents of its two files; input and output as an `OnnxGraph` has."""

    xml: bytes
    weights: bytes


Network: TypeAlias = "torch.nn.Module | OnnxGraph | OpenVinoModel"


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
    task: Task = "images"
    brought_as: Form = "torch"
    """What the model is before the first technique: of an ONNX graph there never is a torch module."""
    is_own: bool = False
    """Whether a person brought the model, who can add it again with other data."""


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A model, its input contract, its data and what was done to it. Passes return a new one."""

    key: str
    family: Family
    network: Network
    contract: Contract
    data: DataSplits
    precision: Precision = "fp32"
    applied: tuple[str, ...] = ()
    quantization: QuantizationReport | None = None
    """Layer by layer, what quantization did; None before it."""
    training: TrainingComparison | None = None
    """What training in reduced precision gained or cost, where it was compared."""
    pruning: PruningReport | None = None
    """Which channels went; None where none did."""
    low_rank: LowRankReport | None = None
    """Which layers became two thinner ones; None where none did."""
    sparsity: SparsityReport | None = None
    """Which weights became zero; None where nothing made them so."""
    distillation: DistillationReport | None = None
    """What the student learned; None where there was none."""
    task: Task = "images"
    metric: Metric = "accuracy"

    @property
    def judging(self) -> Judging:
        """What is counted of its examples, in words."""
        return Judging(self.metric, self.contract.unit)

    @property
    def form(self) -> Form:
        """Whether the network is a torch module, an ONNX graph or an OpenVINO model."""
        if isinstance(self.network, OnnxGraph):
            return "onnx"
        return "openvino" if isinstance(self.network, OpenVinoModel) else "torch"

    @property
    def module(self) -> torch.nn.Module:
        """The network as a torch module. Raises `TypeError` on any other: techniques check the form beforehand."""
        if isinstance(self.network, OnnxGraph | OpenVinoModel):
            raise TypeError(f"{self.key} is an {type(self.network).__name__} here, not a torch module")
        return self.network
