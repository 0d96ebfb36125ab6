"""Quantization-aware training: the network learns to live with rounding before it is rounded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from core.bundle import ModelBundle, Situation
from core.progress import Steps
from core.settings import slider
from optimizers.fit import refuse_graph, require_arithmetic, require_training_images
from optimizers.int8 import Int8
from optimizers.technique import Context
from optimizers.training.settings import FineTuning

if TYPE_CHECKING:
    from torch import nn

    from optimizers.quantization.pipeline import Grids, Wishes


@dataclass(frozen=True)
class FreezeRanges:
    """Fixes the ranges of activations from some share of the training on."""

    after: float

    def __call__(self, trainee: nn.Module, share_done: float) -> None:
        """Once that share of it is done, let no range move any more."""
        from optimizers.quantization.fake_quant import freeze_ranges

        if share_done >= self.after:
            freeze_ranges(trainee)


class QuantizationAwareTraining(FineTuning, Int8):
    """INT8 from any post-training starting point, with training in between."""

    key: ClassVar[str] = "qat"
    title: ClassVar[str] = "Quantization-aware training"
    summary: ClassVar[str] = "Trains with rounding switched on, then quantizes: wins back what INT8 lost."
    learn: ClassVar[str] = (
        "Quantization first takes place as in **INT8 quantization**, with the settings chosen here. Then the network "
        "is trained for a few epochs while every layer rounds its weights and what comes in, on that very grid: the "
        "forward pass sees the error, the gradient passes through it as if it were not there (straight-through "
        "estimator). Weights move to where rounding hurts little. At last the trained network is calibrated and "
        "quantized anew, by the same quantizer. BatchNorm is merged into the convolutions beforehand, because that is "
        "what will be rounded. It pays where post-training quantization loses visibly: one scale for a whole "
        "depthwise layer, small networks; where that loses nothing, training only costs time. With a teacher, the "
        "float network's answers guide it as in distillation. Sources: Jacob et al. 2017, "
        "[arXiv:1712.05877](https://arxiv.org/abs/1712.05877); Krishnamoorthi 2018, "
        "[arXiv:1806.08342](https://arxiv.org/abs/1806.08342)."
    )
    pays: ClassVar[str] = (
        "INT8 loses visibly: with one scale per tensor, training won back 86 to 89 % of what the depthwise sample had "
        "lost."
    )
    pays_not: ClassVar[str] = "INT8 loses nothing measurable, as on the ResNet sample: training then only costs time."

    epochs: int = slider(
        3,
        low=1,
        high=30,
        step=1,
        title="Training",
        unit="epochs",
        help="Passes over the training images with rounding switched on. A few suffice.",
    )
    learning_rate: float = slider(
        0.001,
        low=0.0001,
        high=0.01,
        step=0.0001,
        title="Learning rate",
        help="The highest one while training. Weights only have to move a little.",
    )
    teacher: float = slider(
        0.5,
        low=0,
        high=1,
        step=0.05,
        title="Teacher's weight",
        help="How much the float network's answers count against the labels. 0 trains on labels alone.",
    )
    temperature: float = slider(
        2,
        low=1,
        high=20,
        step=0.5,
        title="Temperature",
        help="How much the teacher's answers are softened, so that its small probabilities count.",
        advanced=True,
    )
    freeze_after: float = slider(
        0.5,
        low=0,
        high=1,
        step=0.05,
        title="Ranges move for",
        unit="of the training",
        help="Until then the ranges of activations follow the batches; afterwards they are fixed and only weights "
        "learn. 0 keeps those of calibration throughout, 1 never fixes them.",
        advanced=True,
    )

    def label(self) -> str:
        """`QAT`, with what differs from the usual and matters most."""
        teacher = "" if self.teacher else " without teacher"
        return super().label().replace("INT8", "QAT INT8", 1) + f" {self.epochs} epochs{teacher}"

    def check(self, situation: Situation) -> Situation:
        """The situation in INT8. Raises `CannotCompose`."""
        refuse_graph(situation, self.title)
        require_training_images(situation, self.title, "Choose INT8 quantization, which needs none")
        require_arithmetic(situation, self.train_in)
        self.refuse_changing_texts(situation)
        return super().check(situation)

    def _wishes(self, bundle: ModelBundle, context: Context) -> Wishes:
        def train_it(network: nn.Module, grids: Grids) -> Steps[nn.Module]:
            return (yield from self._train(network, grids, bundle, context))

        return replace(super()._wishes(bundle, context), train=train_it)

    def _train(self, network: nn.Module, grids: Grids, bundle: ModelBundle, context: Context) -> Steps[nn.Module]:
        from optimizers.quantization.fake_quant import fake_quantized, stripped
        from optimizers.teaching.guidance import ask_teacher
        from optimizers.training.loop import train

        guidance = None
        if self.teacher:
            guidance = yield from ask_teacher(
                bundle.module,
                bundle,
                context,
                weight=self.teacher,
                temperature=self.temperature,
                augmentation=self.augmentation,
            )
        plan = self.plan(self.epochs, self.learning_rate, keep_zeros=bundle.sparsity is not None)
        freeze = FreezeRanges(self.freeze_after)
        trained = yield from train(
            fake_quantized(network, grids), bundle, context, plan, guidance=guidance, on_epoch=freeze
        )
        return stripped(trained)
