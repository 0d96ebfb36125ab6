"""Distillation: a small network learns from the answers of a large one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import CannotCompose
from core.progress import Note, Steps
from optimizers.fit import refuse_repetition, require_trainable, require_training_images
from optimizers.technique import Context, Technique, choice, slider

if TYPE_CHECKING:
    from torch import nn

_BATCH = 32
"""Half of what fine-tuning takes: a network that starts from nothing gains most from many steps."""


class Distillation(Technique):
    """Replaces the network by a small one, trained on labels and on the network's answers."""

    key: ClassVar[str] = "distillation"
    title: ClassVar[str] = "Distillation"
    summary: ClassVar[str] = "Trains a small student network on the answers of this one, and keeps the student."
    learn: ClassVar[str] = (
        "A label says *ankle boot*; a trained network says *ankle boot, a little like a sneaker, nothing like a bag*. "
        "A small student that is trained on such answers learns more from the same images than from labels alone. The "
        "temperature softens the answers so that the small probabilities count, and alpha weighs them against the "
        "labels: `loss = α·T²·KL(teacher ‖ student) + (1 − α)·cross-entropy(labels)`. Alpha 0 is the control: the same "
        "student, trained alone. It pays when a much smaller architecture is good enough and training images are "
        "few. It does not pay in a hurry: in the first few epochs the student learns faster alone. "
        "Source: Hinton, Vinyals and Dean 2015, [arXiv:1503.02531](https://arxiv.org/abs/1503.02531)."
    )

    student: Literal["student_cnn_fmnist", "student_dw_fmnist"] = choice(
        "student_cnn_fmnist",
        title="Student",
        help="The small network that takes the place of this one. It starts from random weights.",
        labels={"student_cnn_fmnist": "Small CNN", "student_dw_fmnist": "Tiny depthwise CNN"},
    )
    temperature: float = slider(
        2,
        low=1,
        high=20,
        step=0.5,
        title="Temperature",
        help="How much the teacher's answers are softened. 1 takes them as they are, mostly certain; higher shows more "
        "of what it holds for similar.",
    )
    alpha: float = slider(
        0.9,
        low=0,
        high=1,
        step=0.05,
        title="Alpha",
        help="Weight of the teacher's answers against the labels. 0 trains the student alone: the control that "
        "distillation has to beat.",
    )
    epochs: int = slider(
        20,
        low=1,
        high=100,
        step=1,
        title="Training",
        unit="epochs",
        help="Passes over the training images. The student starts from nothing, so it needs more than fine-tuning.",
    )
    learning_rate: float = slider(
        0.01,
        low=0.0005,
        high=0.05,
        step=0.0005,
        title="Learning rate",
        help="Peak of AdamW's one-cycle schedule. A network that starts from nothing takes larger steps than one "
        "that is fine-tuned.",
        advanced=True,
    )

    def label(self) -> str:
        """`Distilled`, or `Student alone` for the control."""
        return f"Distilled α {self.alpha:g}" if self.alpha else "Student alone"

    def check(self, situation: Situation) -> Situation:
        """The student's situation. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        require_training_images(situation, self.title, "Choose a model with training images, or another technique")
        if not {"structured_pruning", "magnitude_pruning"}.isdisjoint(situation.applied):
            raise CannotCompose(
                "Distillation after pruning",
                expected="pruning last, because the student takes the place of the network that was pruned",
                action="Move pruning after distillation: the student is pruned then",
            )
        return replace(situation, family="cnn", applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The trained student. Raises `CannotCompose` where it does not fit the images or the classes."""
        from optimizers.guidance import ask_teacher
        from optimizers.state import torch_state
        from optimizers.training import Plan, train

        with torch_state(context):
            student = context.build_network(self.student)
        _require_fit(student, bundle, self.student)
        sizes = [sum(p.numel() for p in network.parameters()) for network in (bundle.module, student)]
        yield Note(
            text=f"The teacher has {sizes[0]:,} parameters, the student {sizes[1]:,}.", warning=sizes[1] >= sizes[0]
        )
        guidance = None
        if self.alpha:
            guidance = yield from ask_teacher(
                bundle.module, bundle, context, weight=self.alpha, temperature=self.temperature
            )
        plan = Plan(self.epochs, self.learning_rate, batch_size=_BATCH)
        trained = yield from train(student, bundle, context, plan, guidance=guidance)
        return replace(bundle, network=trained, family="cnn", applied=(*bundle.applied, self.key))


def _require_fit(student: nn.Module, bundle: ModelBundle, key: str) -> None:
    import copy

    import torch

    wanted = (1, len(bundle.contract.labels))
    try:
        with torch.inference_mode():
            shape = tuple(copy.deepcopy(student).eval()(torch.zeros(1, *bundle.contract.shape)).shape)
    except RuntimeError:
        shape = ()
    if shape != wanted:
        raise CannotCompose(
            f"The student {key} does not take images of {bundle.contract.shape} to {wanted[1]} classes",
            expected="a student for the same images and classes",
            action="Choose another student",
        )
