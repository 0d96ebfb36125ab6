"""Unstructured pruning: the smallest weights become zero, and every layer keeps its shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import CannotCompose, NothingDone
from core.progress import Note, Progress, Steps
from core.settings import choice, slider
from optimizers.fit import refuse_repetition, require_arithmetic, require_trainable, require_training_images
from optimizers.technique import Context, Technique
from optimizers.training.settings import FineTuning

if TYPE_CHECKING:
    from torch import nn

    from core.sparsity import SchedulePoint, SparsityReport
    from optimizers.sparsity.zeros import Selection


class MagnitudePruning(FineTuning, Technique):
    """Sets a share of the weights to zero, at once or little by little, while the others are fine-tuned."""

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
        "shows how much of a network is redundant. Zeros may all come **at once**, or **gradually** while the network "
        "trains, fast at first and ever slower, which at a high sparsity usually keeps more accuracy. Weights go by "
        "their magnitude or by their **movement**: those that training pulls towards zero, however large they are. "
        "Sources: Han et al. 2015, [arXiv:1506.02626](https://arxiv.org/abs/1506.02626); Zhu and Gupta 2017, *To "
        "prune, or not to prune*, [arXiv:1710.01878](https://arxiv.org/abs/1710.01878); Sanh et al. 2020, *Movement "
        "Pruning*, [arXiv:2005.07683](https://arxiv.org/abs/2005.07683); Gale et al. 2019, *The State of Sparsity in "
        "Deep Neural Networks*, [arXiv:1902.09574](https://arxiv.org/abs/1902.09574), which finds that plain magnitude "
        "pruning holds its own against more elaborate methods in large networks."
    )
    pays: ClassVar[str] = (
        "files are stored or sent compressed: with 70 % zeros the ResNet sample's compressed file was 37 % as large, "
        "with nothing measurable lost."
    )
    pays_not: ClassVar[str] = (
        "speed or memory is wanted: no engine on the CPU measured was faster for zeros, and the file itself stays as "
        "large."
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
    criterion: Literal["magnitude", "movement"] = choice(
        "magnitude",
        title="Which weights go",
        help="Magnitude removes the smallest. Movement removes those that training pulls towards zero, which it has "
        "to watch: the zeros then come gradually, and at least one epoch is needed. It suits networks that are being "
        "adapted to other data than they were trained on.",
        labels={"magnitude": "The smallest", "movement": "Those moving towards zero"},
    )
    schedule_of_zeros: Literal["at_once", "gradual"] = choice(
        "at_once",
        title="When they go",
        help="At once, before fine-tuning; or gradually, during the first two thirds of it, fast at first and ever "
        "slower, with the zeros chosen anew up to fifty times. Gradual needs more epochs, and pays at a high sparsity.",
        labels={"at_once": "At once", "gradual": "Gradually"},
        only_if=("criterion", ("magnitude",)),
    )
    epochs: int = slider(
        2,
        low=0,
        high=40,
        step=1,
        title="Fine-tuning",
        unit="epochs",
        help="Passes over the training images after pruning, with the zeros held, or while the zeros come. 0 shows "
        "what pruning costs before recovery; small networks and a high sparsity need more.",
    )
    learning_rate: float = slider(
        0.001,
        low=0.0005,
        high=0.02,
        step=0.0005,
        title="Learning rate",
        help="Peak of the learning rate while fine-tuning. Too low recovers slowly, which costs small networks most; "
        "too high forgets.",
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

    @property
    def is_gradual(self) -> bool:
        """Whether zeros come during training; by movement they always do."""
        return self.criterion == "movement" or self.schedule_of_zeros == "gradual"

    def label(self) -> str:
        """`Sparse 70 %`, `Sparse 70 % gradually`, `Sparse 70 % by movement`."""
        how = " by movement" if self.criterion == "movement" else " gradually" if self.is_gradual else ""
        return f"Sparse {self.sparsity * 100:.0f} %{how}"

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        if "two_four" in situation.applied:
            raise CannotCompose(
                "Unstructured pruning after 2:4 sparsity",
                expected="one of the two, because zeros that are chosen anew need not keep the pattern",
                action="Remove one of the two",
            )
        if self.is_gradual and not self.epochs:
            raise CannotCompose(
                "Zeros that come during training, without training",
                expected="at least one epoch of fine-tuning",
                action="Raise the fine-tuning epochs, or let the smallest weights go at once",
            )
        if self.epochs:
            action = "Let the smallest weights go at once and set the fine-tuning epochs to 0"
            require_training_images(
                situation, "Fine-tuning", action if self.is_gradual else "Set the fine-tuning epochs to 0"
            )
            require_arithmetic(situation, self.train_in)
            self.refuse_changing_texts(situation)
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network with its zeros, fine-tuned. Raises `NothingDone` where no weight was there to become zero."""
        from optimizers.sparsity.zeros import Selection

        selection = Selection(self.sparsity, self.scope == "uniform", self.keep_ends)
        make = self._gradually if self.is_gradual else self._at_once
        sparse, report = yield from make(bundle, context, selection)
        return replace(bundle, network=sparse, sparsity=report, applied=(*bundle.applied, self.key))

    def _at_once(
        self, bundle: ModelBundle, context: Context, selection: Selection
    ) -> Steps[tuple[nn.Module, SparsityReport]]:
        from optimizers.sparsity.zeros import sparsify
        from optimizers.state import torch_state
        from optimizers.training.recovery import recover

        yield Progress(done=0, total=1, unit="cuts", doing="ranking the weights")
        with torch_state(context):
            sparse = sparsify(bundle.module, selection)
            _require_change(bundle.module, sparse, keep_ends=self.keep_ends)
            report = self._report(bundle, sparse, context.device.id)
        yield from _what_changed(sparse, keep_ends=self.keep_ends)
        if self.epochs:
            plan = self.plan(self.epochs, self.learning_rate, keep_zeros=True)
            sparse = yield from recover(sparse, bundle, context, plan, guidance=self.guidance)
        return sparse, report

    def _gradually(
        self, bundle: ModelBundle, context: Context, selection: Selection
    ) -> Steps[tuple[nn.Module, SparsityReport]]:
        from optimizers.sparsity.gradual import RISES_UNTIL, Gradual
        from optimizers.sparsity.zeros import sparsify
        from optimizers.training.recovery import recover

        _require_change(bundle.module, sparsify(bundle.module, selection), keep_ends=self.keep_ends)
        masks = Gradual(selection, self.criterion)
        plan = self.plan(self.epochs, self.learning_rate, settled_after=RISES_UNTIL)
        sparse = yield from recover(bundle.module, bundle, context, plan, guidance=self.guidance, masks=masks)
        yield from _what_changed(sparse, keep_ends=self.keep_ends)
        return sparse, self._report(bundle, sparse, context.device.id, masks.schedule)

    def _report(
        self, bundle: ModelBundle, sparse: nn.Module, device: str, schedule: tuple[SchedulePoint, ...] = ()
    ) -> SparsityReport:
        """What the zeros did; output errors only of those that came at once, before anything else changed."""
        from optimizers.sparsity.report import ERROR_IMAGES, calibration_input, output_errors, report_of

        which = "Movement" if self.criterion == "movement" else "Magnitude"
        where = "every layer alike" if self.scope == "uniform" else "one ranking for all"
        when = ", gradually" if self.is_gradual else ""
        errors = {}
        if not self.is_gradual:
            errors = output_errors(bundle.module, sparse, calibration_input(bundle, ERROR_IMAGES, device))
        return report_of(sparse, "scattered", f"{which}, {where}{when}", errors=errors, schedule=schedule)


