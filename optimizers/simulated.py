"""Simulated number formats: what rounding to any of them costs in accuracy, computed in float32."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from core.bundle import ModelBundle, Situation
from core.errors import CannotCompose
from core.progress import Note, Steps
from core.settings import choice, names, slider
from optimizers.fit import refuse_repetition, require_float
from optimizers.technique import Context, Technique

if TYPE_CHECKING:
    from optimizers.quantization.simulation import Format


class Simulated(Technique):
    """Rounds weights, and what comes into their layers, to a number format while everything is computed in float32."""

    key: ClassVar[str] = "simulated"
    title: ClassVar[str] = "Simulated number format"
    summary: ClassVar[str] = (
        "Rounds to INT2 to INT8, FP8 or NVFP4 in float32: real accuracy on any machine, no speed and no small file."
    )
    learn: ClassVar[str] = (
        "Would this network stand 4 bits? Rounding can be tried anywhere: every value is moved to the nearest one that "
        "the format has, and computing goes on in float32. The accuracy is real; no speed is measured, because nothing "
        "got faster. **Integers** are equally spaced: scale x (integer - zero point). Each bit less doubles the step: "
        "6 dB more noise. One scale for a whole tensor has to reach its largest value; one for each output channel, or "
        "for each group of 16 to 128 inputs, fits better and takes bits of its own: 4 bits in groups of 32 become 4.5. "
        "**FP8** (E4M3) has 4 bits of exponent and 3 of mantissa: steps grow with the value, up to 448, so that "
        "outliers do less harm. **NVFP4** has only 0, 0.5, 1, 1.5, 2, 3, 4 and 6 of either sign, an FP8 scale for "
        "every 16 values and one float32 scale: 4.5 bits as well. Products of two activations, as in attention, stay "
        "in float here. Sources: Krishnamoorthi 2018, [arXiv:1806.08342](https://arxiv.org/abs/1806.08342); "
        "Micikevicius et al. 2022, [arXiv:2209.05433](https://arxiv.org/abs/2209.05433); NVIDIA 2025, "
        "[arXiv:2509.25149](https://arxiv.org/abs/2509.25149)."
    )
    pays: ClassVar[str] = (
        "the question is whether a network stands a number format at all, on a machine that need not have it."
    )
    pays_not: ClassVar[str] = (
        "speed or a smaller file is wanted: values are rounded, but stored and multiplied as FP32."
    )
    simulates: ClassVar[bool] = True

    number_format: Literal["integer", "fp8", "nvfp4"] = choice(
        "integer",
        title="Format",
        help="Integers of 2 to 8 bits; FP8 with 4 bits of exponent (E4M3); NVIDIA's 4-bit floats in blocks of 16.",
        labels={"integer": "Integer", "fp8": "FP8", "nvfp4": "NVFP4"},
    )
    bits: int = slider(
        4,
        low=2,
        high=8,
        step=1,
        title="Weight bits",
        unit="bits",
        help="Of an integer weight. FP8 has 8 and NVFP4 has 4, whatever stands here.",
    )
    granularity: Literal["tensor", "channel", "group"] = choice(
        "channel",
        title="Scales of weights",
        help="How many weights share a scale: the whole tensor, an output channel, or a group of a channel's inputs. "
        "NVFP4 has blocks of 16, whatever is chosen here.",
        labels={"tensor": "Tensor", "channel": "Channel", "group": "Group"},
    )
    group_size: Literal[16, 32, 64, 128] = choice(
        32,
        title="Group size",
        help="Inputs of an output channel that share a scale, where scales are chosen per group.",
        labels={"16": "16", "32": "32", "64": "64", "128": "128"},
    )
    activations: bool = choice(
        False,
        title="Round activations",
        help="Also round what comes into each layer, in the same format, with one scale for the whole tensor (NVFP4: "
        "one for 16 channels). Off rounds weights only.",
    )
    activation_bits: int = slider(
        8,
        low=2,
        high=8,
        step=1,
        title="Activation bits",
        unit="bits",
        help="Of integer activations, where these are rounded. Activations bear fewer bits less well than weights.",
    )
    calibration_images: int = slider(
        256,
        low=16,
        high=2000,
        step=16,
        title="Calibration images",
        unit="images",
        help="Images on which the smallest and the largest activations are looked for; weights need none.",
        advanced=True,
    )
    keep: tuple[str, ...] = names(
        title="Keep in float",
        help="Layers that stay in float, separated by commas: names as `head` or `features.*`, or kinds as `Linear`.",
    )

    def label(self) -> str:
        """`Simulated INT4 per channel`, `Simulated FP8 per tensor + FP8 activations`, `Simulated NVFP4`."""
        scales = {"tensor": " per tensor", "channel": " per channel", "group": f" /{self.group_size}"}
        weights = self.number_format.upper() + scales[self.granularity] if self.number_format == "fp8" else "NVFP4"
        inputs = self.number_format.upper()
        if self.number_format == "integer":
            weights, inputs = f"INT{self.bits}{scales[self.granularity]}", f"INT{self.activation_bits}"
        return f"Simulated {weights}" + (f" + {inputs} activations" if self.activations else "")

    def check(self, situation: Situation) -> Situation:
        """The situation with rounded values, in float32 still. Raises `CannotCompose`."""
        refuse_repetition(situation, self.key, self.title)
        require_float(situation, self.title)
        if situation.runtime != "pytorch":
            raise CannotCompose(
                "a simulated number format for another engine than PyTorch",
                expected="PyTorch, because simulation computes in float: there is nothing that another engine would do "
                "differently",
                action="Choose PyTorch as the runtime",
            )
        return replace(situation, applied=(*situation.applied, self.key))

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """The network with rounded values. Raises `BadInput` without calibration images, and `NothingDone`."""
        from optimizers.quantization.simulation import simulated_bundle

        done = yield from simulated_bundle(
            bundle, context, self.form, key=self.key, images=self.calibration_images, keep=self.keep
        )
        values = self.label().removeprefix("Simulated ")
        yield Note(
            text=f"Simulated: computed in float32 with values rounded to {values}; accuracy is real, size and speed "
            "are not measured."
        )
        return done

    @property
    def form(self) -> Format:
        """The number format of these settings."""
        from optimizers.quantization.simulation import Format

        bits = {"integer": self.bits, "fp8": 8, "nvfp4": 4}[self.number_format]
        inputs = self.activation_bits if self.number_format == "integer" else bits
        return Format(self.number_format, bits, self.granularity, self.group_size, inputs if self.activations else None)
