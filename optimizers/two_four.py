"""2:4 sparsity: half of the weights become zero, in the one pattern that GPUs skip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import BadInput, CannotCompose, NothingDone
from core.progress import Note, Progress, Steps
from core.settings import choice, names, slider
from optimizers.fit import refuse_repetition, require_arithmetic, require_trainable, require_training_images
from optimizers.technique import Context, Technique
from optimizers.training.settings import FineTuning

if TYPE_CHECKING:
    from torch import nn

    from core.sparsity import SparsityReport


class TwoFour(FineTuning, Technique):
    """Sets two of every four neighbouring weights to zero, then fine-tunes the others."""

    key: ClassVar[str] = "two_four"
    title: ClassVar[str] = "2:4 sparsity"
    summary: ClassVar[str] = (
        "Sets two of every four neighbouring weights to zero: the pattern that NVIDIA GPUs from Ampere on can skip."
    )
    learn: ClassVar[str] = (
        "Sparse tensor cores skip zeros that come in one pattern: of any four neighbouring weights along the inputs, "
        "two are zero. A product then takes half of the multiplications and the weights half of the memory; published "
        "gains are 1.05 to 1.3 times for whole networks, because only wide layers are limited by multiplying. **It "
        "pays on NVIDIA GPUs of compute capability 8.0 or newer**, in TensorRT (FP16 and INT8) and in PyTorch for "
        "linear layers in FP16 or BF16. On a CPU, and in engines without such kernels, the zeros are multiplied like "
        "any number and nothing gets faster; the compressed file shrinks everywhere. Which two go can be read off the "
        "weights (the two smallest), or found with calibration images: SparseGPT removes those that change the "
        "layer's output least and lets the others make up for them, without training. Fine-tuning afterwards holds "
        "the zeros. Sources: Mishra et al. 2021, *Accelerating Sparse Deep Neural Networks*, "
        "[arXiv:2104.08378](https://arxiv.org/abs/2104.08378); Frantar and Alistarh 2023, *SparseGPT*, "
        "[arXiv:2301.00774](https://arxiv.org/abs/2301.00774)."
    )
    pays: ClassVar[str] = (
        "an NVIDIA GPU of compute capability 8.0 or newer serves a network with wide layers: published gains are 1.05 "
        "to 1.3 times, not measured here."
    )
    pays_not: ClassVar[str] = "anything else serves it: on the CPU measured nothing became faster."

    method: Literal["sparsegpt", "magnitude"] = choice(
        "sparsegpt",
        title="Which two go",
        help="SparseGPT looks at what calibration images bring to each layer, removes the weights whose loss changes "
        "its output least and adjusts those that stay. Magnitude removes the two smallest of every four and changes "
        "no other; it looks at no image.",
        labels={"sparsegpt": "SparseGPT", "magnitude": "The smallest"},
    )
    calibration_images: int = slider(
        256,
        low=8,
        high=2000,
        step=8,
        title="Calibration images",
        unit="images",
        help="How many images SparseGPT sees. Convolutions see each at many positions, so that a few hundred suffice; "
        "large images are limited to what fits in memory, and the run says to how many.",
        only_if=("method", ("sparsegpt",)),
    )
    epochs: int = slider(
        2,
        low=0,
        high=40,
        step=1,
        title="Fine-tuning",
        unit="epochs",
        help="Passes over the training images afterwards, with the zeros held. 0 shows what the pattern costs before "
        "recovery, which with SparseGPT is often little.",
    )
    keep: tuple[str, ...] = names(
        title="Keep dense",
        help="Layers that keep all their weights, separated by commas: names as `head` or `features.3.*`, or kinds as "
        "`Linear`.",
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

    def label(self) -> str:
        """`2:4 sparse`, `2:4 sparse by magnitude`."""
        return "2:4 sparse" + (" by magnitude" if self.method == "magnitude" else "")

    def check(self, situation: Situation) -> Situation:
        """The situation afterwards. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        if "magnitude_pruning" in situation.applied:
            raise CannotCompose(
                "2:4 sparsity after unstructured pruning",
                expected="one of the two, because scattered zeros do not lie where the pattern wants them",
                action="Remove one of the two",
            )
        if self.epochs:
            require_training_images(situation, "Fine-tuning", "Set the fine-tuning epochs to 0")
            require_arithmetic(situation, self.train_in)
            self.refuse_changing_texts(situation)
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network with the pattern, fine-tuned. Raises `NothingDone` where no layer can have it or all have it."""
        from optimizers.state import torch_state
        from optimizers.training.recovery import recover

        yield Progress(done=0, total=1, unit="cuts", doing="choosing two of every four weights")
        with torch_state(context):
            sparse, report = self._prune(bundle, context)
        yield from _what_changed(report)
        if self.epochs:
            plan = self.plan(self.epochs, self.learning_rate, keep_zeros=True)
            sparse = yield from recover(sparse, bundle, context, plan, guidance=self.guidance)
        return replace(bundle, network=sparse, sparsity=report, applied=(*bundle.applied, self.key))

    def _prune(self, bundle: ModelBundle, context: Context) -> tuple[nn.Module, SparsityReport]:
        """The network with its zeros, on the CPU. Raises `NothingDone`, and `BadInput` for a pattern of no layer."""
        import torch

        from optimizers.quantization.selection import kept_layers, layers_of
        from optimizers.sparsity.fours import affordable, why_dense, with_pattern
        from optimizers.sparsity.report import ERROR_IMAGES, calibration_input, output_errors, report_of
        from optimizers.sparsity.zeros import count_zeros
        from optimizers.state import on_device

        dense = on_device(bundle.module, context).eval()
        by_error, images = self.method == "sparsegpt", max(self.calibration_images, ERROR_IMAGES)
        if by_error and not len(bundle.data.calibrate):
            raise BadInput(
                "SparseGPT without calibration images",
                expected="at least one, to see what the layers are given",
                action="Choose magnitude as the method, or add images to the model",
            )
        known = calibration_input(bundle, images, context.device.id)
        x = known if len(known) else known.new_zeros(1, *bundle.contract.shape)
        layers = layers_of(dense, x[:1])
        reasons = why_dense(layers, kept_layers(layers, self.keep))
        chosen = tuple(name for name in layers if name not in reasons)
        if not chosen:
            raise NothingDone(
                "No layer can have the 2:4 pattern: " + "; ".join(f"{name}: {reasons[name]}" for name in reasons),
                action="Keep fewer layers dense, or leave out 2:4 sparsity",
            )
        seen = x[: min(self.calibration_images, affordable(dense, chosen, x))]
        sparse = with_pattern(dense, chosen, seen if by_error else x[:1], by_error=by_error)
        if count_zeros(sparse) == count_zeros(dense):
            raise NothingDone("Every layer that can have the 2:4 pattern has it", action="Leave out 2:4 sparsity")
        errors = output_errors(dense, sparse, x[:ERROR_IMAGES]) if len(known) else {}
        method = f"SparseGPT on {len(seen)} calibration images" if by_error else "The two smallest of every four"
        sparse = sparse.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return sparse, report_of(sparse, "2:4", method, errors=errors, why_dense=reasons)


def _what_changed(report: SparsityReport) -> Iterator[Note]:
    """How many layers have the pattern and what that costs them, and which stay dense for what reason."""
    sparse = [layer for layer in report.layers if layer.has_pattern and not layer.why_dense]
    errors = sorted(layer.output_error for layer in sparse if layer.output_error is not None)
    cost = f"; their outputs are off by {100 * errors[len(errors) // 2]:.1f} % in the median layer" if errors else ""
    yield Note(
        text=f"{report.method}: {len(sparse)} of {len(report.layers)} layers have the 2:4 pattern, "
        f"{100 * report.sparsity:.1f} % of all their weights are zero{cost}."
    )
    if dense := [layer for layer in report.layers if layer.why_dense]:
        yield Note(text="Left dense: " + " ".join(f"{layer.name}: {layer.why_dense}" for layer in dense))
