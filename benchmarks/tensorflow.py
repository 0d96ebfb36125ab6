"""What TensorFlow's and LiteRT's techniques do to the Keras sample: `python -m benchmarks.tensorflow`.

Every variant is made and measured as the dashboard would, in LiteRT on one thread, in a process of its own, one after
the other; those that are trained on have the control beside them that was trained on as long in FP32. Wants a quiet
machine and TensorFlow (`python3 studio.py install tensorflow`). The table goes between the markers of
docs/tensorflow.md, and the exit status is 1 where a claim does not hold. Finished rows are kept in a JSON file and not
measured again. `--applications` makes the other table of that file instead: which technique works on which of ten
networks of keras.applications.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks.architectures import write_between_markers
from benchmarks.recipes import Found, carry_out, in_process_of_its_own, refusals, results, table
from bridges.asking import ask
from bridges.environments import TENSORFLOW
from core.progress import result_of
from experiments.checking import why_refused
from experiments.recipe import MeasurementSettings, Recipe
from experiments.references import fine_tuned_control
from experiments.result import RunResult
from optimizers import TECHNIQUES

MODULE = "benchmarks.tensorflow"
MODEL, PYTORCH_MODEL = "keras_cnn_fmnist", "resnet_fmnist"
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "tensorflow.md"
VARIANTS = ("<!-- variants: begin -->", "<!-- variants: end -->")
APPLICATIONS = ("<!-- applications: begin -->", "<!-- applications: end -->")
MEASUREMENT = MeasurementSettings(batch_size=1, latency_seconds=5, sweep_seconds=0, threads=1)
BASE, INT8, PRUNED, PCQAT = "FP32", "INT8", "pruned 80 %", "PCQAT"
SIDES = {
    "MobileNet": 96,
    "MobileNetV2": 96,
    "MobileNetV3Small": 96,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "EfficientNetB0": 64,
    "DenseNet121": 64,
    "InceptionV3": 96,
    "VGG16": 64,
    "ConvNeXtTiny": 64,
}
"""Networks of keras.applications, and the side of their images: small, as nothing is trained."""


def rows() -> dict[str, Recipe]:
    """By name, every variant of the table; each training is followed by its control."""
    prune, cluster, train = {"keras_pruning": {}}, {"keras_clustering": {}}, {"keras_qat": {}}
    wanted: dict[str, tuple[dict[str, Any], ...]] = {
        BASE: (),
        INT8: ({"keras_quantization": {"scheme": "int8"}},),
        "dynamic": ({"keras_quantization": {"scheme": "dynamic"}},),
        "FP16": ({"keras_quantization": {"scheme": "fp16"}},),
        "16x8": ({"keras_quantization": {"scheme": "int16x8"}},),
        PRUNED: (prune,),
        "clustered 16": (cluster,),
        "QAT": (train,),
        "PQAT": (prune, train),
        "CQAT": (cluster, train),
        PCQAT: (prune, cluster, train),
        "LiteRT quantizer, dynamic INT8": ({"litert_quantization": {"scheme": "dynamic_int8"}},),
        "LiteRT quantizer, dynamic INT4": ({"litert_quantization": {"scheme": "dynamic_int4"}},),
        "LiteRT quantizer, static INT8": ({"litert_quantization": {"scheme": "static_int8"}},),
    }
    found = {name: _recipe(MODEL, "litert", *techniques) for name, techniques in wanted.items()}
    for recipe in list(found.values()):
        if control := fine_tuned_control(recipe):
            found[_control_name(control)] = control
    return found | {
        "FP32 in OpenVINO": _recipe(MODEL, "openvino"),
        "INT8 in OpenVINO": _recipe(MODEL, "openvino", *wanted[INT8]),
        "ResNet of PyTorch": _recipe(PYTORCH_MODEL, "litert"),
        "ResNet of PyTorch, dynamic INT8": _recipe(PYTORCH_MODEL, "litert", *wanted["LiteRT quantizer, dynamic INT8"]),
    }


def _control_name(control: Recipe) -> str:
    return f"control: FP32, {control.techniques[0].model_dump()['epochs']} epochs more"


def _recipe(model: str, runtime: str, *techniques: dict[str, Any]) -> Recipe:
    return Recipe(model=model, runtime=runtime, techniques=techniques, measurement=MEASUREMENT)  # type: ignore[arg-type]


def table_of(found: Found) -> str:
    """A line a variant, what does not run with its reason, the claims and the conditions."""
    measured = results(found)
    if BASE not in measured:
        return "\n".join(refusals(found))
    base = measured[BASE]
    recipes = rows()
    controls = {
        name: measured.get(_control_name(each))
        for name in measured
        if (each := fine_tuned_control(recipes[name])) and name != _control_name(each)
    }
    lines = [[name, *_cells(each, base, controls.get(name))] for name, each in measured.items()]
    conditions = base.conditions
    return "\n".join(
        [
            f"{base.accuracy.total:,} test images; one thread of {conditions.device_name}, one image at a time; "
            f"{_versions()}; Python {platform.python_version()}; {datetime.date.today():%d %B %Y}.",
            "",
            table(HEAD, lines),
            "",
            *refusals(found),
            *(f"- {'Holds' if holds else '**Does not hold**'}: {claim}" for claim, holds in claims(measured)),
        ]
    )


HEAD = (
    "variant", "kB", "gzip kB", "gzip, % of FP32's file", "accuracy, %", "points to FP32", "to its control",
    "p50, µs", "x as fast",
    "zeros, %", "values a layer",
)  # fmt: skip


def _cells(each: RunResult, base: RunResult, control: RunResult | None) -> list[str]:
    accuracy, latency = each.accuracy, each.latency
    low, high = accuracy.interval
    fast, slow = (1000 * value for value in latency.p50_interval_ms or (latency.p50_ms, latency.p50_ms))
    weights = each.tflite.weights if each.tflite else ()
    return [
        f"{each.size.size_bytes / 1000:.0f}",
        f"{each.size.gzip_bytes / 1000:.0f}",
        f"{100 * each.size.gzip_bytes / base.size.size_bytes:.1f}",
        f"{100 * accuracy.value:.2f} ({100 * low:.2f} to {100 * high:.2f})",
        "" if each is base else _points(each, base),
        _points(each, control) if control else "",
        f"{1000 * latency.p50_ms:.1f} ({fast:.1f} to {slow:.1f})",
        f"{base.latency.p50_ms / latency.p50_ms:.2f}",
        f"{100 * each.size.sparsity:.1f}",
        f"{max(weight.distinct for weight in weights):,}" if weights else "",
    ]


def _points(each: RunResult, other: RunResult) -> str:
    """The difference in accuracy on the same images, `n.s.` where McNemar's test cannot tell it from none."""
    told = f"{100 * (each.accuracy.value - other.accuracy.value):+.2f}"
    return told if each.accuracy.mcnemar_against(other.accuracy) < 0.05 else f"{told} (n.s.)"


