"""What a run knows that only computed as if in another number format: how right it is, and nothing about speed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from core.bundle import ModelBundle
from core.judging import LABELLED, Judging
from core.quantization import FLOAT_BITS, QuantizationReport
from experiments.recipe import Recipe
from optimizers.simulated import Simulated
from profiling.accuracy import Accuracy
from profiling.machine import Conditions
from profiling.statistics import Interval, wilson_interval


class StoredAs(BaseModel):
    """What the parameters would take in their formats: computed from their number, never measured."""

    model_config = ConfigDict(frozen=True)

    weight_bits: float
    """Mean bits of a weight of a convolution or linear layer, scales included; those left in float count 32."""
    size_bytes: int
    """Of all parameters; what is no such weight counts 32 bits."""


class SimulatedResult(BaseModel):
    """What was measured on the network that computes in float32 with rounded values."""

    model_config = ConfigDict(frozen=True)

    accuracy: Accuracy
    conditions: Conditions
    stored_as: StoredAs
    quantization: QuantizationReport

    def summary(self) -> SimulatedSummary:
        """The numbers that a table row needs."""
        found = self.accuracy
        return SimulatedSummary(
            correct=found.correct, total=found.total, stored_as=self.stored_as, judging=found.judging
        )


class SimulatedSummary(BaseModel):
    """A finished simulated run in one table row."""

    model_config = ConfigDict(frozen=True)

    correct: int
    total: int
    stored_as: StoredAs
    judging: Judging = LABELLED
    """What is counted, in words."""

    @property
    def accuracy(self) -> float:
        """Share of the test images that are right."""
        return self.correct / self.total

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.total)


def stored_as(bundle: ModelBundle, recipe: Recipe) -> StoredAs:
    """What the bundle's parameters would take in the number format that the recipe simulates."""
    form = next(technique for technique in recipe.techniques if isinstance(technique, Simulated)).form
    report = bundle.quantization
    assert report
    weights, weight_bits = 0, 0
    for layer in report.layers:
        weight: Any = bundle.module.get_submodule(layer.name).weight
        weights += weight.numel()
        weight_bits += form.stored_bits(tuple(weight.shape)) if layer.bits < FLOAT_BITS else FLOAT_BITS * weight.numel()
    others = sum(each.numel() for each in bundle.module.parameters()) - weights
    return StoredAs(weight_bits=weight_bits / weights, size_bytes=-(-(weight_bits + FLOAT_BITS * others) // 8))
