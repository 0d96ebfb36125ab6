"""Results of .tflite variants with known sizes, zeros and times, for tests that only read results."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.bundle import Precision
from core.tflite_file import TfliteFacts
from experiments.recipe import Recipe
from experiments.result import RunResult
from optimizers import TECHNIQUES
from profiling.accuracy import Accuracy
from profiling.size import Size
from tests.pages.left_behind import measured

MODEL = "keras_cnn_fmnist"
PARAMETERS = 106_000
BASELINE = Recipe(model=MODEL, runtime="litert")


def recipe(*techniques: tuple[str, dict[str, Any]]) -> Recipe:
    """Of the bundled Keras network, in LiteRT."""
    made = tuple(TECHNIQUES[key].model_validate(settings) for key, settings in techniques)
    return Recipe(model=MODEL, techniques=made, runtime="litert")


def result(
    asked: Recipe,
    *,
    precision: Precision = "fp32",
    size_bytes: int = 426_000,
    gzip_bytes: int = 394_000,
    zeros: float = 0.0,
    p50_ms: float = 0.028,
    wrong: int = 200,
    tflite: TfliteFacts | None = None,
) -> RunResult:
    """A finished run's result: the first `wrong` of 2,000 images wrong, so many of the weights zero."""
    plain = measured(asked, wrong=wrong, p50_ms=p50_ms, size_bytes=size_bytes)
    size = Size(
        size_bytes=size_bytes, gzip_bytes=gzip_bytes, parameter_count=PARAMETERS,
        nonzero_count=round(PARAMETERS * (1 - zeros)), macs=1_117_056,
    )  # fmt: skip
    noise = np.random.default_rng(0).normal(1, 0.01, (24, 15))
    blocks = tuple(tuple(float(value) for value in row) for row in p50_ms * noise)
    latency = plain.latency.model_copy(update={"blocks_ms": blocks})
    changed = plain.model_copy(
        update={
            "size": size, "latency": latency, "precision": precision, "artifact_files": ("model.tflite",),
            "tflite": tflite,
        }
    )  # fmt: skip
    return RunResult.model_validate(changed.model_dump(mode="json"))


def answers(wrong: range, total: int = 2000) -> Accuracy:
    """Answers to so many images, these wrong."""
    return Accuracy(predictions=(0,) * total, confidences=(0.9,) * total, wrong=tuple(wrong))
