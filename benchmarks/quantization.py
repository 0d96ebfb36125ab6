"""Every scheme on every sample model in every runtime: `python -m benchmarks.quantization [--json F] [--markdown F]`.

Carries out each recipe as the dashboard would, in one process after another, and prints per row: accuracy with its
95 % interval, the difference to FP32 with McNemar's verdict, agreement, bytes, and the median latency as a ratio to
FP32 in the same runtime and to eager PyTorch. `--only MODEL/RUNTIME/SCHEME` takes wildcards; results already in the
JSON file are kept and not measured again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.progress import Finished, Note
from experiments.compare import accuracy_verdict
from experiments.recipe import MeasurementSettings, Recipe
from experiments.result import RunResult
from experiments.run import run
from experiments.simulation import SimulatedResult

MEASUREMENT = MeasurementSettings(batch_size=8, latency_seconds=2, sweep_seconds=0)
MODELS = (
    "resnet_fmnist",
    "dwcnn_fmnist",
    "vit_fmnist",
    "efficientnet_lite0",
    "student_cnn_fmnist",
    "student_dw_fmnist",
)
BF16 = {"mixed_precision": {"precision": "bf16"}}
W4 = {"bits": 4, "group_size": 32}
SCHEMES: dict[str, dict[str, dict[str, Any] | None]] = {
    "pytorch": {
        "FP32": None,
        "BF16": BF16,
        "INT8 weights": {"weight_only": {}},
    },
    "torch_compile": {
        "FP32": None,
        "BF16": BF16,
        "INT8": {"int8": {}},
        "INT8, MSE": {"int8": {"method": "mse"}},
        "INT8 weights": {"weight_only": {}},
        "INT8 dynamic": {"weight_only": {"activations": "dynamic"}},
    },
    "onnxruntime": {
        "FP32": None,
        "INT8": {"int8": {}},
        "INT8, entropy": {"int8": {"method": "entropy"}},
        "INT8, percentile": {"int8": {"method": "percentile"}},
        "INT8, MSE": {"int8": {"method": "mse"}},
        "INT8, symmetric": {"int8": {"symmetric": True}},
        "INT8, bias correction": {"int8": {"bias_correction": True}},
        "INT8, BatchNorm re-estimated": {"int8": {"reestimate_batchnorm": True}},
        "INT8, SmoothQuant": {"int8": {"smooth_quant": 0.5}},
        "INT8 per tensor": {"int8": {"per_channel": False}},
        "INT8 per tensor, bias correction": {"int8": {"per_channel": False, "bias_correction": True}},
        "INT8 per tensor, lose at most 0.5": {"int8": {"per_channel": False, "max_loss": 0.5}},
        "QAT per tensor": {"qat": {"per_channel": False}},
        "QAT": {"qat": {}},
        "INT8 weights": {"weight_only": {}},
        "INT8 dynamic": {"weight_only": {"activations": "dynamic"}},
        "INT4 weights /32": {"weight_only": W4},
        "INT4 weights /32, lose at most 0.3": {"weight_only": W4 | {"max_loss": 0.3}},
    },
    "openvino": {
        "FP32": None,
        "BF16": BF16,
        "INT8": {"int8": {}},
        "INT8, percentile": {"int8": {"method": "percentile"}},
        "INT8 per tensor": {"int8": {"per_channel": False}},
        "INT8 per tensor, lose at most 0.5": {"int8": {"per_channel": False, "max_loss": 0.5}},
        "QAT per tensor": {"qat": {"per_channel": False}},
        "INT8 weights": {"weight_only": {}},
        "INT8 dynamic": {"weight_only": {"activations": "dynamic"}},
        "INT4 weights /32": {"weight_only": W4},
    },
}
SIMULATED: dict[str, dict[str, Any]] = {
    "FP8": {"number_format": "fp8"},
    "NVFP4": {"number_format": "nvfp4"},
    "INT4 /32": {"number_format": "integer", "bits": 4, "granularity": "group", "group_size": 32},
}


IN_FULL = MODELS[:3]
REAL = "efficientnet_lite0"
ON_REAL = ("FP32", "BF16", "INT8", "INT8 per tensor")
"""What is tried on EfficientNet, which has no training images."""
ON_SMALL = ("FP32", "INT8")
"""What is tried on the students."""
COMPILED = ("FP32", "INT8", "INT8 dynamic")
"""What is tried in torch.compile on every model but the first: compiling takes minutes."""
LOSES_MOST = "dwcnn_fmnist"
"""Where post-training quantization loses most, and training is tried."""
TRANSFORMER = "vit_fmnist"
"""The one model whose weights are nearly all in linear layers."""


def rows() -> list[tuple[str, str, str]]:
    """Every row: model, runtime, scheme."""
    found = [(model, runtime, name) for model in MODELS for runtime in SCHEMES for name in SCHEMES[runtime]]
    simulated = [(model, "pytorch", f"{name}, simulated") for model in (*IN_FULL, REAL) for name in SIMULATED]
    return [row for row in found if is_tried(*row)] + simulated


def is_tried(model: str, runtime: str, scheme: str) -> bool:
    """Whether the row is worth its minutes."""
    if model not in IN_FULL and scheme not in (ON_REAL if model == REAL else ON_SMALL):
        return False
    if runtime == "torch_compile" and model != MODELS[0] and (scheme not in COMPILED or model in MODELS[4:]):
        return False
    if "weights" in scheme or "dynamic" in scheme:
        return model == TRANSFORMER
    return model == LOSES_MOST or not scheme.startswith("QAT")


def recipe_of(model: str, runtime: str, scheme: str) -> Recipe:
    """The recipe of a row."""
    if scheme.endswith(", simulated"):
        technique: dict[str, Any] | None = {"simulated": SIMULATED[scheme.removesuffix(", simulated")]}
    else:
        technique = SCHEMES[runtime][scheme]
    techniques = [technique] if technique else []
    return Recipe(model=model, runtime=runtime, techniques=techniques, measurement=MEASUREMENT)  # type: ignore[arg-type]


def main() -> int:
    """Measure what is missing, print all; 0 when every row has a result or a reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="MODEL/RUNTIME/SCHEME with wildcards")
    parser.add_argument("--json", type=Path, default=Path(tempfile.gettempdir()) / "quantization.json")
    parser.add_argument("--markdown", type=Path, help="where to write the tables")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(_carry_out(*options.row.split("/", 2))))
        return 0
    found: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    for row in ("/".join(each) for each in rows()):
        if row not in found and fnmatchcase(row, options.only):
            found[row] = _in_process_of_its_own(row)
            options.json.write_text(json.dumps(found))
            print(row, found[row].get("reason") or f"took {found[row]['seconds']:.0f} s", flush=True)
    tables = tables_of(found)
    print(tables)
    if options.markdown:
        options.markdown.write_text(tables)
    return 0


