"""Makes the recordings that come with the project: `python -m benchmarks.gpu_recordings [--device D] [--only NAME]`.

Each recipe is carried out by the command line, as anybody would, in a data folder that is thrown away, and written as
`recordings/NAME-DEVICE.json.gz`; one that does not fit this machine is named with its reason. Those of a GPU are made
for whoever has none. With `--device cpu` the one of a CPU is made: pruning and fine-tuning, then ONNX Runtime.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks.recipes import table
from core.devices import find_device
from experiments.checking import why_refused
from experiments.recipe import Recipe
from experiments.recipe_file import to_yaml
from experiments.recording import ENDING, FOLDER, read, write
from experiments.store import Store

CNN, TRANSFORMER = "resnet_fmnist", "vit_fmnist"
PRUNED: dict[str, Any] = {"structured_pruning": {"ratio": 0.5, "epochs": 4}}
GPU: Mapping[str, tuple[str, str, tuple[dict[str, Any], ...]]] = {
    "baseline": (CNN, "pytorch", ()),
    "bf16": (TRANSFORMER, "torch_compile", ({"mixed_precision": {"precision": "bf16", "fine_tune_epochs": 2}},)),
    "fp16": (CNN, "torch_compile", ({"mixed_precision": {"precision": "fp16", "fine_tune_epochs": 2}},)),
    "int8": (CNN, "tensorrt", ({"int8": {}},)),
    "pruned": (CNN, "torch_compile", (PRUNED,)),
    "distilled": (CNN, "torch_compile", ({"distillation": {"student": "student_cnn_fmnist", "epochs": 8}},)),
}
"""Model, runtime and techniques by name."""
CPU: Mapping[str, tuple[str, str, tuple[dict[str, Any], ...]]] = {"pruned": (CNN, "onnxruntime", (PRUNED,))}


def main() -> int:
    """Make what was asked for, and print what the recordings hold; 1 where one could not be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--only", default="*", help="name with wildcards")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the recordings are written")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    device = find_device(options.device)
    rows, failures = [], 0
    with tempfile.TemporaryDirectory() as data:
        for name, (model, runtime, techniques) in (GPU if device.kind == "cuda" else CPU).items():
            if not fnmatchcase(name, options.only):
                continue
            recipe = Recipe(model=model, runtime=runtime, techniques=techniques, device=device.id)  # type: ignore[arg-type]
            path = options.folder / f"{name}-{slug(device.name)}{ENDING}"
            reason = why_refused(recipe) or carry_out(recipe, Path(data), path)
            failures += bool(reason)
            rows.append([name, recipe.title, reason or contents(path)])
            print(": ".join(rows[-1]), flush=True)
    print(table(("recording", "recipe", "what it holds"), rows))
    return 1 if failures else 0


def carry_out(recipe: Recipe, data: Path, path: Path) -> str:
    """Run the recipe by the command line and write its recording; why that failed, or nothing."""
    asked = data / "recipe.yaml"
    asked.write_text(to_yaml(recipe))
    command = [sys.executable, "-m", "cli", "optimize", str(asked)]
    done = subprocess.run(command, env={**os.environ, "STUDIO_DATA": str(data)}, capture_output=True, text=True)
    store = Store(f"sqlite:///{data / 'studio.db'}")
    found = store.finished_before(recipe)
    if found is None:
        return (done.stderr.strip().splitlines() or ["It said nothing"])[-1]
    write(store, found.id, path)
    store.close()
    return ""


def contents(path: Path) -> str:
    """What a recording holds, and how large it is."""
    recording = read(path)
    seconds = recording.ended_at - recording.started_at
    return f"{recording.stamp}; {len(recording.events):,} events in {seconds:.0f} s, {path.stat().st_size:,} bytes"


def slug(name: str) -> str:
    """A device's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main())
