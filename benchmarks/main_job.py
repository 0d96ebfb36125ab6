"""The main job on the ResNet sample, end to end: `python -m benchmarks.main_job [--device cuda:0] [--json FILE]`.

Carries out each recipe as the dashboard would and prints the comparison with the promises of the README beside it.
Latency is given as a ratio within this one run; how long the runs took is told, not judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.progress import Finished
from experiments.checking import check
from experiments.recipe import MeasurementSettings, Recipe
from experiments.result import RunResult
from experiments.run import run

MODEL = "resnet_fmnist"
DISTIL: dict[str, Any] = {"student": "student_dw_fmnist"}
CPU_RECIPES: dict[str, dict[str, Any]] = {
    "baseline": {"runtime": "pytorch"},
    "compiled": {"runtime": "torch_compile"},
    "onnxruntime": {"runtime": "onnxruntime"},
    "openvino": {"runtime": "openvino"},
    "int8": {"runtime": "onnxruntime", "techniques": [{"int8": {}}]},
    "int8 openvino": {"runtime": "openvino", "techniques": [{"int8": {}}]},
    "pruned": {"runtime": "onnxruntime", "techniques": [{"structured_pruning": {"ratio": 0.5}}]},
    "pruned int8": {"runtime": "onnxruntime", "techniques": [{"structured_pruning": {"ratio": 0.5}}, {"int8": {}}]},
    "distilled": {"runtime": "onnxruntime", "techniques": [{"distillation": DISTIL}]},
    "student alone": {"runtime": "onnxruntime", "techniques": [{"distillation": DISTIL | {"alpha": 0}}]},
    "bf16": {"runtime": "pytorch", "techniques": [{"mixed_precision": {"precision": "bf16"}}]},
}
GPU_RECIPES: dict[str, dict[str, Any]] = {
    "baseline": {"runtime": "pytorch"},
    "compiled": {"runtime": "torch_compile"},
    "bf16": {"runtime": "pytorch", "techniques": [{"mixed_precision": {"precision": "bf16"}}]},
    "fp16": {"runtime": "pytorch", "techniques": [{"mixed_precision": {"precision": "fp16"}}]},
    "fp16 fine-tuned": {
        "runtime": "torch_compile",
        "techniques": [{"mixed_precision": {"precision": "fp16", "fine_tune_epochs": 2}}],
    },
    "pruned": {"runtime": "pytorch", "techniques": [{"structured_pruning": {"ratio": 0.5}}]},
    "distilled": {"runtime": "pytorch", "techniques": [{"distillation": DISTIL}]},
    "student alone": {"runtime": "pytorch", "techniques": [{"distillation": DISTIL | {"alpha": 0}}]},
}


def main() -> int:
    """Run, print, write; 0 when every recipe that this machine can run has run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of recipes")
    parser.add_argument("--json", type=Path, help="where to write everything measured")
    options = parser.parse_args()
    recipes = CPU_RECIPES if options.device == "cpu" else GPU_RECIPES
    results = {}
    for name in options.only or recipes:
        recipe = Recipe(
            model=MODEL,
            device=options.device,
            measurement=MeasurementSettings(batch_size=options.batch_size),
            **recipes[name],
        )
        results[name] = _carry_out(name, recipe)
    if options.json:
        finished = {name: result for name, result in results.items() if isinstance(result, dict)}
        options.json.write_text(json.dumps(finished, indent=1))
    return 0


def _carry_out(name: str, recipe: Recipe) -> dict[str, Any] | str:
    """The result with its wall time, or the sentence that says why there is none. Prints one line."""
    began = time.monotonic()
    try:
        check(recipe)
        with tempfile.TemporaryDirectory() as folder:
            last = list(run(recipe, Path(folder)))[-1]
    except StudioError as error:
        print(f"{name:<18} {error}", file=sys.stderr)
        return str(error)
    assert isinstance(last, Finished)
    result, seconds = RunResult.model_validate(last.result), time.monotonic() - began
    print(
        f"{name:<18} accuracy {result.accuracy.value:.2%}  p50 {result.latency.p50_ms:8.3f} ms  "
        f"{result.size.size_bytes / 2**20:6.2f} MiB  {result.size.macs / 1e6:6.1f} MMAC  took {seconds:.0f} s",
        flush=True,
    )
    return {"seconds": seconds, "result": last.result}


if __name__ == "__main__":
    sys.exit(main())
