"""Pruning, sparsity and low rank on the sample models: `python -m benchmarks.pruning [--json F] [--markdown F]`.

Half and a quarter of the multiply-accumulates in every runtime; importances against the random control; targets given
as measured latency; zeros, scattered and 2:4, in every runtime; layers of low rank. Accuracy is that of the exported
file on all test images, latency the median at batch size 8, as ratios within the run of the benchmark.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.recipes import Found, main, recipe, refusals, results, table
from experiments.compare import accuracy_verdict
from experiments.recipe import Recipe
from experiments.result import RunResult
from runtimes import RUNTIMES

MODEL, TRANSFORMER = "resnet_fmnist", "vit_fmnist"
ENGINES = ("pytorch", "torch_compile", "onnxruntime", "openvino")
TIMED = ("onnxruntime", "openvino")
MEASURES = ("l2", "l1", "lamp", "bn_scale", "taylor", "hessian", "random")
SEEDS = (0, 1, 2)
STEEP = 0.7
"""A ratio at which it matters which channels go."""


def pruned(**settings: Any) -> dict[str, Any]:
    """Structured pruning, without the curve over all ratios."""
    return {"structured_pruning": {"scan": False, **settings}}


def fewer(speed_up: float) -> dict[str, Any]:
    """So many times fewer multiply-accumulates, fine-tuned: gently where little goes, from everywhere alike else."""
    gently = {"scope": "global", "learning_rate": 0.001} if speed_up <= 2 else {}
    return pruned(target="macs", speed_up=speed_up, epochs=8, **gently)


SPARSE: dict[str, dict[str, Any]] = {
    "70 % zeros": {"magnitude_pruning": {"sparsity": 0.7, "epochs": 2}},
    "90 % zeros": {"magnitude_pruning": {"sparsity": 0.9, "epochs": 4}},
    "90 % zeros, gradual": {"magnitude_pruning": {"sparsity": 0.9, "epochs": 4, "schedule_of_zeros": "gradual"}},
    "90 % zeros, movement": {"magnitude_pruning": {"sparsity": 0.9, "epochs": 4, "criterion": "movement"}},
    "2:4, magnitude, no training": {"two_four": {"method": "magnitude", "epochs": 0}},
    "2:4, SparseGPT, no training": {"two_four": {"method": "sparsegpt", "epochs": 0}},
    "2:4, SparseGPT": {"two_four": {"method": "sparsegpt", "epochs": 2}},
}
LOW_RANK: dict[str, dict[str, Any]] = {
    "energy 0.98, no training": {"low_rank": {"energy": 0.98, "epochs": 0}},
    "energy 0.98": {"low_rank": {"energy": 0.98, "epochs": 2}},
    "energy 0.95": {"low_rank": {"energy": 0.95, "epochs": 2}},
}


def _rows() -> Iterator[tuple[str, Recipe]]:
    for runtime in ENGINES:
        yield f"macs/{runtime}/FP32", recipe(MODEL, runtime)
        yield f"macs/{runtime}/2x", recipe(MODEL, runtime, fewer(2))
        yield f"macs/{runtime}/4x", recipe(MODEL, runtime, fewer(4))
    for name in MEASURES:
        for seed in SEEDS if name == "random" else SEEDS[:1]:
            yield (
                f"importance/{name}/no training/{seed}",
                recipe(MODEL, "onnxruntime", pruned(ratio=0.3, importance=name, epochs=0, renew=True), seed=seed),
            )
    for name in ("l2", "taylor", "random"):
        for seed in SEEDS:
            yield (
                f"importance/{name}/2 epochs/{seed}",
                recipe(MODEL, "onnxruntime", pruned(ratio=STEEP, importance=name, epochs=2), seed=seed),
            )
    for rounds in (1, 3):
        yield (
            f"rounds/{rounds}",
            recipe(MODEL, "onnxruntime", pruned(ratio=STEEP, rounds=rounds, epochs=6 // rounds)),
        )
    for runtime in TIMED:
        for speed_up in (1.5, 2.0, 3.0):
            yield (
                f"latency/{runtime}/{speed_up:g}x",
                recipe(MODEL, runtime, pruned(target="latency", speed_up=speed_up, epochs=0)),
            )
    for multiple in (8, 16):
        yield (
            f"latency/onnxruntime/1.5x, multiples of {multiple}",
            recipe(MODEL, "onnxruntime", pruned(target="latency", speed_up=1.5, epochs=0, round_to=multiple)),
        )
    for name, technique in SPARSE.items():
        yield f"zeros/onnxruntime/{name}", recipe(MODEL, "onnxruntime", technique)
    for runtime in ("pytorch", "torch_compile", "openvino"):
        for name in ("70 % zeros", "2:4, SparseGPT, no training"):
            yield f"zeros/{runtime}/{name}", recipe(MODEL, runtime, SPARSE[name])
    for runtime in TIMED:
        yield f"rank/{runtime}/FP32", recipe(TRANSFORMER, runtime)
        for name, technique in LOW_RANK.items():
            yield f"rank/{runtime}/{name}", recipe(TRANSFORMER, runtime, technique)


def tables_of(found: Found) -> str:
    """Markdown: one table a question, then what was refused."""
    known = results(found)
    parts = [
        "### Half and a quarter of the arithmetic, in every runtime\n\n" + _by_macs(known),
        "### Which channels go\n\n" + _importances(known),
        "### A target in milliseconds\n\n" + _targets(known),
        "### Zeros\n\n" + _zeros(known),
        "### Low rank, vision transformer\n\n" + _ranks(known),
    ]
    return "\n\n".join([*parts, *(["\n".join(refusals(found))] if refusals(found) else [])]) + "\n"


def _accuracy(result: RunResult, before: RunResult | None) -> list[str]:
    return [
        f"{100 * result.accuracy.value:.2f} %",
        accuracy_verdict(before.accuracy, result.accuracy) if before and before is not result else "",
    ]


def _ratio(before: RunResult, after: RunResult) -> str:
    """How many times faster, with the interval that the two medians leave."""
    (low, high), (least, most) = after.latency.p50_interval_ms, before.latency.p50_interval_ms
    return f"{before.latency.p50_ms / after.latency.p50_ms:.2f} ({least / high:.2f} to {most / low:.2f})"


def _by_macs(known: dict[str, RunResult]) -> str:
    lines = []
    for runtime in ENGINES:
        before = known.get(f"macs/{runtime}/FP32")
        for name in ("FP32", "2x", "4x"):
            result = known.get(f"macs/{runtime}/{name}")
            if result and before:
                lines.append(
                    [
                        RUNTIMES[runtime].title,
                        name,
                        f"{before.size.macs / result.size.macs:.2f}",
                        _ratio(before, result),
                        f"{before.size.size_bytes / result.size.size_bytes:.2f}",
                        *_accuracy(result, before),
                    ]
                )
    head = (
        "runtime",
        "network",
        "MACs, x fewer",
        "x faster (95 % interval)",
        "file, x smaller",
        "accuracy",
        "against FP32",
    )
    return table(head, lines)


def _importances(known: dict[str, RunResult]) -> str:
    before = known.get("macs/onnxruntime/FP32")
    lines = [
        [*row.split("/")[1:], f"{result.size.macs / 1e6:.1f} M", *_accuracy(result, before)]
        for row, result in known.items()
        if row.startswith("importance/")
    ]
    lines += [
        [
            "l2",
            f"{row.split('/')[1]} rounds, 6 epochs in all",
            "0",
            f"{result.size.macs / 1e6:.1f} M",
            *_accuracy(result, before),
        ]
        for row, result in known.items()
        if row.startswith("rounds/")
    ]
    control = [known.get(f"importance/random/2 epochs/{seed}") for seed in SEEDS]
    for name in ("l2", "taylor"):
        for seed, other in zip(SEEDS, control, strict=True):
            ours = known.get(f"importance/{name}/2 epochs/{seed}")
            if ours and other:
                verdict = accuracy_verdict(other.accuracy, ours.accuracy)
                lines.append([name, "2 epochs, against random", str(seed), "", "", verdict])
    return table(("importance", "training", "seed", "MACs", "accuracy", "against FP32, or as said"), lines)


def _targets(known: dict[str, RunResult]) -> str:
    lines = []
    for row, result in known.items():
        if not row.startswith("latency/"):
            continue
        _, runtime, wanted = row.split("/")
        before = known.get(f"macs/{runtime}/FP32")
        if before and result.pruning and result.pruning.search:
            found = result.pruning.search.points[-1]
            missed = before.latency.p50_ms / result.latency.p50_ms / float(wanted.partition("x")[0]) - 1
            lines.append(
                [
                    RUNTIMES[runtime].title, wanted, f"{found.ratio:.3f}", f"{found.value:.2f}", _ratio(before, result),
                    f"{100 * missed:+.1f} %", str(len(result.pruning.search.points)),
                ]
            )  # fmt: skip
    head = ("runtime", "wanted", "ratio found", "x faster in the search", "x faster, measured", "off by", "tried")
    return table(head, lines)


def _zeros(known: dict[str, RunResult]) -> str:
    lines = []
    for row, result in known.items():
        if row.startswith("zeros/"):
            _, runtime, name = row.split("/", 2)
            if before := known.get(f"macs/{runtime}/FP32"):
                lines.append(
                    [
                        RUNTIMES[runtime].title, name, f"{100 * result.size.sparsity:.1f} %",
                        f"{100 * result.size.size_bytes / before.size.size_bytes:.1f} %",
                        f"{100 * result.size.gzip_bytes / before.size.gzip_bytes:.1f} %",
                        _ratio(before, result), *_accuracy(result, before),
                    ]
                )  # fmt: skip
    head = ("runtime", "network", "zeros", "bytes, of FP32", "gzip, of FP32", "x faster", "accuracy", "against FP32")
    return table(head, lines)


def _ranks(known: dict[str, RunResult]) -> str:
    lines = []
    for row, result in known.items():
        if row.startswith("rank/"):
            _, runtime, name = row.split("/", 2)
            if before := known.get(f"rank/{runtime}/FP32"):
                lines.append(
                    [
                        RUNTIMES[runtime].title, name, f"{result.size.parameter_count:,}",
                        f"{before.size.macs / result.size.macs:.2f}", _ratio(before, result),
                        *_accuracy(result, before),
                    ]
                )  # fmt: skip
    head = ("runtime", "network", "parameters", "MACs, x fewer", "x faster", "accuracy", "against FP32")
    return table(head, lines)


if __name__ == "__main__":
    sys.exit(main("benchmarks.pruning", __doc__ or "", dict(_rows()), tables_of))
