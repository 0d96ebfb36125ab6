"""Magnitude pruning of a Keras network while it trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

from core.bundle import Form, ModelBundle, Situation
from core.errors import CannotCompose
from core.progress import Note, Steps
from core.settings import choice, slider
from optimizers.keras_fit import refuse_after, require_trainable_keras
from optimizers.keras_training import KerasTraining, sparsity_report, train_in_tensorflow, trained_bundle
from optimizers.technique import Context, Technique

_METHODS = {
    "polynomial": "Magnitude, every layer alike, gradually",
    "constant": "Magnitude, every layer alike",
    "2:4": "Magnitude, two of every four inputs",
}
_SHARED = ("polynomial", "constant")


class KerasPruning(KerasTraining, Technique):
    """Sets the smallest weights of each layer to zero while the others are trained."""

    key: ClassVar[str] = "keras_pruning"
    title: ClassVar[str] = "Magnitude pruning (TensorFlow)"
    summary: ClassVar[str] = (
        "Sets the smallest weights to zero while a Keras network trains; shrinks the compressed file, not the time."
    )
    takes: ClassVar[tuple[Form, ...]] = ("keras",)
    learn: ClassVar[str] = (
        "TensorFlow's Model Optimization Toolkit wraps each layer: while the network trains, a mask zeroes the weights "
        "that are smallest at the moment, chosen anew every few steps, in every layer the same share. On the "
        "**polynomial** schedule that share rises fast at first and ever slower; **constant** takes all of it at one "
        "step and only chooses anew afterwards; **2:4** takes two of every four neighbours along the inputs, once. The "
        "schedule is laid out from the number of images, the batch and the epochs, so that the asked share is "
        "reached before the training ends. **Neither the .tflite file gets smaller nor inference faster**: LiteRT "
        "stores and multiplies a zero like any other number. Only the *compressed* file shrinks, which pays for "
        "downloads; with quantization-aware training that keeps the zeros (PQAT) it shrinks further. Sources: Zhu and "
        "Gupta 2017, *To prune, or not to prune*, [arXiv:1710.01878](https://arxiv.org/abs/1710.01878), and "
        "[the toolkit's guide](https://www.tensorflow.org/model_optimization/guide/pruning)."
    )
    pays: ClassVar[str] = (
        "files are stored or sent compressed: with 80 % zeros the Keras sample's file, compressed, took 29 % of FP32's "
        "bytes and lost 1.38 points."
    )
    pays_not: ClassVar[str] = (
        "speed or memory is wanted: LiteRT was no faster for zeros, and the file itself stays as large."
    )

    zeros: Literal["polynomial", "constant", "2:4"] = choice(
        "polynomial",
        title="When weights go",
        help="Polynomial: little by little, which keeps most accuracy. Constant: all at one step. 2:4: two of every "
        "four inputs, half of the weights.",
        labels={"polynomial": "Polynomial", "constant": "Constant", "2:4": "2:4 pattern"},
    )
    sparsity: float = slider(
        0.8,
        low=0.1,
        high=0.95,
        step=0.05,
        title="Sparsity",
        unit="of weights",
        help="Share of the weights of each pruned layer that become zero. The last points cost most accuracy.",
        only_if=("zeros", _SHARED),
    )
    first_share: float = slider(
        0.6,
        low=0,
        high=0.95,
        step=0.05,
        title="Goes at the first step",
        unit="of the sparsity",
        help="Share of the zeros that come at the first step of the schedule, from where sparsity rises. The smallest "
        "weights are hardly missed.",
        only_if=("zeros", ("polynomial",)),
        advanced=True,
    )
    epochs: int = slider(
        5,
        low=1,
        high=50,
        step=1,
        title="Training",
        unit="epochs",
        help="Passes over the training images, while and after weights go. A high sparsity needs more.",
    )
    learning_rate: float = slider(
        0.001,
        low=0.00001,
        high=0.01,
        step=0.00001,
        title="Learning rate",
        help="The highest one while training. The weights that stay must move enough to make up for the others.",
    )
    layers: Literal["all", "convolutions", "dense"] = choice(
        "all",
        title="Layers",
        help="Which kind of layer is pruned. Depthwise convolutions never are: each of their few weights matters.",
        labels={"all": "All", "convolutions": "Only convolutions", "dense": "Only dense layers"},
        advanced=True,
    )
    keep_ends: bool = choice(
        True,
        title="Keep the first and the last layer dense",
        help="The layer that reads the image and the one that names the class hold few weights, and each of them "
        "matters more. They then do not count towards the sparsity. Where no other layer could be pruned, they are.",
        advanced=True,
    )
    begin: float = slider(
        0,
        low=0,
        high=0.8,
        step=0.05,
        title="Begin after",
        unit="of the training",
        help="Share of the training that passes before the first weights go.",
        only_if=("zeros", _SHARED),
        advanced=True,
    )
    end: float = slider(
        0.5,
        low=0.1,
        high=1,
        step=0.05,
        title="End after",
        unit="of the training",
        help="Share of the training after which the zeros stay where they are; the rest makes up for them.",
        only_if=("zeros", _SHARED),
        advanced=True,
    )
    frequency: int = slider(
        20,
        low=1,
        high=500,
        step=1,
        title="Choose anew every",
        unit="steps",
        help="Steps of training between two choices of the smallest weights; fewer where the training is short.",
        only_if=("zeros", _SHARED),
        advanced=True,
    )

    def label(self) -> str:
        """`Sparse 80 %`, `Sparse 2:4`."""
        return "Sparse 2:4" if self.zeros == "2:4" else f"Sparse {100 * self.sparsity:.0f} %"

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose` and `Unavailable`."""
        require_trainable_keras(situation, self.key, self.title, "Leave out pruning, which happens during training")
        refuse_after(
            situation, self.title, {"keras_clustering": "Pruning after clustering, which would break the clusters"}
        )
        self._refuse_no_time()
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network with its zeros. Raises `NothingDone` where there was nothing to prune."""
        arguments = {
            "plan": self.plan(self.epochs, self.learning_rate, context.seed),
            "wish": self.model_dump(include=_WISH) | {"initial_sparsity": self.first_share * self.sparsity},
        }
        done = yield from train_in_tensorflow("pruning:prune", bundle, context, arguments)
        yield self._told(done)
        report = sparsity_report(done["layers"], _METHODS[self.zeros], done["schedule"])
        return trained_bundle(bundle, context, self.key, sparsity=report)

    def _refuse_no_time(self) -> None:
        if self.zeros != "2:4" and self.begin >= self.end:
            raise CannotCompose(
                f"Pruning that begins after {100 * self.begin:.0f} % of the training and ends after "
                f"{100 * self.end:.0f} %",
                expected="an end after the beginning",
                action="Let it begin earlier or end later",
            )

    def _told(self, done: dict[str, Any]) -> Note:
        pruned = [layer for layer in done["layers"] if not layer["why_dense"]]
        weights, times = sum(layer["weights"] for layer in pruned), done["times"]
        begin, end, frequency = (times[name] for name in ("begin", "end", "frequency"))
        when = f"chosen at step {1 if self.zeros == '2:4' else begin:,}"
        if self.zeros != "2:4" and begin < end:
            when += f" and anew every {frequency:,} step{'s' * (frequency > 1)} until step {end:,}"
        return Note(
            text=f"{100 * done['reached']:.1f} % of {weights:,} weights in {len(pruned)} layers are zero, {when}. The "
            "compressed file shrinks; LiteRT computes no faster."
        )


_WISH = {"zeros", "sparsity", "begin", "end", "frequency", "layers", "keep_ends"}
"""Settings that are fields of `bridges.keras.pruning.Wish`."""