def claims(measured: Mapping[str, RunResult]) -> list[tuple[str, bool]]:
    """What is said of these techniques, in words, and whether it holds of what was measured; of what is there."""
    if BASE not in measured:
        return []
    base, found = measured[BASE], []
    if int8 := measured.get(INT8):
        share, faster = int8.size.size_bytes / base.size.size_bytes, base.latency.p50_ms / int8.latency.p50_ms
        found.append((f"INT8 takes at most 28 % of the bytes of FP32 ({100 * share:.1f} %)", share <= 0.28))
        found.append((f"INT8 is at least 1.7 times as fast ({faster:.2f} times)", faster >= 1.7))
    if both := measured.get(PCQAT):
        share, lost = both.size.gzip_bytes / base.size.size_bytes, base.accuracy.value - both.accuracy.value
        found.append(
            (f"PCQAT's file compressed takes at most 10 % of the FP32 file ({100 * share:.1f} %)", share <= 0.1)
        )
        found.append((f"and it loses at most 3 points of accuracy ({100 * lost:.2f} points)", lost <= 0.03))
    if pruned := measured.get(PRUNED):
        zeros = _zeros_of_pruned(pruned)
        reached = " and ".join(f"{100 * share:.2f} %" for share in zeros)
        found.append((f"Pruning reaches 80 % in every layer it takes within 1 point ({reached})", _is_near(zeros, 0.8)))
    return found


def _zeros_of_pruned(pruned: RunResult) -> list[float]:
    """Share of zeros in the file, of each layer that pruning took; which these are, it says itself."""
    assert pruned.sparsity
    assert pruned.tflite
    counts = {layer.weights for layer in pruned.sparsity.layers if not layer.why_dense}
    return [weight.zeros / weight.count for weight in pruned.tflite.weights if weight.count in counts]


