"""Unstructured pruning: the smallest weights become zero, and every layer keeps its shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import NothingDone
from core.progress import Note, Progress, Steps
from optimizers.fit import refuse_repetition, require_trainable, require_training_images
from optimizers.technique import Context, Technique, choice, slider

if TYPE_CHECKING:
    from torch import nn


class MagnitudePruning(Technique):
    """Sets a share of the weights to zero, then fine-tunes the others."""

    key: ClassVar[str] = "magnitude_pruning"
    title: ClassVar[str] = "Unstructured pruning"
    summary: ClassVar[str] = (
        "Sets the smallest weights to zero, then trains the others briefly; shrinks the compressed file, not the time."
    )
    learn: ClassVar[str] = (
        "Most weights of a trained network are close to zero, and many can be exactly zero once the others are trained "
        "to make up for it. **Nothing gets faster from that in a dense engine**: PyTorch, ONNX Runtime, OpenVINO and "
        "TensorRT, as used here, store and multiply a zero like any other number, so time, memory and the file stay as "
        "they were. Only the *compressed* file shrinks, which pays for downloads and updates. Speed needs hardware or "
        "kernels that skip zeros: NVIDIA GPUs from Ampere on do so for the 2:4 pattern, two zeros in every four "
        "neighbouring weights, which scattered zeros do not have; some CPU engines have sparse kernels, which pay at "
        "high sparsity. Where plain speed is wanted, structured pruning gives it. Beyond the download, this technique "
        "shows how much of a network is redundant. Sources: Han et al. 2015, *Learning both Weights and Connections "
        "for Efficient Neural Networks*, [arXiv:1506.02626](https://arxiv.org/abs/1506.02626); Gale et al. 2019, *The "
        "State of Sparsity in Deep Neural Networks*, [arXiv:1902.09574](https://arxiv.org/abs/1902.09574), which finds "
        "that plain magnitude pruning holds its own against more elaborate methods in large networks."
    )

    sparsity: float = slider(
        0.7,
        low=0.1,
        high=0.95,
        step=0.05,
        title="Sparsity",
        unit="of weights",
        help="Share of the weights of convolutions and linear layers that become zero; biases and norms stay. Half is "
        "often nearly free; the last points cost most. More makes the compressed file smaller, and nothing faster.",
    )
    scope: Literal["global", "uniform"] = choice(
        "global",
        title="Where to prune",
        help="One ranking over all layers takes more where weights matter less, and usually costs less accuracy; at a "
        "high sparsity it can empty a layer. The same share of every layer spares none.",
        labels={"global": "One ranking for all", "uniform": "Every layer alike"},
    )
    epochs: int = slider(
        2,
        low=0,
        high=40,
        step=1,
        title="Fine-tuning",
        unit="epochs",
        help="Passes over the training images after pruning, with the zeros held. 0 shows what pruning costs before "
        "recovery; small networks and a high sparsity need more.",
    )
    learning_rate: float = slider(
        0.001,
        low=0.0005,
        high=0.02,
        step=0.0005,
        title="Learning rate",
        help="Peak of AdamW's one-cycle schedule while fine-tuning. Too low recovers slowly, which costs small "
        "networks most; too high forgets.",
        advanced=True,
    )
    guidance: float = slider(
        0.9,
        low=0,
        high=1,
        step=0.05,
        title="Guidance by the original",
        help="How much the dense network's answers count while fine-tuning. 0 learns from the labels alone, 1 only "
        "from the original. Asking it costs two passes over the training images.",
        advanced=True,
    )
    keep_ends: bool = choice(
        False,
        title="Keep the first and the last layer dense",
        help="The layer that reads the image and the one that names the class hold few weights, and each of them "
        "matters more. Kept dense, they do not count towards the sparsity.",
        advanced=True,
    )

    def label(self) -> str:
        """`Sparse 70 %`."""
        return f"Sparse {self.sparsity * 100:.0f} %"

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        if self.epochs:
            require_training_images(situation, "Fine-tuning", "Set the fine-tuning epochs to 0")
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network with its zeros, fine-tuned. Raises `NothingDone` where no weight was there to become zero."""
        from optimizers.recovery import recover
        from optimizers.sparsity import Selection, sparsify
        from optimizers.state import torch_state
        from optimizers.training import Plan

        yield Progress(done=0, total=1, unit="cuts", doing="ranking the weights")
        with torch_state(context):
            sparse = sparsify(bundle.module, Selection(self.sparsity, self.scope == "uniform", self.keep_ends))
        yield from _what_changed(bundle.module, sparse, keep_ends=self.keep_ends)
        if self.epochs:
            plan = Plan(self.epochs, self.learning_rate, keep_zeros=True)
            sparse = yield from recover(sparse, bundle, context, plan, guidance=self.guidance)
        return replace(bundle, network=sparse, applied=(*bundle.applied, self.key))


def _what_changed(before: nn.Module, after: nn.Module, *, keep_ends: bool) -> Iterator[Note]:
    """How many weights are zero, and which layers have no others. Raises `NothingDone` where none became zero."""
    from optimizers.sparsity import count_zeros, prunable

    zeros, weights = count_zeros(after, keep_ends=keep_ends), prunable(after, keep_ends=keep_ends)
    if not weights:
        raise NothingDone(
            "There is no convolution and no linear layer" + (" between the first and the last" if keep_ends else ""),
            action="Prune the first and the last layer too" if keep_ends else "Leave out unstructured pruning",
        )
    if zeros == count_zeros(before, keep_ends=keep_ends):
        raise NothingDone(
            "This share of the weights is zero already, or less than one weight", action="Raise the sparsity"
        )
    total = sum(weight.numel() for weight in weights.values())
    yield Note(
        text=f"{sum(zeros.values()) / total * 100:.1f} % of {total:,} weights in {len(weights)} layers are zero; "
        "nothing gets faster from that in engines that store and multiply every weight."
    )
    if dead := [name.removesuffix(".weight") for name, weight in weights.items() if zeros[name] == weight.numel()]:
        yield Note(text=f"No weight is left in {', '.join(dead)}: that part sees the image no more.", warning=True)
