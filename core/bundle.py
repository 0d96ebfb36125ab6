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

Precision = Literal["fp32", "fp16", "bf16", "int8", "int16", "fp8", "nvfp4", "w16", "w8", "w4"]
"""What is multiplied; `w16`, `w8` and `w4` are weights kept in 16, 8 or 4 bits and multiplied as floats, and `int16` is
for activations in 16 bits with weights in 8."""
Family = Literal["cnn", "transformer"]
Form = Literal["torch", "onnx", "openvino", "keras", "tflite"]
Task = Literal["images", "text"]
"""What is classified."""


_TITLES = {"w16": "FP16 weights", "w8": "INT8 weights", "w4": "INT4 weights", "int16": "INT16 x INT8"}


_KINDS: dict[Form, str] = {
    "torch": "of PyTorch",
    "onnx": "that is an ONNX file",
    "openvino": "of OpenVINO",
    "keras": "of Keras",
    "tflite": "that is a .tflite file",
}


def form_title(form: Form) -> str:
    """What a model of that form is, as what follows `a model`: `of Keras`, `that is an ONNX file`."""
    return _KINDS[form]


def precision_title(precision: str) -> str:
    """How a precision is called on screen: `INT8`, `INT4 weights`."""
    return _TITLES.get(precision, precision.upper())


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """A serialised ONNX model with one input `input`[batch, C, H, W] and one output `logits`[batch, classes]."""

    content: bytes


@dataclass(frozen=True, eq=False)
class OpenVinoModel:
    """OpenVINO's own form of a network, as the contents of its two files; input and output as an `OnnxGraph` has."""

    xml: bytes
    weights: bytes


@dataclass(frozen=True, eq=False)
class KerasModel:
    """A network of Keras as plain data, and the same converted to LiteRT's format in float32.

    Both answer with logits, which no softmax follows.
    """

    content: bytes
    """Its configuration and weights, as `bridges.keras.form` writes and checks them."""
    tflite: bytes
    """One float32 input [batch, H, W, C], one float32 output [batch, classes]."""


@dataclass(frozen=True, eq=False)
class TfliteModel:
    """A `.tflite` file: one input [batch, H, W, C] or [batch, C, H, W], one output [batch, classes] of logits."""

    content: bytes


PlainNetwork: TypeAlias = OnnxGraph | OpenVinoModel | KerasModel | TfliteModel
"""A network as plain data, which is no torch module."""
Network: TypeAlias = "torch.nn.Module | PlainNetwork"
_FORMS: dict[type, Form] = {OnnxGraph: "onnx", OpenVinoModel: "openvino", KerasModel: "keras", TfliteModel: "tflite"}


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
        """What the network is: a torch module, or one of the forms that are plain data."""
        return _FORMS.get(type(self.network), "torch")

    @property
    def module(self) -> torch.nn.Module:
        """The network as a torch module. Raises `TypeError` on any other: techniques check the form beforehand."""
        network = self.network
        if isinstance(network, PlainNetwork):
            raise TypeError(f"{self.key} is a {type(network).__name__} here, not a torch module")
        return network