def _is_near(shares: list[float], wanted: float) -> bool:
    return bool(shares) and all(abs(share - wanted) <= 0.01 for share in shares)


def applications_table(found: Mapping[str, dict[str, Any]]) -> str:
    """A line a network: for each technique, yes or the number of the reason; the reasons follow."""
    keys = list(next(iter(found.values()))["eligibility"])
    reasons: dict[str, int] = {}
    lines = []
    for name, each in found.items():
        told = [_in_words(each["eligibility"][key], reasons) for key in keys]
        size = f"{SIDES[name]} x {SIDES[name]}"
        lines.append([name, size, f"{each['parameters'] / 1e6:.1f} M", _KERAS[each["api"]], *told])
    head = ("network", "images", "parameters", "works in", *(TECHNIQUES[key].title for key in keys))
    return "\n".join(
        [
            f"Random weights, 10 classes; {_versions()}; {datetime.date.today():%d %B %Y}.",
            "",
            table(head, lines),
            "",
            *(f"{number}. {reason}" for reason, number in reasons.items()),
        ]
    )


_KERAS = {"tf_keras": "Keras 2", "keras": "Keras 3"}


def _in_words(reason: str, reasons: dict[str, int]) -> str:
    return f"no ({reasons.setdefault(reason, len(reasons) + 1)})" if reason else "yes"


def _versions() -> str:
    """Of the libraries that did the work, in both environments."""
    theirs = ("tensorflow", "tf-keras", "tensorflow-model-optimization")
    ours = ("ai-edge-litert", "litert-quantizer", "openvino")
    return ", ".join((*_installed(str(TENSORFLOW.python), theirs), *_installed(sys.executable, ours)))


def _installed(python: str, packages: tuple[str, ...]) -> list[str]:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]), sep='\\n')"
    told = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True).stdout.split()
    return [f"{package} {version}" for package, version in zip(packages, told, strict=True)]


def measure(options: argparse.Namespace, found: Found) -> int:
    """Make and measure what is missing; 0 where all claims hold."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, recipe in rows().items():
            if name not in found and fnmatchcase(name, options.only):
                reason = why_refused(recipe)
                found[name] = {"reason": reason} if reason else in_process_of_its_own(MODULE, name, scratch)
                options.json.write_text(json.dumps(found))
                print(name, found[name].get("reason") or f"took {found[name]['seconds']:.0f} s", flush=True)
    _write(options, table_of({name: found[name] for name in rows() if name in found}), VARIANTS)
    return int(not all(holds for _, holds in claims(results(found))))


def try_applications(options: argparse.Namespace, found: Found) -> int:
    """Try what is missing; 0 where every network could be tried."""
    for name, side in SIDES.items():
        if name not in found and fnmatchcase(name, options.only):
            began = time.monotonic()
            steps = ask(TENSORFLOW, "benchmarks.keras_applications:eligibility", {"name": name, "side": side})
            found[name] = result_of(steps)
            options.json.write_text(json.dumps(found))
            print(name, f"took {time.monotonic() - began:.0f} s", flush=True)
    _write(options, applications_table({name: found[name] for name in SIDES if name in found}), APPLICATIONS)
    return 0


def _write(options: argparse.Namespace, text: str, markers: tuple[str, str]) -> None:
    print(text)
    if options.only == "*":
        write_between_markers(options.markdown, text, *markers)


def main() -> int:
    """Carry out what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="row with wildcards; the document is then left as it is")
    parser.add_argument("--applications", action="store_true", help="the table of keras.applications instead")
    parser.add_argument("--json", type=Path, help="where finished rows are kept")
    parser.add_argument("--markdown", type=Path, default=DOCUMENT, help="the file with the markers")
    parser.add_argument("--row", nargs=2, metavar=("ROW", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(carry_out(rows()[options.row[0]], Path(options.row[1]))))
        return 0
    kind = "applications" if options.applications else "variants"
    options.json = options.json or Path(tempfile.gettempdir()) / f"tensorflow-{kind}.json"
    found: Found = json.loads(options.json.read_text()) if options.json.exists() else {}
    return try_applications(options, found) if options.applications else measure(options, found)


if __name__ == "__main__":
    sys.exit(main())