def _in_process_of_its_own(row: str) -> dict[str, Any]:
    """So that nothing a row leaves behind changes the next one."""
    command = [sys.executable, "-m", "benchmarks.quantization", "--row", row]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"reason": f"failed: {(done.stderr.strip().splitlines() or [f'exit {done.returncode}'])[-1]}"}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _carry_out(model: str, runtime: str, scheme: str) -> dict[str, Any]:
    """The result with its notes and wall time, or the sentence that says why there is none."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            events = list(run(recipe_of(model, runtime, scheme), Path(folder)))
    except StudioError as error:
        return {"reason": str(error)}
    assert isinstance(events[-1], Finished)
    notes = [event.text for event in events if isinstance(event, Note)]
    return {"seconds": time.monotonic() - began, "result": events[-1].result, "notes": notes}


def tables_of(found: dict[str, Any]) -> str:
    """A markdown table a model, with what was refused below it."""
    parts = []
    for model in MODELS:
        ours = ["/".join(each) for each in rows() if each[0] == model]
        entries = {row.split("/", 1)[1]: found[row] for row in ours if row in found}
        if "result" not in entries.get("pytorch/FP32", {}):
            continue
        lines = [_line(row, entries) for row, entry in entries.items() if "result" in entry]
        refused = [f"- {row}: {entry['reason']}" for row, entry in entries.items() if "reason" in entry]
        parts.append("\n".join([f"### {model}", "", *HEAD, *lines, *([""] if refused else []), *refused]))
    return "\n\n".join(parts) + "\n"


HEAD = (
    "| runtime | scheme | layers | accuracy (95 % interval) | against FP32 | agreement | bytes | of FP32 | "
    "x FP32 here | x eager |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def _line(row: str, entries: dict[str, Any]) -> str:
    runtime, scheme = row.split("/", 1)
    content = entries[row]["result"]
    is_simulated = "latency" not in content
    result: RunResult | SimulatedResult = (SimulatedResult if is_simulated else RunResult).model_validate(content)
    eager = RunResult.model_validate(entries["pytorch/FP32"]["result"])
    found, report = result.accuracy, result.quantization
    low, high = found.interval
    cells = [
        runtime,
        scheme,
        f"{len(report.quantized)} of {len(report.layers)}" if report else "",
        f"{100 * found.value:.2f} % ({100 * low:.2f} to {100 * high:.2f})",
        "" if row == "pytorch/FP32" else accuracy_verdict(eager.accuracy, found),
        f"{100 * found.agreement_with(eager.accuracy):.2f} %",
    ]
    if isinstance(result, SimulatedResult):
        cells += ["simulated", "", "", ""]
    else:
        here = entries.get(f"{runtime}/FP32", {}).get("result")
        plain = RunResult.model_validate(here) if here else None
        cells += [
            f"{result.size.size_bytes:,}",
            f"{100 * result.size.size_bytes / plain.size.size_bytes:.1f} %" if plain else "",
            f"{plain.latency.p50_ms / result.latency.p50_ms:.2f}" if plain else "",
            f"{eager.latency.p50_ms / result.latency.p50_ms:.2f}",
        ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
