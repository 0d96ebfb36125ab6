"""What is known about a quantized network, layer by layer: plain data for the result and the pages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict

from core.packed import Packed, PackedField

FLOAT_BITS = 32
"""The bit width that means: left in float."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Range(_Frozen):
    """The ends of an interval of real values."""

    low: float
    high: float


class Histogram(_Frozen):
    """How often values fall into equally wide bins."""

    range: Range
    counts: tuple[int, ...]
    zeros: int | None = None
    """Of these exactly zero; None where nobody counted."""


class GridSummary(_Frozen):
    """The real values that a tensor's integers stand for: scale x (integer - zero point)."""

    bits: int
    low: int
    """Smallest integer."""
    high: int
    scales: tuple[float, ...]
    """One, or the smallest, the median and the largest of all channels or groups."""
    zero_point: int
    """Of the tensor; where channels or groups have their own, that of the median scale."""
    covers: Range
    """The real values of the smallest and the largest integer, over all channels."""


class LayerQuantization(_Frozen):
    """One layer with weights: how it was quantized and what that does to its numbers."""

    name: str
    """The module, `features.3.conv1`."""
    kind: str
    """`Conv2d`, `depthwise Conv2d`, `Linear`."""
    parameters: int
    bits: int
    """Of its weights as executed; `FLOAT_BITS` where it was left in float."""
    why_float: str = ""
    """One sentence where it was left in float."""
    sensitivity: float | None = None
    """KL divergence of the predictions, in nats an image, when this layer alone is quantized."""
    weight_snr_db: float | None = None
    """Power of the weights over power of their rounding error; None for a layer in float."""
    input_snr_db: float | None = None
    """The same of the values that come in; None where they stay in float."""
    output_snr_db: float | None = None
    """Of what goes out, against the float network, with every quantized layer up to here at work."""
    weights: Histogram | None = None
    weight_grid: GridSummary | None = None
    inputs: Histogram | None = None
    """Of what comes in on the calibration images: its range is what was seen before calibration chose."""
    input_grid: GridSummary | None = None
    """What calibration chose."""


class Upgrade(_Frozen):
    """A layer that is given more bits."""

    layer: str
    from_bits: int
    to_bits: int


class PathPoint(_Frozen):
    """The network after the first `upgrades` of the path, quantized and served; judged on calibration images."""

    upgrades: int
    correct: int | None
    """Of the calibration images that have labels; None where there are none."""
    agreed: int
    """Calibration images with the float network's answer."""
    images: int
    p50_ms: float | None
    """At the recipe's batch size; None where it was not timed."""
    size_bytes: int
    margin_points: float = 0.0
    """One standard error of the loss, in percentage points, as images decide it: the more answers changed, the more."""

    def lost_points(self, float_correct: int | None) -> float:
        """Percentage points of accuracy lost against the float network or, without labels, of agreement with it."""
        if self.correct is not None and float_correct is not None:
            return 100 * (float_correct - self.correct) / self.images
        return 100 * (self.images - self.agreed) / self.images


class Path(_Frozen):
    """From everything quantized to nothing: layers get more bits, the one that hurts most first."""

    order: tuple[Upgrade, ...]
    points: tuple[PathPoint, ...]
    """Measured ones, by their number of upgrades."""
    chosen: int
    """`upgrades` of the point that was taken."""
    limit_points: float
    """Percentage points of accuracy (or, without labels, of agreement) that may be lost, margin included."""
    float_correct: int | None
    """Calibration images that the float network gets right; None where they have no labels."""


class QuantizationReport(_Frozen):
    """What a quantizing technique did."""

    quantizer: str
    """The library and its entry: `ONNX Runtime quantize_static`."""
    images: int
    """Calibration images behind the figures below."""
    layers: tuple[LayerQuantization, ...]
    """In the order of execution."""
    parameter_count: int
    """Of the whole network, scales and zero points left out."""
    nonzero_count: int
    """Parameters that are not zero once they are rounded."""
    path: Path | None = None
    """The search under an accuracy limit, where one was set."""

    @property
    def quantized(self) -> tuple[LayerQuantization, ...]:
        """The layers that are executed in fewer bits."""
        return tuple(layer for layer in self.layers if layer.bits < FLOAT_BITS)


TrainingPrecision = Literal["fp32", "tf32", "fp16", "bf16"]


class TrainingRun(_Frozen):
    """The steps of one precision."""

    precision: TrainingPrecision
    losses: Annotated[Packed, PackedField("<u4", per_unit=100_000)]
    """float [steps]: of every step; beyond 42,949 only that."""
    log2_scales: Annotated[Packed, PackedField("<i4")] | None
    """int [steps]: binary logarithm of the factor on the loss; None without loss scaling."""
    step_ms: Annotated[Packed, PackedField("<u4", per_unit=1000)]
    """float [steps]: time of every step, its images and the device included."""
    batch_size: int
    skipped_steps: int
    """Steps that changed no weight, because scaled gradients overflowed."""
    memory_bytes: int
    """What training takes, as `TrainingComparison.memory_label` says."""
    correct: int
    images: int
    """Validation images."""


class TrainingComparison(_Frozen):
    """Training in reduced precision beside FP32: the same start, the same batches in the same order, taking turns."""

    runs: tuple[TrainingRun, TrainingRun]
    """The chosen precision first, FP32 second."""
    turns: tuple[int, ...]
    """Steps of each turn, in order: both took that many before the next one began."""
    only_first_right: int
    """Validation images that only the chosen precision got right."""
    only_second_right: int
    memory_label: str
