"""What a finished run knows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from core.bundle import Precision
from profiling.accuracy import Accuracy
from profiling.latency import Latency
from profiling.machine import Conditions
from profiling.memory import Memory
from profiling.size import Size


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
    artifact_files: tuple[str, ...]
    """Names inside the run's artifact folder, the one to open first."""
