"""Students with and without a teacher: `python -m benchmarks.distillation [--json F] [--markdown F]`.

Each row trains one student with its control over several seeds: the same start, the same batches, no teacher. The gain
is the mean over seeds in points of accuracy on all test images, with Student's interval.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.recipes import Found, main, recipe, refusals, results, table
from experiments.distillation_gain import gain_of
from experiments.recipe import Recipe

MODEL = "resnet_fmnist"
TINY, SMALL = "student_dw_fmnist", "student_cnn_fmnist"


def distilled(student: str, **settings: Any) -> dict[str, Any]:
    """Distillation with a control over three seeds."""
    return {"distillation": {"student": student, "control_seeds": 3, **settings}}


def _half(*after: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return ({"structured_pruning": {"ratio": 0.5, "epochs": 0, "scan": False}}, *after)


ROWS: dict[str, Recipe] = {
    "tiny depthwise (9 k), soft targets": recipe(MODEL, "onnxruntime", distilled(TINY)),
    "tiny depthwise (9 k), soft targets, temperature 4": recipe(MODEL, "onnxruntime", distilled(TINY, temperature=4)),
    "tiny depthwise (9 k), DKD": recipe(MODEL, "onnxruntime", distilled(TINY, loss="dkd")),
    "tiny depthwise (9 k), soft targets and attention": recipe(
        MODEL, "onnxruntime", distilled(TINY, hints="attention")
    ),
    "small CNN (19 k), soft targets": recipe(MODEL, "onnxruntime", distilled(SMALL)),
    "small CNN (19 k), DKD": recipe(MODEL, "onnxruntime", distilled(SMALL, loss="dkd")),
    "small CNN (19 k), soft targets and features": recipe(MODEL, "onnxruntime", distilled(SMALL, hints="features")),
    "small CNN (19 k), no labels": recipe(MODEL, "onnxruntime", distilled(SMALL, alpha=1)),
    "small CNN (19 k), 2 epochs": recipe(MODEL, "onnxruntime", distilled(SMALL, epochs=2)),
    "small CNN (19 k), temperature 20": recipe(MODEL, "onnxruntime", distilled(SMALL, temperature=20)),
    "the ResNet itself, half of its channels": recipe(
        MODEL, "onnxruntime", *_half(distilled("itself", epochs=6, learning_rate=0.003, batch_size=64))
    ),
}


def tables_of(found: Found) -> str:
    """Markdown: a row a student, then what was refused."""
    lines = []
    for row, result in results(found).items():
        report = result.distillation
        if report is None:
            continue
        gain = gain_of(report)
        pairs = ", ".join(
            f"{100 * each.taught_correct / report.test_images:.2f}/{100 * each.alone_correct / report.test_images:.2f}"
            for each in report.seeds
        )
        lines.append([row, f"{report.student_parameters:,}", pairs, gain.sentence])
    head = ("student", "parameters", "taught/alone, % right by seed", "gain")
    return "\n\n".join([table(head, lines), *(["\n".join(refusals(found))] if refusals(found) else [])]) + "\n"


if __name__ == "__main__":
    sys.exit(main("benchmarks.distillation", __doc__ or "", ROWS, tables_of))
