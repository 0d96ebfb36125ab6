"""How Compare and Runs answer as the store grows: `python -m benchmarks.store [--runs 10000] [--json FILE]`.

Fills one store with 100 finished runs and one with 10,000, draws both pages on each with Streamlit's own test driver
and prints the median time of the page's script: the server's share of an answer. The stores are drawn in turn, so that
whatever else the machine does falls on both alike. The targets: 200 ms, and at most twice the time of 100 runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from core.devices import find_device
from core.layers import Layer, LayerProfile
from core.packed import Packed
from experiments.duel import Duel, DuelResult, Round
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.store import Store, open_store
from optimizers import TECHNIQUES
from profiling.accuracy import Accuracy
from profiling.latency import Latency
from profiling.machine import conditions
from profiling.memory import Memory
from profiling.size import Size
from profiling.sweep import BatchPoint, Sweep

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("compare", "runs")
FEW = 100
LIMIT_MS, LIMIT_RATIO = 200, 2
IMAGES, BLOCKS, CALLS = 10_000, 60, 150
DIFFERENT_RESULTS, DUEL_EVERY = 20, 50
ROUNDS = 7


def main() -> int:
    """Fill, draw, print; 0 when both targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="where to write the figures and their conditions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = {count: Path(folder) / str(count) for count in (FEW, options.runs)}
        for count, data in stores.items():
            with using(data):
                fill(open_store(), count)
        times = draw_in_turn(stores)
    return report(times, options.runs, options.json)


@contextmanager
def using(data: Path) -> Iterator[None]:
    """Make the data folder the one that the program uses."""
    before = os.environ.get("STUDIO_DATA")
    os.environ["STUDIO_DATA"] = str(data)
    try:
        yield
    finally:
        if before is None:
            del os.environ["STUDIO_DATA"]
        else:
            os.environ["STUDIO_DATA"] = before


