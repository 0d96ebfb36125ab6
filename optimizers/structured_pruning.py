"""Structured pruning: whole channels are removed, so the network really is smaller."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import CannotCompose
from core.progress import Note, Steps
from core.pruning import Target
from core.settings import choice, names, slider
from optimizers.fit import refuse_repetition, require_arithmetic, require_trainable, require_training_images
from optimizers.technique import Context, Technique
from optimizers.training.settings import FineTuning

if TYPE_CHECKING:
    from optimizers.pruning.channels import Cut

_BY = {
    "l2": "",
    "l1": " by L1",
    "lamp": " by LAMP",
    "bn_scale": " by BatchNorm scale",
    "taylor": " by Taylor",
    "hessian": " by Hessian",
    "random": " at random",
}
_BEFORE = {
    "magnitude_pruning": "unstructured pruning",
    "two_four": "2:4 sparsity",
    "low_rank": "low-rank factorisation",
}
"""What has to come afterwards."""


class StructuredPruning(FineTuning, Technique):
    """Removes a share of the channels, then fine-tunes what is left."""

    key: ClassVar[str] = "structured_pruning"
    title: ClassVar[str] = "Structured pruning"
    summary: ClassVar[str] = "Removes the least important channels, then trains briefly to recover what that cost."
    learn: ClassVar[str] = (
        "A convolution has many channels and some say little. Structured pruning ranks them, removes whole channels "
        "from every layer they touch and leaves a smaller ordinary network that is faster everywhere, without special "
        "kernels. Both the inputs and the outputs of a layer shrink, so removing half of the channels removes about "
        "three quarters of the arithmetic. In a transformer the heads and the hidden layers of the MLPs shrink; the "
        "embedding width, to which every block adds, stays. Layers joined by a shortcut lose the same channels. Right "
        "after the cut the network is poor; a few epochs of fine-tuning, guided by the network as it was, bring most "
        "of the accuracy back, and at high ratios several rounds of cutting and training bring back more than one. "
        "Instead of a ratio, a number of multiply-accumulates or a measured speed-up can be asked for: the two "
        "differ, because engines do not spend their time on arithmetic alone. It pays on wide networks and on engines "
        "that are limited by arithmetic; it pays little on networks that are small already, and odd channel counts "
        "can even be slower, hence the rounding. Random removal is the control: how much better a ranking does is "
        "what it is worth. Source: Fang et al. 2023, *DepGraph: Towards Any Structural Pruning*, "
        "[arXiv:2301.12900](https://arxiv.org/abs/2301.12900)."
    )
    pays: ClassVar[str] = (
        "the network is wide and arithmetic takes the time: with a quarter of its arithmetic left, the ResNet sample "
        "ran 2.5 to 3.7 times as fast and lost 0.83 points."
    )
    pays_not: ClassVar[str] = (
        "the network is small already, or there is no training afterwards: without it, 30 % fewer channels cost the "
        "ResNet sample 14 points."
    )

    target: Target = choice(
        "ratio",
        title="Aim for",
        help="What says how much goes: a share of the channels, a number of multiply-accumulates, or a speed-up "
        "measured in the chosen runtime on this device. For the last two, candidates are cut and counted or served "
        "until the ratio is found, and widths are rounded up in some layers and down in others to come close; timing "
        "takes some seconds for each of up to eight candidates.",
        labels={"ratio": "A share of channels", "macs": "Fewer multiply-accumulates", "latency": "Measured speed-up"},
    )
    ratio: float = slider(
        0.5,
        low=0.05,
        high=0.9,
        step=0.05,
        title="Pruning ratio",
        unit="of channels",
        help="Share of the channels to remove. 0.5 leaves about a quarter of a CNN's arithmetic, because a layer "
        "shrinks in both its inputs and its outputs. Higher is smaller and faster, and harder to recover.",
        only_if=("target", ("ratio",)),
    )
    speed_up: float = slider(
        2,
        low=1.25,
        high=8,
        step=0.25,
        title="Speed-up",
        unit="times",
        help="2 is half the multiply-accumulates, or half the median latency of the unpruned network in the chosen "
        "runtime. The nearest that widths allow is taken; smaller multiples or one ranking for all come nearer.",
        only_if=("target", ("macs", "latency")),
    )
    importance: Literal["l2", "l1", "lamp", "bn_scale", "taylor", "hessian", "random"] = choice(
        "l2",
        title="Importance",
        help="How channels are ranked. Magnitude looks at the weights; LAMP at each magnitude relative to the larger "
        "ones of its layer, which differs from L2 only in one ranking for all; BatchNorm at the scale the network "
        "itself learned. Taylor estimates from gradients on 256 training images how much the loss would change, "
        "Hessian from the squared gradients of each image. Random is the control that the others should beat.",
        labels={
            "l2": "Magnitude (L2)",
            "l1": "Magnitude (L1)",
            "lamp": "LAMP",
            "bn_scale": "BatchNorm scale",
            "taylor": "Taylor (gradients)",
            "hessian": "Hessian (squared gradients)",
            "random": "Random",
        },
    )
    scope: Literal["uniform", "global"] = choice(
        "uniform",
        title="Where to prune",
        help="The same share in every layer, or one ranking over all layers, which takes more where less is needed "
        "but can take almost all of a layer.",
        labels={"uniform": "Every layer alike", "global": "One ranking for all"},
    )
    rounds: int = slider(
        1,
        low=1,
        high=8,
        step=1,
        title="Rounds",
        unit="cuts",
        help="Cut, fine-tune and cut again, so that each round keeps the same share of what the one before left, and "
        "ranks it anew. Every round is fine-tuned for all of the epochs, as in the literature, so that three rounds "
        "take three times as long. Pays at high ratios.",
    )
    epochs: int = slider(
        8,
        low=0,
        high=40,
        step=1,
        title="Fine-tuning",
        unit="epochs",
        help="Passes over the training images after every cut. 0 shows what pruning costs before recovery.",
    )
    keep: tuple[str, ...] = names(
        title="Keep whole",
        help="Layers that keep all their outputs, separated by commas: names as `head` or `features.3.*`, or kinds as "
        "`depthwise Conv2d`. Layers joined to them by a shortcut keep theirs too. The output layer always does.",
    )
    attention: Literal["head_width", "heads", "none"] = choice(
        "head_width",
        title="Attention loses",
        help="In a transformer: the same share of every head's width, whole heads, or nothing. Narrow heads keep "
        "every view of the image but suit fast attention kernels less; few heads run well everywhere.",
        labels={"head_width": "Width of each head", "heads": "Whole heads", "none": "Nothing"},
        advanced=True,
    )
    mlp: bool = choice(
        True,
        title="Prune the MLPs of a transformer",
        help="Whether the hidden layers between attention blocks become narrower. They hold about two thirds of a "
        "transformer's weights.",
        advanced=True,
    )
    max_ratio: float = slider(
        0.9,
        low=0.1,
        high=1,
        step=0.05,
        title="No layer loses more than",
        unit="of its channels",
        help="Limits what one ranking for all takes from a single layer; what is not taken there is taken elsewhere. "
        "1 lets it take all but the last.",
        advanced=True,
        only_if=("scope", ("global",)),
    )
    learning_rate: float = slider(
        0.003,
        low=0.0005,
        high=0.02,
        step=0.0005,
        title="Learning rate",
        help="The highest one while fine-tuning. Too low recovers slowly, too high forgets.",
        advanced=True,
    )
    guidance: float = slider(
        0.9,
        low=0,
        high=1,
        step=0.05,
        title="Guidance by the original",
        help="How much the unpruned network's answers count while fine-tuning. 0 learns from the labels alone, 1 only "
        "from the original. Asking it costs two passes over the training images.",
        advanced=True,
    )
    round_to: Literal[1, 4, 8, 16] = choice(
        4,
        title="Round channels to",
        help="Widths become multiples of this, by removing more if need be. GPUs and INT8 kernels like 8 or 16. A "
        "layer that is no wider keeps its channels.",
        labels={"1": "any number", "4": "multiples of 4", "8": "multiples of 8", "16": "multiples of 16"},
        advanced=True,
    )
    renew: bool = choice(
        False,
        title="Take BatchNorm's statistics anew",
        help="After every cut, means and variances are measured again on up to 1,000 calibration images, because sums "
        "over fewer channels are other sums. No weight changes. Without fine-tuning this decides whether a cut CNN is "
        "of any use; fine-tuning does the same by itself.",
        advanced=True,
    )
    scan: bool = choice(
        True,
        title="Accuracy at every ratio",
        help="Also cuts at 10 % to 90 %, takes BatchNorm's statistics anew without training, and judges each on up to "
        "1,000 calibration images: this takes seconds and shows where the accuracy begins to fall.",
        advanced=True,
    )

    def label(self) -> str:
        """`Pruned 50 %`, `Pruned to 2x fewer MACs`, `Pruned 50 % at random`."""
        reached = {
            "ratio": f"Pruned {self.ratio * 100:.0f} %",
            "macs": f"Pruned to {self.speed_up:g}x fewer MACs",
            "latency": f"Pruned to {self.speed_up:g}x the speed",
        }
        return reached[self.target] + _BY[self.importance]

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        _refuse_after(situation)
        if self.epochs:
            require_training_images(situation, "Fine-tuning", "Set the fine-tuning epochs to 0")
            require_arithmetic(situation, self.train_in)
            self.refuse_changing_texts(situation)
        if self.importance in ("taylor", "hessian"):
            title = f"{self.importance.capitalize()} importance"
            require_training_images(situation, title, "Choose a magnitude as the importance")
        if self.importance == "bn_scale" and situation.family == "transformer":
            raise CannotCompose(
                "BatchNorm scale as the importance in a transformer",
                expected="layers with BatchNorm, which transformers lack",
                action="Choose a magnitude as the importance",
            )
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The narrower, fine-tuned network. Raises `NothingDone` where every layer kept its width, `BadInput` for a
        ratio, a pattern or a speed-up that does not go with the network.
        """
        from optimizers.pruning.report import told, told_kept
        from optimizers.pruning.rounds import Schedule, prune_in_rounds

        plan = self.plan(self.epochs, self.learning_rate) if self.epochs else None
        schedule = Schedule(self.target, self.speed_up, self.rounds, plan, self.guidance, self.scan, self.renew)
        pruned, report = yield from prune_in_rounds(bundle, context, self._cut(), schedule)
        yield Note(text=told(report))
        yield Note(text=told_kept(report))
        return replace(bundle, network=pruned, pruning=report, applied=(*bundle.applied, self.key))

    def _cut(self) -> Cut:
        from optimizers.pruning.channels import Cut

        return Cut(
            self.ratio,
            self.importance,
            self.scope == "uniform",
            self.round_to,
            max_ratio=self.max_ratio,
            attention=self.attention,
            mlp=self.mlp,
            keep=self.keep,
            staggered=self.target != "ratio",
        )


def _refuse_after(situation: Situation) -> None:
    """Raises `CannotCompose` after what shapes weights that a narrower network would not have."""
    for key, title in _BEFORE.items():
        if key in situation.applied:
            raise CannotCompose(
                f"Structured pruning after {title}",
                expected="channels removed first, because what comes after it looks at the weights that are left, and "
                "fine-tuning would undo it",
                action=f"Move structured pruning before {title}",
            )
