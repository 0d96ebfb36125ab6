"""How a technique trains, as settings that all techniques that train share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from core.bundle import Situation
from core.errors import CannotCompose
from core.quantization import TrainingPrecision
from core.settings import choice, slider

if TYPE_CHECKING:
    from optimizers.training.loop import Plan

OptimizerName = Literal["adamw", "sgd"]
ScheduleName = Literal["one_cycle", "cosine", "constant"]
Augmentation = Literal["none", "mirror", "shift", "erase"]


class TrainingSettings(BaseModel):
    """Settings of the one fine-tuning loop; a technique adds its own epochs and learning rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: OptimizerName = choice(
        "adamw",
        title="Optimizer",
        help="AdamW adapts the step of every weight and forgives a learning rate that is off by some. SGD with "
        "Nesterov momentum needs a learning rate ten to thirty times as high, and often ends a little better in long "
        "trainings of CNNs.",
        labels={"adamw": "AdamW", "sgd": "SGD"},
        group="Training",
    )
    schedule: ScheduleName = choice(
        "one_cycle",
        title="Learning rate over time",
        help="One cycle rises to the learning rate and falls to almost nothing, with momentum doing the opposite. "
        "Cosine warms up linearly and then falls along a half wave. Constant only warms up.",
        labels={"one_cycle": "One cycle", "cosine": "Cosine", "constant": "Constant"},
        group="Training",
    )
    warm_up: float = slider(
        0.3,
        low=0,
        high=0.9,
        step=0.05,
        title="Warm-up",
        unit="of the training",
        help="Share of the training in which the learning rate rises. Short for networks that are trained already and "
        "long runs; a third suits one cycle.",
        group="Training",
    )
    weight_decay: float = slider(
        0.01,
        low=0,
        high=0.1,
        step=0.001,
        title="Weight decay",
        help="Pulls weights towards zero, which keeps networks from learning the training images by heart. SGD wants "
        "about a twentieth of what AdamW takes.",
        group="Training",
    )
    augmentation: Augmentation = choice(
        "mirror",
        title="Augmentation",
        help="What is done to training images so that none is seen twice alike. Mirrored images have cached teacher "
        "answers; shifted or erased ones ask the teacher anew each time, which takes longer per epoch and pays in "
        "long trainings. Texts are always taken as they are.",
        labels={"none": "None", "mirror": "Mirror", "shift": "Mirror and shift", "erase": "Mirror, shift and erase"},
        group="Training",
    )
    accumulate: int = slider(
        1,
        low=1,
        high=16,
        step=1,
        title="Gradient accumulation",
        unit="batches",
        help="Batches whose gradients are averaged before the weights move: a large batch in little memory.",
        group="Training",
    )
    keep_epoch: Literal["last", "best"] = choice(
        "last",
        title="Weights to keep",
        help="Those of the last epoch, or those of the epoch that was most accurate on the calibration images, which "
        "no training sees. The best of many is chosen by its luck too: test images decide how good it is.",
        labels={"last": "Last epoch", "best": "Best epoch"},
        group="Training",
    )
    patience: int = slider(
        0,
        low=0,
        high=20,
        step=1,
        title="Stop early after",
        unit="epochs without gain",
        help="Ends the training once so many epochs in a row brought nothing on the calibration images. 0 never stops "
        "early, which suits schedules that only fall at the end.",
        group="Training",
    )

    def refuse_changing_texts(self, situation: Situation) -> None:
        """Raises `CannotCompose` where images are to be shifted or erased and there are texts instead."""
        if situation.task == "text" and self.augmentation not in ("none", "mirror"):
            raise CannotCompose(
                "Shifted or erased texts",
                expected="texts as they are, because only images stay what they are when a part is moved or missing",
                action="Choose no augmentation",
            )

    def plan(self, epochs: int, learning_rate: float, **more: Any) -> Plan:
        """These settings as a plan for so many epochs; `more` are further fields of `Plan`."""
        from optimizers.training.loop import Plan

        settings = {name: getattr(self, name) for name in TrainingSettings.model_fields if name != "keep_epoch"}
        return Plan(epochs, learning_rate, keep=self.keep_epoch, **settings, **more)


class FineTuning(TrainingSettings):
    """The same, with what is computed in: for techniques whose subject that is not."""

    train_in: TrainingPrecision = choice(
        "fp32",
        title="Arithmetic of training",
        help="Reduced precision trains faster where the hardware multiplies it: BF16 on recent CPUs and GPUs, FP16 "
        "with loss scaling and TF32 on GPUs. Weights and optimizer stay in float32.",
        labels={"fp32": "FP32", "tf32": "TF32", "bf16": "BF16", "fp16": "FP16"},
        group="Training",
    )
    batch_size: int = slider(
        64,
        low=1,
        high=512,
        step=1,
        title="Training batch",
        unit="images",
        help="Images per training step. Small batches take more steps per epoch, which networks that start from "
        "nothing need; large ones run faster on a GPU.",
        group="Training",
    )

    def plan(self, epochs: int, learning_rate: float, **more: Any) -> Plan:
        """These settings as a plan for so many epochs; `more` are further fields of `Plan`."""
        return super().plan(
            epochs, learning_rate, **({"precision": self.train_in, "batch_size": self.batch_size} | more)
        )
