"""Mixed precision: 16-bit floats for the bulk of the arithmetic, in training and in the network that ships."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import CannotCompose, NothingDone
from core.progress import Steps
from core.quantization import TrainingPrecision
from core.settings import choice, slider
from optimizers.fit import (
    refuse_for_graphs,
    refuse_repetition,
    require_arithmetic,
    require_float,
    require_trainable,
    require_training_images,
)
from optimizers.technique import Context, Technique
from optimizers.training.settings import TrainingSettings

if TYPE_CHECKING:
    from optimizers.training.loop import Plan

_PRECISIONS = {"bf16": "BF16", "fp16": "FP16", "fp32": "FP32"}


class MixedPrecision(TrainingSettings, Technique):
    """Computes in bf16 or fp16, after fine-tuning under autocast if wanted; or only trains so, and ships float32."""

    key: ClassVar[str] = "mixed_precision"
    title: ClassVar[str] = "Mixed precision"
    summary: ClassVar[str] = "Computes in 16-bit floats: half the size, faster where the hardware multiplies them."
    learn: ClassVar[str] = (
        "Sixteen bits are enough for most of a network's arithmetic. **bf16** has float32's range with 8 bits of "
        "precision and needs no care; **fp16** has 11 bits but a narrow range, so that training multiplies the loss by "
        "a scale to keep small gradients from vanishing, and LayerNorm or softmax can overflow. Under autocast only "
        "the matrix products and convolutions are in 16 bits; the network that ships computes in 16 bits throughout, "
        "except for modules whose values would leave the range: calibration images find them, they stay in float32, "
        "and the run names them. **tf32** multiplies float32 numbers with 10 bits of mantissa on the tensor cores of "
        "an Ampere GPU, in training only. It pays on GPUs with tensor cores and on CPUs with AVX512-BF16 or AMX, in "
        "wide layers and large batches; at batch 1 and in tiny networks the conversions can cost more than they save. "
        "Source: Micikevicius et al. 2017, [arXiv:1710.03740](https://arxiv.org/abs/1710.03740)."
    )
    pays: ClassVar[str] = (
        "the hardware multiplies 16 bits (tensor cores, AVX512-BF16, AMX) and layers are wide: in OpenVINO the samples "
        "ran 1.4 to 2.1 times as fast in BF16."
    )
    pays_not: ClassVar[str] = (
        "the processor has no units for it, or the network is tiny: conversions can then cost more than they save."
    )

    precision: Literal["bf16", "fp16", "fp32"] = choice(
        "bf16",
        title="Precision that ships",
        help="bf16 keeps float32's range and seldom needs care; it wants an Ampere GPU or a CPU with bf16 "
        "instructions. fp16 is more precise, has a narrow range, and is for GPUs only. FP32 ships the network as it "
        "is: then only training is in reduced precision.",
        labels=_PRECISIONS,
    )
    fine_tune_epochs: int = slider(
        0,
        low=0,
        high=20,
        step=1,
        title="Fine-tuning",
        unit="epochs",
        help="Passes over the training images under autocast, with loss scaling for fp16. 0 only changes how the "
        "finished network computes, which usually costs no accuracy.",
    )
    training: Literal["as_shipped", "bf16", "fp16", "tf32", "fp32"] = choice(
        "as_shipped",
        title="Precision of training",
        help="What fine-tuning computes in. Weights and optimizer stay in float32 throughout. TF32 needs an Ampere "
        "GPU, FP16 any GPU.",
        labels={"as_shipped": "As it ships", "bf16": "BF16", "fp16": "FP16", "tf32": "TF32", "fp32": "FP32"},
    )
    compare_fp32: bool = choice(
        True,
        title="Train the same steps in FP32 too",
        help="Fine-tunes a second time in FP32, from the same weights and on the same batches, a few steps in turn, so "
        "that speed, memory and accuracy of training can be compared. It more than doubles the time of training; the "
        "network that ships is the same.",
    )
    learning_rate: float = slider(
        0.0005,
        low=0.0001,
        high=0.01,
        step=0.0001,
        title="Learning rate",
        help="The highest one while fine-tuning; it rises to that and falls again, as set below.",
        group="Training",
    )
    batch_size: int = slider(
        64,
        low=1,
        high=512,
        step=1,
        title="Training batch",
        unit="images",
        help="Images per training step. Large batches gain most from 16 bits; at 1 there is usually nothing to gain.",
        group="Training",
    )

    def label(self) -> str:
        """`BF16`, `BF16 trained in TF32`, `FP32 trained in BF16`."""
        trained = self.training_precision
        differs = self.fine_tune_epochs and (trained != self.precision or trained == "fp32")
        return _PRECISIONS[self.precision] + (f" trained in {trained.upper()}" if differs else "")

    @property
    def training_precision(self) -> TrainingPrecision:
        """What fine-tuning computes in."""
        return self.precision if self.training == "as_shipped" else self.training

    def check(self, situation: Situation) -> Situation:
        """The situation in that precision. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        if situation.brought_as == "onnx":
            self._require_graph_to_fit(situation)
        else:
            require_trainable(situation, self.title)
        if self.precision == "fp32" and not self.fine_tune_epochs:
            raise CannotCompose(
                "FP32 without fine-tuning, which would leave the network as it is",
                expected="bf16 or fp16 as the precision that ships, or at least one epoch",
                action="Choose bf16, or raise the fine-tuning epochs",
            )
        if self.fine_tune_epochs:
            require_training_images(situation, "Fine-tuning", "Set the fine-tuning epochs to 0")
            require_arithmetic(situation, self.training_precision)
            self.refuse_changing_texts(situation)
        require_arithmetic(situation, self.precision)
        if self.precision == "bf16":
            _refuse_runtime_without_bf16(situation)
        return replace(situation, precision=self.precision, applied=(*situation.applied, self.key))

    def _require_graph_to_fit(self, situation: Situation) -> None:
        """Of a model that is an ONNX file: it cannot be trained, and nothing here rounds it to bf16 for TensorRT."""
        require_float(situation, self.title, takes_graphs=True)
        refuse_for_graphs(situation, {"Fine-tuning": self.fine_tune_epochs})
        if self.precision == "bf16" and situation.runtime == "tensorrt":
            raise CannotCompose(
                "bf16 for TensorRT of a model that is an ONNX file",
                expected="fp16, which ONNX Runtime's converter makes of the graph",
                action="Choose fp16 as the precision",
            )

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The bundle with its precision set, fine-tuned if that was asked for, what would overflow kept in float32.

        Raises `NothingDone` for FP32 without an epoch, and `RunFailed` where an overflow cannot be mended.
        """
        from optimizers.graph_reduction import reduced_graph
        from optimizers.safe_reduction import safely_reduced
        from optimizers.training.fine_tuning import fine_tuned

        if self.precision == "fp32" and not self.fine_tune_epochs:
            raise NothingDone("FP32 without fine-tuning leaves the network as it is", action="Choose bf16 or an epoch")
        tuned = bundle
        if self.fine_tune_epochs:
            compares = self.compare_fp32 and self.training_precision != "fp32"
            tuned = yield from fine_tuned(bundle, context, self._plan(bundle), compares=compares)
        if self.precision != "fp32":
            reduced = reduced_graph if tuned.form == "onnx" else safely_reduced
            tuned = yield from reduced(tuned, context, self.precision)
        return replace(tuned, precision=self.precision, applied=(*bundle.applied, self.key))

    def _plan(self, bundle: ModelBundle) -> Plan:
        return self.plan(
            self.fine_tune_epochs,
            self.learning_rate,
            batch_size=self.batch_size,
            precision=self.training_precision,
            keep_zeros=bundle.sparsity is not None,
        )


def _refuse_runtime_without_bf16(situation: Situation) -> None:
    others = "OpenVINO" if situation.brought_as == "onnx" else "PyTorch, torch.compile or OpenVINO"
    if situation.runtime == "onnxruntime":
        raise CannotCompose(
            "bf16 for ONNX Runtime",
            expected="a runtime with bf16 convolutions, which ONNX Runtime lacks",
            action=f"Choose {others} as the runtime",
        )