def _require_change(before: nn.Module, after: nn.Module, *, keep_ends: bool) -> None:
    """Raises `NothingDone` where no weight became zero."""
    from optimizers.sparsity.zeros import count_zeros, prunable

    if not prunable(after, keep_ends=keep_ends):
        raise NothingDone(
            "There is no convolution and no linear layer" + (" between the first and the last" if keep_ends else ""),
            action="Prune the first and the last layer too" if keep_ends else "Leave out unstructured pruning",
        )
    if count_zeros(after, keep_ends=keep_ends) == count_zeros(before, keep_ends=keep_ends):
        raise NothingDone(
            "This share of the weights is zero already, or less than one weight", action="Raise the sparsity"
        )


def _what_changed(sparse: nn.Module, *, keep_ends: bool) -> Iterator[Note]:
    """How many weights are zero, and which layers have no others."""
    from optimizers.sparsity.zeros import count_zeros, prunable

    zeros, weights = count_zeros(sparse, keep_ends=keep_ends), prunable(sparse, keep_ends=keep_ends)
    total = sum(weight.numel() for weight in weights.values())
    yield Note(
        text=f"{sum(zeros.values()) / total * 100:.1f} % of {total:,} weights in {len(weights)} layers are zero; "
        "nothing gets faster from that in engines that store and multiply every weight."
    )
    if dead := [name.removesuffix(".weight") for name, weight in weights.items() if zeros[name] == weight.numel()]:
        yield Note(text=f"No weight is left in {', '.join(dead)}: that part sees the image no more.", warning=True)
