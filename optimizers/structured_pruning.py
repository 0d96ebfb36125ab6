"""Structured pruning: whole channels are removed, so the network really is smaller."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import CannotCompose, NothingDone
from core.progress import Note, Progress, Steps
from optimizers.fit import refuse_repetition, require_trainable, require_training_images
from optimizers.technique import Context, Technique, choice, slider

if TYPE_CHECKING:
    from torch import nn


class StructuredPruning(Technique):
    """Removes a share of the channels, then fine-tunes what is left."""

    key: ClassVar[str] = "structured_pruning"
    title: ClassVar[str] = "Structured pruning"
    summary: ClassVar[str] = "Removes the least important channels, then trains briefly to recover what that cost."
    learn: ClassVar[str] = (
        "A convolution has many channels and some say little. Structured pruning ranks them, removes whole channels "
        "from every layer they touch and leaves a smaller ordinary network that is faster everywhere, without special "
        "kernels. Both the inputs and the outputs of a layer shrink, so removing half of the channels removes about "
        "three quarters of the arithmetic. Right after the cut the network is poor; a few epochs of fine-tuning, "
        "guided by the network as it was, bring most of the accuracy back. It pays on wide networks and on engines "
        "that are limited by arithmetic; it pays little on networks that are small already, and odd channel counts "
        "can even be slower, hence the rounding. Source: Fang et al. 2023, *DepGraph: Towards Any Structural "
        "Pruning*, [arXiv:2301.12900](https://arxiv.org/abs/2301.12900)."
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
    )
    importance: Literal["l2", "l1", "taylor", "bn_scale", "random"] = choice(
        "l2",
        title="Importance",
        help="How channels are ranked. Magnitude looks at the weights, Taylor at how much the loss would change, "
        "BatchNorm at the scale the network itself learned. Random is the control that the others should beat.",
        labels={
            "l2": "Magnitude (L2)",
            "l1": "Magnitude (L1)",
            "taylor": "Taylor (gradients)",
            "bn_scale": "BatchNorm scale",
            "random": "Random",
        },
    )
    scope: Literal["uniform", "global"] = choice(
        "uniform",
        title="Where to prune",
        help="The same share in every layer, or one ranking over all layers, which takes more where less is needed "
        "but can empty a layer.",
        labels={"uniform": "Every layer alike", "global": "One ranking for all"},
    )
    epochs: int = slider(
        8,
        low=0,
        high=40,
        step=1,
        title="Fine-tuning",
        unit="epochs",
        help="Passes over the training images after the cut. 0 shows what pruning costs before recovery.",
    )
    learning_rate: float = slider(
        0.003,
        low=0.0005,
        high=0.02,
        step=0.0005,
        title="Learning rate",
        help="Peak of AdamW's one-cycle schedule while fine-tuning. Too low recovers slowly, too high forgets.",
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
        help="Widths become multiples of this, by removing more if need be. GPUs and INT8 kernels like 8 or 16.",
        labels={"1": "any number", "4": "multiples of 4", "8": "multiples of 8", "16": "multiples of 16"},
        advanced=True,
    )

    def label(self) -> str:
        """`Pruned 50 %`."""
        return f"Pruned {self.ratio * 100:.0f} %"

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        if "magnitude_pruning" in situation.applied:
            raise CannotCompose(
                "Structured pruning after unstructured pruning",
                expected="channels removed first, because removing them later changes the share of zeros and "
                "fine-tuning fills them in",
                action="Move structured pruning before unstructured pruning",
            )
        if self.epochs:
            require_training_images(situation, "Fine-tuning", "Set the fine-tuning epochs to 0")
        if self.importance == "taylor":
            require_training_images(situation, "Taylor importance", "Choose a magnitude as the importance")
        if self.importance == "bn_scale" and situation.family == "transformer":
            raise CannotCompose(
                "BatchNorm scale as the importance in a transformer",
                expected="layers with BatchNorm, which transformers lack",
                action="Choose a magnitude as the importance",
            )
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The narrower, fine-tuned network. Raises `NothingDone` where every layer kept its width."""
        from optimizers.channels import Cut, prune
        from optimizers.recovery import recover
        from optimizers.state import torch_state
        from optimizers.training import Plan

        yield Progress(done=0, total=1, unit="cuts", doing="ranking the channels")
        with torch_state(context):
            pruned = prune(bundle, Cut(self.ratio, self.importance, self.scope == "uniform", self.round_to))
        yield Note(text=_what_changed(bundle, pruned))
        if self.epochs:
            plan = Plan(self.epochs, self.learning_rate)
            pruned = yield from recover(pruned, bundle, context, plan, guidance=self.guidance)
        return replace(bundle, network=pruned, applied=(*bundle.applied, self.key))


def _what_changed(bundle: ModelBundle, pruned: nn.Module) -> str:
    """Parameters, multiply-accumulates and widths before and after. Raises `NothingDone` where no width changed."""
    from core.macs import count_macs
    from optimizers.channels import widths

    before, after = widths(bundle.module), widths(pruned)
    changed = [f"{name} {before[name]} → {after[name]}" for name in before if before[name] != after[name]]
    if not changed:
        raise NothingDone("No layer is wide enough to lose a channel at this ratio", action="Raise the pruning ratio")
    parameters = [sum(p.numel() for p in network.parameters()) for network in (bundle.module, pruned)]
    macs = [count_macs(network, bundle.contract) for network in (bundle.module, pruned)]
    return (
        f"Parameters {parameters[0]:,} → {parameters[1]:,} ({parameters[1] / parameters[0] - 1:+.0%}), "
        f"multiply-accumulates {macs[0]:,} → {macs[1]:,} ({macs[1] / macs[0] - 1:+.0%}). "
        f"Channels: {', '.join(changed)}."
    )
