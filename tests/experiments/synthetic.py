"""Finished runs with known figures, for tests that only read results."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from core.devices import find_device
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.store import Store
from profiling.accuracy import Accuracy
from profiling.latency import Latency
from profiling.machine import conditions
from profiling.memory import Memory
from profiling.size import Size

IMAGES = 1000


def finish_with(store: Store, recipe: Recipe, *, wrong: Iterable[int], median_ms: float, size_bytes: int) -> str:
    """Record a finished run of 1,000 images and 12 blocks of 40 calls; its id."""
    spread = np.random.default_rng(recipe.seed).normal(0, 0.01, (12, 40))
    blocks = tuple(tuple(float(median_ms * (1 + noise)) for noise in row) for row in spread)
    result = RunResult(
        accuracy=Accuracy(predictions=(0,) * IMAGES, confidences=(0.9,) * IMAGES, wrong=tuple(wrong)),
        latency=Latency(batch_size=1, blocks_ms=blocks, warmup_ms=200, first_call_ms=9, contended_share=0.0),
        memory=Memory(batch_size=1, process_before_rss_bytes=1000, process_peak_rss_bytes=3000),
        size=Size(
            size_bytes=size_bytes, gzip_bytes=size_bytes // 2, parameter_count=100, nonzero_count=100, macs=10**6
        ),
        build_ms=5,
        conditions=conditions(find_device("cpu"), threads=1, seed=recipe.seed),
        precision="fp32",
        artifact_files=("model.onnx",),
    )
    run_id = store.begin_here(recipe)
    store.finish(run_id, result)
    return run_id
