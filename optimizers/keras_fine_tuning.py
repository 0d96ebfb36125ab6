"""Fine-tuning of a Keras network in float32: the control beside which trained variants stand."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from core.bundle import Form, ModelBundle, Situation
from core.progress import Note, Steps
from core.settings import slider
from optimizers.keras_fit import refuse_after, require_trainable_keras
from optimizers.keras_training import KerasTraining, train_in_tensorflow, trained_bundle
from optimizers.technique import Context, Technique


class KerasFineTuning(KerasTraining, Technique):
    """Trains the network on as it is."""

    key: ClassVar[str] = "keras_fine_tuning"
    title: ClassVar[str] = "Fine-tuning in FP32"
    summary: ClassVar[str] = "Trains a Keras network on, as it is: what training alone would have brought."
    takes: ClassVar[tuple[Form, ...]] = ("keras",)
    learn: ClassVar[str] = (
        "Pruning, clustering and quantization-aware training all train the network as well. Part of what they gain or "
        "lose is due to that training, not to the technique. This is the control: the same images, loss and optimizer, "
        "for as many epochs, in float32 and with nothing else changed. Compare a trained variant with it rather than "
        "with the network as it came. Networks that are trained to their end seldom gain; with few images they can "
        "lose, because they learn those by heart. Adam follows Kingma and Ba 2014, "
        "[arXiv:1412.6980](https://arxiv.org/abs/1412.6980), the cosine Loshchilov and Hutter 2016, "
        "[arXiv:1608.03983](https://arxiv.org/abs/1608.03983)."
    )
    pays: ClassVar[str] = (
        "another variant was trained: only what exceeds this control can be put down to its technique."
    )
    pays_not: ClassVar[str] = (
        "the network has been trained to its end: five epochs more changed nothing measurable on the Keras sample, and "
        "nine cost it 0.39 points."
    )

    epochs: int = slider(
        5,
        low=1,
        high=150,
        step=1,
        title="Training",
        unit="epochs",
        help="Passes over the training images. As a control, as many as the techniques take that it stands beside.",
    )
    learning_rate: float = slider(
        0.0003,
        low=0.00001,
        high=0.01,
        step=0.00001,
        title="Learning rate",
        help="The highest one while training. Too high forgets what the network knew.",
    )

    def label(self) -> str:
        """`Fine-tuned 5 epochs`."""
        return f"Fine-tuned {self.epochs} epoch{'s' * (self.epochs > 1)}"

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose` and `Unavailable`."""
        require_trainable_keras(situation, self.key, self.title, "Leave out fine-tuning")
        refuse_after(
            situation,
            self.title,
            {
                "keras_pruning": "Fine-tuning after pruning, which would fill the zeros again",
                "keras_clustering": "Fine-tuning after clustering, which would move each weight off its cluster",
            },
        )
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network after so many more epochs. Raises `RunFailed` where the loss is not finite."""
        arguments = {"plan": self.plan(self.epochs, self.learning_rate, context.seed)}
        done = yield from train_in_tensorflow("training:fine_tune", bundle, context, arguments)
        yield Note(text=f"Trained for {done['steps']:,} steps in float32.")
        return trained_bundle(bundle, context, self.key)