def recipes(count: int) -> Iterator[Recipe]:
    """Different recipes, the baseline first: seeds, ratios and runtimes as a person varies them."""
    yield Recipe(model="resnet_fmnist")
    for number in range(count - 1):
        ratio = round(0.05 + number % 17 * 0.05, 2)
        techniques = (TECHNIQUES["structured_pruning"](ratio=ratio), TECHNIQUES["int8"]())[: 1 + number % 2]
        runtime = ("onnxruntime", "openvino")[number % 3 % 2]
        yield Recipe(model="resnet_fmnist", techniques=techniques, runtime=runtime, seed=number // 100)


def fill(store: Store, count: int) -> None:
    """Finished runs with all that real ones hold, the same few results over and over, and now and then a duel."""
    results = [result_of_run(number) for number in range(DIFFERENT_RESULTS)]
    ids: list[str] = []
    for number, recipe in enumerate(recipes(count)):
        ids.append(store.begin_here(recipe))
        store.finish(ids[-1], results[number % DIFFERENT_RESULTS])
        if number % DUEL_EVERY == DUEL_EVERY - 1:
            duel_of(store, ids[0], ids[-1])


def result_of_run(number: int) -> RunResult:
    """What a run measures, with noise."""
    rng = np.random.default_rng(number)
    return RunResult(
        accuracy=Accuracy(
            predictions=Packed.of(rng.integers(0, 10, IMAGES), "<i4"),
            confidences=Packed.of(np.clip(1 - rng.exponential(0.05, IMAGES), 0.1, 1), "<u2", 10_000),
            wrong=Packed.of(np.sort(rng.choice(IMAGES, 650 + 15 * number, replace=False)), "<i4"),
        ),
        latency=Latency(
            batch_size=1,
            samples=Packed.of(rng.normal(0.4 + number / 20, 0.01, BLOCKS * CALLS), "<u4", 10_000),
            block_sizes=Packed.of([CALLS] * BLOCKS, "<u4"),
            warmup_ms=300,
            first_call_ms=9,
            contended_share=0.0,
        ),
        memory=Memory(batch_size=1, process_before_rss_bytes=10**8, process_peak_rss_bytes=10**8 + 10**7),
        size=Size(
            size_bytes=10**6 + number, gzip_bytes=10**6, parameter_count=685_000, nonzero_count=685_000, macs=10**7
        ),
        build_ms=20,
        conditions=conditions(find_device("cpu"), threads=1, seed=0),
        precision="int8",
        artifact_files=("model.onnx",),
        sweep=Sweep(points=tuple(point(rng, 2**step) for step in range(8)), stopped="Done"),
        layers=LayerProfile(batch_size=1, calls=30, call_ms=0.5, layers=tuple(layer(number) for number in range(60))),
    )


def point(rng: np.random.Generator, batch_size: int) -> BatchPoint:
    """What is timed of one batch size."""
    latency = Latency(
        batch_size=batch_size,
        samples=Packed.of(rng.normal(0.4, 0.01, 8 * 20), "<u4", 10_000),
        block_sizes=Packed.of([20] * 8, "<u4"),
        warmup_ms=300,
        first_call_ms=1,
        contended_share=0.0,
    )
    return BatchPoint(latency=latency, growth_bytes=10**6)


def layer(number: int) -> Layer:
    """One of a profile's operations."""
    name = f"features.{number}"
    return Layer(name=name, op="QLinearConv", kind="compute", time_ms=0.008, precision="int8", macs=10**6)


def duel_of(store: Store, first: str, second: str) -> None:
    """A finished duel of two finished runs."""
    run_id = store.enqueue_duel(Duel(first=first, second=second))
    store.claim(run_id, os.getpid())
    rounds = [Round(first_ms=1, control_ms=1, second_ms=0.5, order=("first", "control", "second"))] * 40
    here = conditions(find_device("cpu"), threads=1, seed=0)
    duel = Duel(first=first, second=second)
    store.finish(run_id, DuelResult(duel=duel, batch_size=1, rounds=tuple(rounds), conditions=here))


def draw_in_turn(stores: dict[int, Path]) -> dict[str, dict[int, list[float]]]:
    """Script times in ms, by page and number of runs."""
    from streamlit.testing.v1 import AppTest

    times: dict[str, dict[int, list[float]]] = {page: {count: [] for count in stores} for page in PAGES}
    drawn: dict[tuple[str, int], AppTest] = {}
    for number in range(ROUNDS + 1):
        for page in PAGES:
            for count, data in stores.items():
                with using(data):
                    if (page, count) not in drawn:
                        drawn[page, count] = AppTest.from_file(ROOT / "ui" / "main.py", default_timeout=120).run()
                        drawn[page, count].switch_page(str(ROOT / "pages" / f"{page}.py"))
                    began = time.perf_counter()
                    shown = drawn[page, count].run()
                    took_ms = 1000 * (time.perf_counter() - began)
                assert not shown.exception, shown.exception
                assert not shown.error, shown.error
                if number:  # the first drawing of each fills caches and imports
                    times[page][count].append(took_ms)
    return times


def report(times: dict[str, dict[int, list[float]]], many: int, path: Path | None) -> int:
    """Print and write the figures; 0 when the targets are met."""
    failed = False
    figures: dict[str, Any] = {}
    for page, by_count in times.items():
        few_ms, many_ms = (float(np.median(by_count[count])) for count in (FEW, many))
        is_met = many_ms <= LIMIT_MS and many_ms <= LIMIT_RATIO * few_ms
        failed |= not is_met
        figures[page] = {"few_ms": few_ms, "many_ms": many_ms, "ratio": many_ms / few_ms}
        print(
            f"{page:<8} {FEW} runs {few_ms:6.1f} ms   {many} runs {many_ms:6.1f} ms   ratio {many_ms / few_ms:.2f}"
            f"   {'met' if is_met else 'MISSED'}"
        )
    if path:
        here = conditions(find_device("cpu"), threads=1, seed=0).model_dump(mode="json")
        path.write_text(json.dumps({"figures": figures, "conditions": here}, indent=1))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
