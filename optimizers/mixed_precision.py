"""Mixed precision: 16-bit floats for the bulk of the arithmetic, in training and in the network that ships."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.devices import Device
from core.errors import CannotCompose
from core.progress import Note, Steps
from optimizers.fit import refuse_repetition, require_trainable, require_training_images
from optimizers.technique import Context, Technique, choice, slider

_AMPERE = (8, 0)
_BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


class MixedPrecision(Technique):
    """Computes in bf16 or fp16, after fine-tuning under autocast if wanted."""

    key: ClassVar[str] = "mixed_precision"
    title: ClassVar[str] = "Mixed precision"
    summary: ClassVar[str] = "Computes in 16-bit floats: half the size, faster where the hardware multiplies them."
    learn: ClassVar[str] = (
        "Sixteen bits are enough for most of a network's arithmetic. **bf16** has float32's range with 8 bits of "
        "precision and needs no care; **fp16** has 11 bits but a narrow range, so that training multiplies the loss by "
        "a scale to keep small gradients from vanishing, and LayerNorm or softmax can overflow. Under autocast only "
        "the matrix products and convolutions are in 16 bits; the network that ships computes in 16 bits throughout. "
        "It pays on GPUs with tensor cores and on CPUs with AVX512-BF16 or AMX, in wide layers and large batches; at "
        "batch 1 the conversions can cost more than they save. Source: Micikevicius et al. 2017, "
        "[arXiv:1710.03740](https://arxiv.org/abs/1710.03740)."
    )

    precision: Literal["bf16", "fp16"] = choice(
        "bf16",
        title="Precision",
        help="bf16 keeps float32's range and seldom needs care; it wants an Ampere GPU or a CPU with bf16 "
        "instructions. fp16 is more precise, has a narrow range, and is for GPUs only.",
        labels={"bf16": "bf16", "fp16": "fp16"},
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
    learning_rate: float = slider(
        0.0005,
        low=0.0001,
        high=0.01,
        step=0.0001,
        title="Learning rate",
        help="Peak of AdamW's one-cycle schedule while fine-tuning.",
        advanced=True,
    )

    def label(self) -> str:
        """`BF16` or `FP16`."""
        return self.precision.upper()

    def check(self, situation: Situation) -> Situation:
        """The situation in 16 bits. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_trainable(situation, self.title)
        if self.fine_tune_epochs:
            require_training_images(situation, "Fine-tuning", "Set the fine-tuning epochs to 0")
        if self.precision == "fp16":
            _refuse_slow_fp16(situation.device)
        else:
            _refuse_slow_bf16(situation.device)
            _refuse_runtime_without_bf16(situation.runtime)
        return replace(situation, precision=self.precision, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The bundle with its precision set, and its network fine-tuned if that was asked for."""
        from optimizers.training import Plan, train

        network = bundle.module
        if self.fine_tune_epochs:
            sparse = "magnitude_pruning" in bundle.applied
            plan = Plan(self.fine_tune_epochs, self.learning_rate, precision=self.precision, keep_zeros=sparse)
            network = yield from train(network, bundle, context, plan)
        yield Note(text=f"Weights and arithmetic are exported in {self.precision}, inputs and outputs in float32.")
        return replace(bundle, network=network, precision=self.precision, applied=(*bundle.applied, self.key))


def _refuse_slow_fp16(device: Device) -> None:
    if device.kind == "cpu":
        raise CannotCompose(
            "fp16 on a CPU",
            expected="bf16 there, because CPUs compute fp16 4 to 21 times slower than fp32",
            action="Choose bf16 as the precision, or a GPU as the device",
        )


def _refuse_slow_bf16(device: Device) -> None:
    capability = device.compute_capability
    if device.kind == "cpu" and not device.cpu_flags & _BF16_INSTRUCTIONS:
        raise CannotCompose(
            f"bf16 on {device.name}",
            expected="a CPU with AVX512-BF16 or AMX instructions, because others only emulate bf16, many times slower",
            action="Choose INT8 quantization, or a GPU as the device",
        )
    if capability is not None and capability < _AMPERE:
        raise CannotCompose(
            f"bf16 on {device.name}, whose compute capability is {capability[0]}.{capability[1]}",
            expected="8.0 (Ampere) or newer",
            action="Choose fp16 as the precision",
        )


def _refuse_runtime_without_bf16(runtime: str) -> None:
    if runtime == "onnxruntime":
        raise CannotCompose(
            "bf16 for ONNX Runtime",
            expected="a runtime with bf16 convolutions, which ONNX Runtime lacks",
            action="Choose PyTorch, torch.compile or OpenVINO as the runtime",
        )
