"""Weight-only quantization: weights in 8 or 4 bits, arithmetic in float or, rounded anew each time, in INT8."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from core.bundle import ModelBundle, Precision, Situation
from core.errors import CannotCompose
from core.progress import Steps
from core.settings import choice, names, slider
from optimizers.fit import refuse_for_graphs, refuse_repetition, require_float
from optimizers.quantization.engines import FORMS, weight_quantizer, weight_refusal
from optimizers.quantization.quantizer import WeightGrid
from optimizers.technique import Context, Technique


class WeightOnly(Technique):
    """Linear layers keep their weights in few bits."""

    key: ClassVar[str] = "weight_only"
    title: ClassVar[str] = "Weight-only quantization"
    summary: ClassVar[str] = (
        "Keeps the weights of linear layers in 8 or 4 bits: small files, above all of transformers."
    )
    learn: ClassVar[str] = (
        "Only the weights of linear layers are rounded; what flows through the network stays in float, so that no "
        "calibration is needed and outliers in activations do no harm. Weights are unpacked as they are multiplied: "
        "that saves memory and, where a layer waits for its weights to arrive (one token or image at a time through "
        "large matrices), time; where it waits for the arithmetic, unpacking costs time. Four bits leave 16 values, "
        "too few for a whole channel: groups of 32 to 128 inputs share a scale. With **dynamic activations** what "
        "comes in is rounded to INT8 anew at every inference and the product is one of integers. Layers that hurt too "
        "much in 4 bits can have 8, or stay in float: set an accuracy limit. Sources: Dettmers et al. 2022, "
        "[arXiv:2208.07339](https://arxiv.org/abs/2208.07339); Frantar et al. 2022, "
        "[arXiv:2210.17323](https://arxiv.org/abs/2210.17323)."
    )
    pays: ClassVar[str] = (
        "large linear layers wait for their weights, or the file has to be small: with INT4 weights the vision "
        "transformer sample took 19 % of the bytes in ONNX Runtime, with nothing measurable lost."
    )
    pays_not: ClassVar[str] = (
        "arithmetic takes the time, or the layers are convolutions, which stay in float: with INT8 weights in eager "
        "PyTorch the vision transformer sample ran at 0.79 times the speed."
    )

    bits: Literal[8, 4] = choice(
        8,
        title="Weights",
        help="Bits of a weight. 8 cost hardly any accuracy, 4 halve the file once more and cost some.",
        labels={"8": "INT8", "4": "INT4"},
    )
    group_size: Literal[0, 32, 64, 128] = choice(
        0,
        title="Group size",
        help="Inputs of an output channel that share a scale. Smaller groups are more accurate and carry more scales. "
        "INT4 wants groups.",
        labels={"0": "Whole channel", "32": "32", "64": "64", "128": "128"},
    )
    activations: Literal["float", "dynamic"] = choice(
        "float",
        title="Activations",
        help="Float leaves them as they are. Dynamic INT8 rounds them anew at every inference, on a grid that fits "
        "what just came in, and multiplies integers.",
        labels={"float": "Float", "dynamic": "Dynamic INT8"},
    )
    max_loss: float = slider(
        0,
        low=0,
        high=5,
        step=0.1,
        title="Lose at most",
        unit="points",
        help="Gives the layers that hurt most 8 bits, then float, until no more than this many percentage points of "
        "accuracy are lost on calibration images; without labels, of agreement with the float network. 0 sets no "
        "limit.",
    )
    keep: tuple[str, ...] = names(
        title="Keep in float",
        help="Layers that stay in float, separated by commas: names as `head` or `blocks.0.*`, or kinds as `Linear`.",
    )
    keep_8bit: tuple[str, ...] = names(
        title="Keep in INT8",
        help="Where others get 4 bits: layers that get 8, separated by commas, named as above.",
        advanced=True,
    )
    symmetric: bool = choice(
        True,
        title="Symmetric weights",
        help="Zero point 0. Without, every group has a zero point of its own: a little more accurate in 4 bits, a "
        "little larger.",
        advanced=True,
    )

    def label(self) -> str:
        """`INT4 weights /32`, with dynamic activations and the limit where they are set."""
        group = f" /{self.group_size}" if self.group_size else ""
        dynamic = " dynamic" if self.activations == "dynamic" else ""
        limit = f" ≤ {self.max_loss:g} points" if self.max_loss else ""
        kept = len(self.keep) + len(self.keep_8bit)
        return f"INT{self.bits}{dynamic} weights{group}{limit}" + (f" {kept} kept" if kept else "")

    def check(self, situation: Situation) -> Situation:
        """The situation with small weights, in the form that the runtime takes. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_float(situation, self.title, takes_graphs=True)
        refuse_for_graphs(situation, {"An accuracy limit": self.max_loss})
        if self.keep_8bit and self.bits == 8:
            raise CannotCompose(
                "layers to keep in INT8 where all are",
                expected="INT4 weights for the others",
                action="Choose INT4, or empty that list",
            )
        if reason := weight_refusal(situation.runtime, situation.device, self._grid(), bits=self.bits):
            raise reason
        precision: Precision = self._precision()
        form = FORMS[situation.runtime]
        return replace(situation, form=form, precision=precision, applied=(*situation.applied, self.key))

    def _precision(self) -> Precision:
        if self.bits == 4:
            return "w4"
        return "int8" if self.activations == "dynamic" else "w8"

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network with small weights. Raises `NothingDone` where it has no linear layers."""
        from optimizers.quantization.graph_pipeline import quantized_graph
        from optimizers.quantization.pipeline import Wishes, quantized_bundle

        wishes = Wishes(
            key=self.key,
            title=self.title,
            bits=self.bits,
            images=_LOOKED_AT,
            keep=self.keep,
            keep_8bit=self.keep_8bit,
            linear_only=True,
            max_loss_points=self.max_loss,
        )
        quantized = quantized_graph if bundle.form == "onnx" else quantized_bundle
        return (yield from quantized(bundle, context, weight_quantizer(context.runtime, self._grid()), wishes))

    def _grid(self) -> WeightGrid:
        return WeightGrid(group_size=self.group_size, symmetric=self.symmetric, dynamic=self.activations == "dynamic")


_LOOKED_AT = 256
"""Images behind what is said about layers; quantizing weights needs none."""
