"""Distillation: a small network learns from the answers of a large one."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from core.bundle import Family, ModelBundle, Situation, Task
from core.errors import CannotCompose
from core.progress import Steps
from core.settings import choice, other_model, slider, text, variants
from optimizers.fit import refuse_repetition, require_arithmetic, require_trainable, require_training_images
from optimizers.technique import Context, Technique
from optimizers.training.settings import FineTuning

LossName = Literal["soft", "dkd"]
HintName = Literal["none", "features", "attention"]

_PRUNED = {"structured_pruning", "low_rank", "magnitude_pruning", "two_four"}
_OF_THE_NETWORK = ("width", "itself")
"""Students that take the same inputs as the network they are made of."""
_TRANSFORMERS = ("vit", "swin")
"""In the names of torchvision's architectures with attention."""


class Distillation(FineTuning, Technique):
    """Replaces the network by one that is trained on labels and on another network's answers."""

    key: ClassVar[str] = "distillation"
    title: ClassVar[str] = "Distillation"
    summary: ClassVar[str] = "Trains a small student network on the answers of this one, and keeps the student."
    learn: ClassVar[str] = (
        "A label says *ankle boot*; a trained network says *ankle boot, a little like a sneaker, nothing like a bag*. "
        "A small student that is trained on such answers learns more from the same images than from labels alone. The "
        "temperature softens the answers so that the small probabilities count, and alpha weighs them against the "
        "labels: `loss = α·T²·KL(teacher ‖ student) + (1 − α)·cross-entropy(labels)`. The **decoupled** loss splits "
        "the divergence into how sure the teacher is and how it shares out the rest, and weighs the two apart; "
        "**hints** also compare what both compute on the way. Whether a teacher helps has to be told against the same "
        "student trained alone, over several seeds: that control runs alongside. It pays when a much smaller "
        "architecture is good enough and training images are few, and to repair a network that was pruned. It does "
        "not pay in a hurry: in the first few epochs the student learns faster alone. "
        "Sources: Hinton, Vinyals and Dean 2015, [arXiv:1503.02531](https://arxiv.org/abs/1503.02531); Zhao et al. "
        "2022 (DKD), [arXiv:2203.08679](https://arxiv.org/abs/2203.08679); Romero et al. 2014 (features), "
        "[arXiv:1412.6550](https://arxiv.org/abs/1412.6550); Zagoruyko and Komodakis 2016 (attention), "
        "[arXiv:1612.03928](https://arxiv.org/abs/1612.03928)."
    )
    pays: ClassVar[str] = (
        "a much smaller network is good enough, or a pruned one has to recover: in 20 epochs the tiny depthwise sample "
        "gained 1.2 points over the same training without a teacher."
    )
    pays_not: ClassVar[str] = (
        "training has to be short: in two epochs the small CNN gained nothing measurable from its teacher."
    )

    student: Literal["student_cnn_fmnist", "student_dw_fmnist", "width", "itself", "named"] = choice(
        "student_cnn_fmnist",
        title="Student",
        help="The network that takes the place of this one. All but *this network itself* start from random weights. "
        "This network itself is the one at hand, however pruned or factorised; its teacher is the model as loaded, "
        "and it wants a lower learning rate and fewer epochs.",
        labels={
            "student_cnn_fmnist": "Small CNN",
            "student_dw_fmnist": "Tiny depthwise CNN",
            "width": "Narrower copy",
            "itself": "This network itself",
            "named": "Architecture by name",
        },
    )
    width: float = slider(
        0.5,
        low=0.25,
        high=0.9,
        step=0.05,
        title="Width",
        unit="of the channels",
        help="Share of the channels that a narrower copy has in every layer that can be narrower. Half the width is "
        "about a quarter of the arithmetic.",
        only_if=("student", ("width",)),
    )
    architecture: str = text(
        "shufflenet_v2_x0_5",
        pattern="^[a-z0-9_]+$",
        title="Architecture",
        help="The name of a torchvision classifier, such as resnet18 or mobilenet_v3_small. Its first convolution is "
        "fitted to the images' channels and its last layer to the classes; its weights are drawn at random. Many are "
        "made for images of 224 pixels and learn little from small ones.",
        only_if=("student", ("named",)),
    )
    teachers: tuple[str, ...] = variants(
        title="Finished variants as teachers",
        help="Variants of this model that answer together, as they ship: the mean of their probabilities. None leaves "
        "the teaching to the network itself. Only answers can be had from them: no hints, and no images that are "
        "shifted or erased.",
    )
    teacher_model: str = other_model(
        title="Another model as the teacher",
        help="A model that knows the same classes and takes images of the same size, whether it came with the studio "
        "or was brought as weights or as an ONNX file. Each is shown the images in its own normalisation. Only its "
        "answers are learned from: no hints.",
    )
    loss: LossName = choice(
        "soft",
        title="What is learned",
        help="Soft targets follow the teacher's softened probabilities. The decoupled loss weighs what it says about "
        "the other classes by itself: a teacher that is sure of its answer tells about them all the same.",
        labels={"soft": "Soft targets", "dkd": "Decoupled (DKD)"},
    )
    beta: float = slider(
        2,
        low=0.25,
        high=10,
        step=0.25,
        title="Beta",
        help="Weight of what the teacher says about the other classes, against how sure it is of the right one, which "
        "counts 1. Images without a label count the teacher's first choice as right.",
        only_if=("loss", ("dkd",)),
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
        help="Weight of the teacher's answers against the labels. 1 needs no labels. 0, without hints, trains the "
        "student alone.",
    )
    hints: HintName = choice(
        "none",
        title="Hints",
        help="What the teacher computes on its way to the answer, as a further target. Features are its maps, compared "
        "through a 1x1 convolution that is learned beside the student and then dropped; attention is only where in the "
        "image its maps are strong. The teacher is run in every step, which takes longer.",
        labels={"none": "None", "features": "Features (FitNets)", "attention": "Attention"},
    )
    hint_weight: float = slider(
        5,
        low=0.5,
        high=50,
        step=0.5,
        title="Weight of the hints",
        help="How much the hints count beside the rest of the loss. Each pair of maps costs between 0 and 2.",
        only_if=("hints", ("features", "attention")),
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
    control_seeds: int = slider(
        3,
        low=0,
        high=5,
        step=1,
        title="Seeds of the control",
        unit="seeds",
        help="The same student is also trained without the teacher, from the same start on the same batches, and both "
        "again with other seeds: only then can a gain be put down to the teacher, with an interval. Takes twice as "
        "many trainings as there are seeds; the student of the first one ships. 0 trains it once and tells no gain.",
    )
    learning_rate: float = slider(
        0.01,
        low=0.0005,
        high=0.05,
        step=0.0005,
        title="Learning rate",
        help="The highest of the training. A network that starts from nothing takes larger steps than one that is "
        "fine-tuned, for which 0.003 is about right.",
        group="Training",
    )
    batch_size: int = slider(
        32,
        low=1,
        high=512,
        step=1,
        title="Training batch",
        unit="images",
        help="Images per training step: half of what fine-tuning takes, because a network that starts from nothing "
        "gains most from many steps. Large batches run faster on a GPU.",
        group="Training",
    )

    @property
    def is_taught(self) -> bool:
        """Whether there is a teacher at all."""
        return self.alpha > 0 or self.hints != "none"

    def label(self) -> str:
        """`Distilled α 0.9`, `Distilled (DKD)`, `Distilled itself`; `Student alone` without a teacher."""
        if not self.is_taught:
            return "Student alone"
        whom = {
            "itself": " itself",
            "named": f" to {self.architecture}",
            "width": f" to {self.width * 100:.0f} % width",
        }
        how = [*(["DKD"] if self.loss == "dkd" else []), *([self.hints] if self.hints != "none" else [])]
        label = "Distilled" + whom.get(self.student, "") + (f" ({', '.join(how)})" if how else "")
        return f"{label} α {self.alpha:g}" if label == "Distilled" else label

    @property
    def student_title(self) -> str:
        """`Small CNN`; `A copy with 50 % of the channels`; `resnet18`."""
        titles = {
            "student_cnn_fmnist": "Small CNN",
            "student_dw_fmnist": "Tiny depthwise CNN",
            "width": f"A copy with {self.width * 100:.0f} % of the channels",
            "itself": "The network itself",
            "named": self.architecture,
        }
        return titles[self.student]

    @property
    def loss_in_words(self) -> str:
        """`Soft targets at temperature 2, alpha 0.9`."""
        what = f"Decoupled with beta {self.beta:g}" if self.loss == "dkd" else "Soft targets"
        hints = f", {self.hints} as hints with weight {self.hint_weight:g}" if self.hints != "none" else ""
        return f"{what} at temperature {self.temperature:g}, alpha {self.alpha:g}{hints}"

    def other_models(self) -> tuple[str, ...]:
        """The teacher, where that is another model."""
        return (self.teacher_model,) if self.teacher_model else ()

    @classmethod
    def fitting(cls, task: Task, runtime: str) -> dict[str, tuple[str, ...]]:
        """For texts the students that read tokens: those that are made of the network itself."""
        return {"student": _OF_THE_NETWORK} if task == "text" else {}

    def check(self, situation: Situation) -> Situation:
        """The student's situation. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        require_training_images(situation, self.title, "Choose a model with training images, or another technique")
        if situation.task == "text" and self.student not in _OF_THE_NETWORK:
            raise CannotCompose(
                f"The student {self.student_title} for texts",
                expected="a student that reads tokens",
                action="Choose a narrower copy, or this network itself, as the student",
            )
        if self.student != "itself" and not _PRUNED.isdisjoint(situation.applied):
            raise CannotCompose(
                "Distillation after pruning",
                expected="pruning last, because the student takes the place of the network that was pruned",
                action="Move pruning after distillation: the student is pruned then. Or choose the network itself as "
                "the student",
            )
        if self.teacher_model and self.is_taught:
            self._require_one_teacher()
        if self.teachers and self.is_taught:
            self._require_answers_to_suffice()
        require_arithmetic(situation, self.train_in)
        self.refuse_changing_texts(situation)
        return replace(situation, family=self._family(situation.family), applied=(*situation.applied, self.key))

    def _require_one_teacher(self) -> None:
        if self.teachers:
            raise CannotCompose(
                "Finished variants and another model as teachers at once",
                expected="one kind of teacher",
                action="Empty one of the two choices",
            )
        if self.hints != "none":
            raise CannotCompose(
                "Hints from another model",
                expected="the network as loaded as the teacher, whose layers lie where the student's do",
                action="Set hints to none, or choose no other model as the teacher",
            )

    def _require_answers_to_suffice(self) -> None:
        if self.hints != "none":
            raise CannotCompose(
                "Hints from finished variants",
                expected="a teacher whose layers can be read, and an exported file gives its answers only",
                action="Set hints to none, or choose no variants as teachers",
            )
        if self.augmentation not in ("none", "mirror"):
            raise CannotCompose(
                "Finished variants as teachers of images that are shifted or erased",
                expected="images that can all be shown to them before training",
                action="Choose mirrored images as the augmentation, or no variants as teachers",
            )

    def _family(self, family: Family) -> Family:
        """Of the student of a network of that family."""
        if self.student in _OF_THE_NETWORK:
            return family
        is_transformer = self.student == "named" and any(part in self.architecture for part in _TRANSFORMERS)
        return "transformer" if is_transformer else "cnn"

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The trained student. Raises `CannotCompose` where it does not fit the images or the classes."""
        from optimizers.teaching.school import School

        student, report = yield from School(self, bundle, context).teach()
        family = self._family(bundle.family)
        return replace(bundle, network=student, family=family, applied=(*bundle.applied, self.key), distillation=report)
