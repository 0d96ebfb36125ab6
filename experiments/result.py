"""What a finished run knows: everything, and the few numbers of it that lists and comparisons need."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from core.bundle import Precision
from core.distillation import DistillationReport
from core.judging import Judging, Metric
from core.layers import LayerProfile
from core.low_rank import LowRankReport
from core.pruning import PruningReport
from core.quantization import QuantizationReport, TrainingComparison
from core.sparsity import SparsityReport
from core.tflite_file import TfliteFacts
from experiments.explanation import Measured
from experiments.models import untouched_title
from experiments.peaks import Peaks
from experiments.recipe import Recipe
from experiments.sparsity import may_skip
from profiling.accuracy import Accuracy
from profiling.energy import Energy, NotMeasured
from profiling.fidelity import Fidelity
from profiling.latency import Latency
from profiling.machine import Conditions
from profiling.memory import Memory
from profiling.parallel import Parallel
from profiling.size import Size
from profiling.stages import Stages
from profiling.statistics import wilson_interval
from profiling.surroundings import Surroundings
from profiling.sweep import Sweep
from runtimes import RUNTIMES


class RunResult(BaseModel):
    """What was measured on the exported artifact, opened again by its runtime."""

    model_config = ConfigDict(frozen=True)

    accuracy: Accuracy
    latency: Latency
    memory: Memory
    size: Size
    build_ms: float
    """Opening the artifact: reading, optimising or compiling it until it can serve."""
    conditions: Conditions
    precision: Precision
    cold_start_ms: float | None = None
    """In a fresh process: importing the engine, opening the file, and the first answer, for one image."""
    artifact_files: tuple[str, ...]
    """Names inside the run's artifact folder, the one to open first."""
    fidelity: Fidelity | None = None
    """How its answers differ from those of the network that it was exported or quantized from."""
    surroundings: Surroundings | None = None
    """What else went on while latency was timed; None in results of version 0.1, as are the figures below."""
    sweep: Sweep | None = None
    """Batch sizes up to the one with the highest throughput; None where it was left out."""
    parallel: Parallel | None = None
    """Several requests at once; None where the engine is tuned to answer one at a time."""
    stages: Stages | None = None
    """Transfers and computation apart; None on a CPU."""
    energy: Energy | NotMeasured | None = None
    layers: LayerProfile | None = None
    """Where the time of one inference goes, as the engine tells."""
    why_no_layers: str = ""
    """One sentence where the engine cannot tell."""
    peaks: Peaks | None = None
    """What the runtime attains here when it is well fed, in fp32 and in this precision."""
    quantization: QuantizationReport | None = None
    """Layer by layer, what quantization did; None where nothing was quantized."""
    training: TrainingComparison | None = None
    """Training in reduced precision beside FP32, where it was compared."""
    pruning: PruningReport | None = None
    """Which channels went."""
    low_rank: LowRankReport | None = None
    """Which layers became two thinner ones."""
    sparsity: SparsityReport | None = None
    """Which weights became zero."""
    distillation: DistillationReport | None = None
    """What the student learned."""
    tflite: TfliteFacts | None = None
    """What is in the file, where that is a `.tflite` one."""

    def measured(self, recipe: Recipe) -> Measured | None:
        """What `experiments.why` needs of this run of the recipe; None without a profile."""
        if self.layers is None:
            return None
        return Measured(
            title=" + ".join(recipe.labels) or untouched_title(recipe.model),
            runtime=RUNTIMES[recipe.runtime].title,
            precision=self.precision,
            p50_ms=self.latency.p50_ms,
            p50_interval_ms=self.latency.p50_interval_ms,
            macs=self.size.macs,
            profile=self.layers,
            peaks=self.peaks,
            sparsity=self.size.sparsity,
            techniques=tuple(technique.key for technique in recipe.techniques),
            may_skip_zeros=may_skip(recipe.runtime, recipe.device, self.sparsity),
        )

    @property
    def disturbances(self) -> tuple[str, ...]:
        """One sentence for each thing that may have changed the latency."""
        waited = "Other work on this machine took processor time" if self.latency.is_contended else ""
        others = self.surroundings.disturbances if self.surroundings else ()
        return tuple(each for each in (waited, *others) if each)

    def summary(self) -> Summary:
        """The numbers that a table row needs."""
        accuracy, latency = self.accuracy, self.latency
        low_ms, high_ms = latency.p50_interval_ms or (None, None)
        return Summary(
            precision=self.precision,
            device_name=self.conditions.device_name,
            correct=accuracy.correct,
            metric=accuracy.judging.metric,
            unit=accuracy.judging.unit,
            total=accuracy.total,
            batch_size=latency.batch_size,
            p50_ms=latency.p50_ms,
            p50_low_ms=low_ms,
            p50_high_ms=high_ms,
            p95_ms=latency.p95_ms,
            throughput_per_s=latency.throughput_per_s,
            best_batch_size=self.sweep.best.batch_size if self.sweep else None,
            best_throughput_per_s=self.sweep.best.throughput_per_s if self.sweep else None,
            joules=self.energy.joules_per_inference if isinstance(self.energy, Energy) else None,
            size_bytes=self.size.size_bytes,
            gzip_bytes=self.size.gzip_bytes,
            parameter_count=self.size.parameter_count,
            nonzero_count=self.size.nonzero_count,
            macs=self.size.macs,
            memory_bytes=self.memory.headline_bytes,
            build_ms=self.build_ms,
            first_call_ms=latency.first_call_ms,
            cold_start_ms=self.cold_start_ms,
            is_disturbed=bool(self.disturbances),
            artifact_files=self.artifact_files,
        )


class Summary(BaseModel):
    """A finished run in one table row. Derived from its `RunResult`, and kept beside it so that lists stay quick."""

    model_config = ConfigDict(frozen=True)

    precision: Precision
    device_name: str
    correct: int
    total: int
    metric: Metric = "accuracy"
    unit: str = "images"
    batch_size: int
    p50_ms: float
    p50_low_ms: float | None
    p50_high_ms: float | None
    p95_ms: float | None
    throughput_per_s: float
    """At the batch size that is compared."""
    best_batch_size: int | None = None
    best_throughput_per_s: float | None = None
    joules: float | None = None
    """Energy of one inference above idle; None where it was not measured."""
    size_bytes: int
    gzip_bytes: int
    parameter_count: int
    nonzero_count: int
    macs: int
    memory_bytes: int
    build_ms: float
    first_call_ms: float
    cold_start_ms: float | None = None
    is_disturbed: bool
    artifact_files: tuple[str, ...]

    @property
    def judging(self) -> Judging:
        """What is counted, in words."""
        return Judging(self.metric, self.unit)

    @property
    def accuracy(self) -> float:
        """Share of the test images that are right."""
        return self.correct / self.total

    def row(self) -> dict[str, Any]:
        """Every number, with the accuracy and the ends of its 95 % interval."""
        low, high = wilson_interval(self.correct, self.total)
        return {**self.model_dump(), "accuracy": self.accuracy, "accuracy_low": low, "accuracy_high": high}
