"""Comparisons of training with known differences."""

from __future__ import annotations

import numpy as np

from core.packed import Packed
from core.quantization import TrainingComparison, TrainingPrecision, TrainingRun


def training_run(
    precision: TrainingPrecision,
    turns: tuple[int, ...],
    *,
    ms: float,
    batch_size: int = 64,
    memory_bytes: int = 100,
    correct: int = 900,
    seed: int = 0,
    noise: float = 0.01,
) -> TrainingRun:
    """Steps of about `ms`, the first ten times as long, while the loss falls from 2 to 1."""
    steps = sum(turns)
    times = ms * np.exp(np.random.default_rng(seed).normal(0, noise, steps))
    times[0] *= 10
    scales = np.where(np.arange(steps) < steps // 2, 16, 15)
    return TrainingRun(
        precision=precision,
        losses=Packed.of(np.linspace(2, 1, steps), "<u4", 100_000),
        log2_scales=Packed.of(scales, "<i4") if precision == "fp16" else None,
        step_ms=Packed.of(times, "<u4", 1000),
        batch_size=batch_size,
        skipped_steps=int(precision == "fp16"),
        memory_bytes=memory_bytes,
        correct=correct,
        images=1000,
    )


def comparison(
    *,
    ratio: float = 1.3,
    precision: TrainingPrecision = "bf16",
    turns: tuple[int, ...] = (4,) * 20 + (2,),
    memory_share: float = 0.58,
    only_first_right: int = 5,
    only_second_right: int = 6,
    batch_size: int = 64,
    noise: float = 0.01,
) -> TrainingComparison:
    """FP32 takes 20 ms a step, the other `ratio` times less."""
    ours = training_run(
        precision,
        turns,
        ms=20 / ratio,
        batch_size=batch_size,
        memory_bytes=round(10_000_000 * memory_share),
        noise=noise,
        correct=900 + only_first_right - only_second_right,
    )
    theirs = training_run("fp32", turns, ms=20, batch_size=batch_size, memory_bytes=10_000_000, seed=1, noise=noise)
    return TrainingComparison(
        runs=(ours, theirs),
        turns=turns,
        only_first_right=only_first_right,
        only_second_right=only_second_right,
        memory_label="weights and what is kept for the backward pass, counted",
    )
