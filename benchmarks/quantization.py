"""Every scheme on every sample model in every runtime: `python -m benchmarks.quantization [--json F] [--markdown F]`.

Carries out each recipe as the dashboard would, in one process after another, and prints per row: accuracy with its
95 % interval, the difference to FP32 with McNemar's verdict, agreement, bytes, and the median latency as a ratio to
FP32 in the same runtime and to eager PyTorch. `--only MODEL/RUNTIME/SCHEME` takes wildcards; results already in the
JSON file are kept and not measured again.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.recipes import Found, main, recipe
from experiments.compare import accuracy_verdict
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.simulation import SimulatedResult

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
    return recipe(model, runtime, *([technique] if technique else []))


def tables_of(found: Found) -> str:
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
    recipes = {"/".join(row): recipe_of(*row) for row in rows()}
    sys.exit(main("benchmarks.quantization", __doc__, recipes, tables_of))
