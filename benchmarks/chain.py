"""Techniques alone and in a chain: `python -m benchmarks.chain [--json F] [--markdown F]`.

Prune, distil, quantize as one recipe against each technique by itself, on a CNN and on a transformer. A variant is on
the front when no other is at least as accurate, as fast and as small and better in one of the three.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.recipes import Found, main, recipe, refusals, results, table
from experiments.compare import accuracy_verdict
from experiments.recipe import Recipe
from experiments.result import RunResult

CNN, TRANSFORMER = "resnet_fmnist", "vit_fmnist"
RUNTIME = {CNN: "onnxruntime", TRANSFORMER: "openvino"}
INT8: dict[str, Any] = {"int8": {}}
RATIOS = {CNN: (0.25, 0.5, 0.7), TRANSFORMER: (0.25, 0.5)}
LEARNING_RATE = {CNN: 0.003, TRANSFORMER: 0.0005}
EPOCHS = 8


def pruned(ratio: float, epochs: int, rate: float) -> dict[str, Any]:
    """Structured pruning, without the curve over all ratios."""
    return {"structured_pruning": {"ratio": ratio, "epochs": epochs, "learning_rate": rate, "scan": False}}


def gently() -> dict[str, Any]:
    """A third of the arithmetic, from where it matters least."""
    settings = {"target": "macs", "speed_up": 1.5, "scope": "global", "epochs": 0, "scan": False}
    return {"structured_pruning": settings}


def itself(rate: float) -> dict[str, Any]:
    """The pruned network as the student of the whole one."""
    settings = {"student": "itself", "epochs": EPOCHS, "learning_rate": rate, "batch_size": 64, "control_seeds": 0}
    return {"distillation": settings}


def _rows() -> Iterator[tuple[str, Recipe]]:
    for model, runtime in RUNTIME.items():
        rate = LEARNING_RATE[model]
        yield f"{model}/FP32", recipe(model, runtime)
        yield f"{model}/INT8", recipe(model, runtime, INT8)
        for ratio in RATIOS[model]:
            yield f"{model}/pruned {ratio:g}", recipe(model, runtime, pruned(ratio, EPOCHS, rate))
        yield (
            f"{model}/distilled into the small CNN",
            recipe(model, runtime, {"distillation": {"student": "student_cnn_fmnist", "control_seeds": 0}}),
        )
        for ratio in RATIOS[model]:
            yield (
                f"{model}/pruned {ratio:g} > distilled > INT8",
                recipe(model, runtime, pruned(ratio, 0, rate), itself(rate), INT8),
            )
        yield (
            f"{model}/pruned to 1.5x fewer MACs > distilled > INT8",
            recipe(model, runtime, gently(), itself(min(rate, 0.001)), INT8),
        )


def is_beaten(row: str, known: dict[str, RunResult]) -> list[str]:
    """The rows that are at least as accurate, fast and small, and better in one of the three."""
    ours = _scores(known[row])
    return [
        other
        for other, result in known.items()
        if other != row and all(a >= b for a, b in zip(_scores(result), ours, strict=True)) and _scores(result) != ours
    ]


def _scores(result: RunResult) -> tuple[float, float, float]:
    """Accuracy, speed and smallness: more is better."""
    return result.accuracy.value, 1 / result.latency.p50_ms, 1 / result.size.size_bytes


def tables_of(found: Found) -> str:
    """Markdown: a table a model, then what was refused."""
    known, parts = results(found), []
    for model in RUNTIME:
        ours = {row.partition("/")[2]: result for row, result in known.items() if row.startswith(model)}
        if before := ours.get("FP32"):
            parts.append(f"### {model}, {RUNTIME[model]}\n\n" + _table(ours, before))
    return "\n\n".join([*parts, *(["\n".join(refusals(found))] if refusals(found) else [])]) + "\n"


def _table(ours: dict[str, RunResult], before: RunResult) -> str:
    lines = []
    for row, result in ours.items():
        beaten = is_beaten(row, ours)
        lines.append(
            [
                row,
                f"{100 * result.accuracy.value:.2f} %",
                "" if row == "FP32" else accuracy_verdict(before.accuracy, result.accuracy),
                f"{before.latency.p50_ms / result.latency.p50_ms:.2f}",
                f"{before.size.size_bytes / result.size.size_bytes:.2f}",
                f"no: {beaten[0]} is better in all three" if beaten else "yes",
            ]
        )
    return table(("variant", "accuracy", "against FP32", "x faster", "x smaller", "on the front"), lines)


if __name__ == "__main__":
    sys.exit(main("benchmarks.chain", __doc__ or "", dict(_rows()), tables_of))
