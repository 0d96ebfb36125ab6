"""How fast each runtime serves the same network: `python -m benchmarks.runtimes [--threads 1] [--json FILE]`.

Every row is a network exported for one runtime and served by a process of its own. In each round every process times a
short block, in random order, while the others sleep; a row's speed-up is the median over rounds of eager PyTorch's time
over its own, with a bootstrap interval that draws starts and rounds within them. What this processor attains is probed
in the same run, by `experiments.peaks` in a folder of its own. Eager PyTorch is the network as a person has it,
contiguous in memory; the studio's own PyTorch runtime is a row as well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recipes import table
from core.bundle import ModelBundle, Precision, Situation
from core.data import DataSplits, InputContract
from core.devices import Device, find_device
from core.errors import StudioError
from core.macs import count_macs
from core.progress import result_of
from experiments.companions import write_companions
from experiments.peaks import peaks_for
from experiments.server import ServedArtifact
from optimizers import TECHNIQUES, Context
from profiling.machine import conditions
from profiling.statistics import median_interval
from runtimes import RUNTIMES, Artifact, with_settings
from sample_models import load

EAGER = "PyTorch, contiguous"
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")


@dataclass(frozen=True)
class Row:
    """One way to serve a network."""

    title: str
    runtime: str
    engine: dict[str, Any]
    technique: tuple[str, dict[str, Any]] | None = None

    @property
    def precision(self) -> Precision:
        """What it multiplies."""
        key, settings = self.technique or ("", {})
        return "int8" if key == "int8" else settings.get("precision", "fp32")


BF16: tuple[str, dict[str, Any]] = ("mixed_precision", {"precision": "bf16"})
INT8: tuple[str, dict[str, Any]] = ("int8", {"calibration_images": 64})
ROWS = (
    Row(EAGER, "pytorch", {"layout": "contiguous"}),
    Row("PyTorch, channels last", "pytorch", {}),
    Row("PyTorch BF16", "pytorch", {}, BF16),
    Row("torch.compile", "torch_compile", {}),
    Row("torch.compile BF16", "torch_compile", {}, BF16),
    Row("torch.compile INT8", "torch_compile", {}, INT8),
    Row("AOTInductor", "aotinductor", {}),
    Row("AOTInductor BF16", "aotinductor", {}, BF16),
    Row("ONNX Runtime", "onnxruntime", {}),
    Row("ONNX Runtime INT8", "onnxruntime", {}, INT8),
    Row("OpenVINO", "openvino", {}),
    Row("OpenVINO BF16", "openvino", {}, BF16),
    Row("OpenVINO INT8", "openvino", {}, INT8),
)
CASES = (("resnet18", 8), ("resnet20", 1), ("resnet20", 8), ("resnet_fmnist", 1), ("resnet_fmnist", 8))
TARGETS = (
    ("resnet18", 8, "OpenVINO INT8", 5.0),
    ("resnet18", 8, "ONNX Runtime INT8", 4.0),
    ("resnet20", 1, "OpenVINO INT8", 10.0),
)
SHARE_OF_PEAK = 0.85
"""Of the probed INT8 rate, that OpenVINO INT8 has to reach on resnet18."""


def main() -> int:
    """Measure, print, write; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=24, help="in all, over the starts")
    parser.add_argument("--starts", type=int, default=3, help="how often all processes start anew")
    parser.add_argument("--block-ms", type=float, default=200)
    parser.add_argument("--networks", nargs="*", default=[name for name, _ in CASES])
    parser.add_argument("--json", type=Path, help="where to write every figure")
    parser.add_argument("--markdown", type=Path, help="where to write the tables")
    options = parser.parse_args()
    device = find_device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STUDIO_DATA"] = folder  # so that the peaks are probed now
        measured = list(_cases(options, device, Path(folder)))
        peaks = result_of(peaks_for("openvino", device, threads=options.threads, precisions=PRECISIONS))
    record = {
        "conditions": conditions(device, threads=options.threads, seed=0).model_dump(mode="json"),
        "peaks": peaks.model_dump(mode="json"),
        "cases": measured,
    }
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    text = _report(record)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    return 0 if all(met for *_, met in _judged(record)) else 1


def _cases(options: argparse.Namespace, device: Device, folder: Path) -> Iterator[dict[str, Any]]:
    made: dict[str, tuple[dict[str, Artifact], dict[str, str], int]] = {}
    for network, batch in CASES:
        if network not in options.networks:
            continue
        if network not in made:
            bundle = _bundle(network)
            print(f"{network}: exporting", flush=True)
            made[network] = (*_export(bundle, device, folder / network), count_macs(bundle.module, bundle.contract))
        artifacts, refusals, macs = made[network]
        print(f"{network}, batch {batch}: timing", flush=True)
        rounds = list(_rounds(artifacts, device, batch, options))
        yield {"network": network, "batch": batch, "macs": macs, "refusals": refusals, "rounds": rounds}


def _bundle(network: str) -> ModelBundle:
    """A bundled sample, or an architecture with drawn weights, which are as fast as trained ones."""
    if network == "resnet_fmnist":
        return load(network)
    import torch

    torch.manual_seed(0)
    if network == "resnet20":
        sample = load("resnet_fmnist")
        return replace(sample, network=_resnet20(sample.contract).eval())
    import torchvision

    photographs = load("efficientnet_lite0")
    few = photographs.data.calibrate if len(photographs.data.calibrate) else photographs.data.test
    data = DataSplits(few.take(0), few, photographs.data.test)
    return replace(photographs, key=network, network=torchvision.models.get_model(network).eval(), data=data)


def _resnet20(contract: InputContract) -> Any:
    """The network of He and others (2015, section 4.2) for small images, 20 layers deep."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock

    def stage(before: int, width: int, stride: int) -> nn.Sequential:
        down = (
            None
            if stride == 1
            else nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )
        blocks = [BasicBlock(before, width, stride, down), BasicBlock(width, width), BasicBlock(width, width)]
        return nn.Sequential(*blocks)

    stem = (nn.Conv2d(contract.channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    stages = (stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2))
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(contract.labels)))


def _export(bundle: ModelBundle, device: Device, folder: Path) -> tuple[dict[str, Artifact], dict[str, str]]:
    artifacts, refusals = {}, {}
    for number, row in enumerate(row for row in ROWS if row.runtime in RUNTIMES):
        try:
            artifacts[row.title] = _artifact(row, bundle, device, folder / str(number))
        except StudioError as reason:
            refusals[row.title] = str(reason)
    return artifacts, refusals


def _artifact(row: Row, bundle: ModelBundle, device: Device, folder: Path) -> Artifact:
    kind = type(RUNTIMES[row.runtime].settings)
    runtime = with_settings(RUNTIMES[row.runtime], kind.model_validate(row.engine))
    (scratch := folder / "scratch").mkdir(parents=True)
    situation = Situation(bundle.family, len(bundle.data.train), len(bundle.contract.labels), device, row.runtime)
    if row.technique:
        key, settings = row.technique
        technique = TECHNIQUES[key].model_validate(settings)
        situation = technique.check(situation)
        context = Context(device, 1, 0, scratch, _no_student, runtime=row.runtime)
        bundle = result_of(technique.apply(bundle, context))
    runtime.check(situation)
    artifact = runtime.export(bundle, folder)
    write_companions(bundle, folder)
    return artifact


def _no_student(key: str) -> Any:
    raise AssertionError(f"nothing here is distilled, so that {key} is not asked for")


def _rounds(
    artifacts: dict[str, Artifact], device: Device, batch: int, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Milliseconds by row, round after round; every process is fresh in each start."""
    order = random.Random(0)
    for start in range(options.starts):
        with ExitStack() as stack:
            served = {}
            for title, artifact in artifacts.items():
                server = ServedArtifact(artifact, device, threads=options.threads, batch_size=batch)
                served[title] = stack.enter_context(server)
                served[title].opened()  # one after the other: some compile with every core
            for _ in range(-(-options.rounds // options.starts)):
                blocks = {
                    title: served[title].block(options.block_ms) for title in order.sample(list(served), len(served))
                }
                yield {"start": start, **{title: float(np.median(block.calls_ms)) for title, block in blocks.items()}}


def _speedup(case: dict[str, Any], title: str) -> tuple[float, float, float]:
    """Of a row against eager PyTorch, with its 95 % interval."""
    starts = sorted({each["start"] for each in case["rounds"]})
    logs = [
        [float(np.log(each[EAGER] / each[title])) for each in case["rounds"] if each["start"] == start]
        for start in starts
    ]
    low, high = median_interval(logs, seed=0)
    return float(np.exp(np.median(np.concatenate(logs)))), float(np.exp(low)), float(np.exp(high))


def _median_ms(case: dict[str, Any], title: str) -> float:
    return float(np.median([each[title] for each in case["rounds"]]))


def _share_of_peak(record: dict[str, Any], case: dict[str, Any], row: Row) -> float | None:
    """Multiply-accumulates per second over what the probe attained in that precision."""
    peak = record["peaks"]["macs_per_s"].get(row.precision)
    rate = case["macs"] * case["batch"] / (_median_ms(case, row.title) / 1000)
    return rate / peak if peak else None


def _judged(record: dict[str, Any]) -> list[tuple[str, str, float, bool]]:
    """Each target that was measured: in words, the wanted value, what was found, and whether it is met."""
    judged = []
    for case in record["cases"]:
        for network, batch, title, wanted in TARGETS:
            if (case["network"], case["batch"]) == (network, batch) and title in case["rounds"][0]:
                found, *_ = _speedup(case, title)
                judged.append((f"{title}, {network}, batch {batch}", f"{wanted:g}x", found, found >= wanted))
        if case["network"] == "resnet18" and "OpenVINO INT8" in case["rounds"][0]:
            row = next(row for row in ROWS if row.title == "OpenVINO INT8")
            share = _share_of_peak(record, case, row) or 0.0
            words = "OpenVINO INT8, resnet18, share of the probed INT8 peak"
            judged.append((words, f"{SHARE_OF_PEAK:.0%}", share, share >= SHARE_OF_PEAK))
    return judged


def _report(record: dict[str, Any]) -> str:
    here = record["conditions"]
    rates = ", ".join(f"{precision} {rate / 1e9:.0f}" for precision, rate in record["peaks"]["macs_per_s"].items())
    parts = [
        f"{here['device_name']}, {here['threads']} thread(s), commit {(here['commit'] or 'unknown')[:7]}, "
        f"{str(here['date'])[:10]}. Probed in the same run with OpenVINO, in GMAC/s: {rates}."
    ]
    for case in record["cases"]:
        parts += [f"### {case['network']}, batch {case['batch']}", _table(record, case)]
        parts += ["\n".join(f"- {title}: {reason}" for title, reason in case["refusals"].items())]
    head = ("target", "wanted", "found", "met")
    lines = [[words, wanted, f"{found:.2f}", "yes" if met else "no"] for words, wanted, found, met in _judged(record)]
    return "\n\n".join([part for part in parts if part] + [table(head, lines)]) + "\n"


def _table(record: dict[str, Any], case: dict[str, Any]) -> str:
    head = ("runtime", "ms", "times as fast as eager", "95 % interval", "of the peak in its precision")
    return table(head, [_line(record, case, row) for row in ROWS if row.title in case["rounds"][0]])


def _line(record: dict[str, Any], case: dict[str, Any], row: Row) -> list[str]:
    value, low, high = _speedup(case, row.title)
    share = _share_of_peak(record, case, row)
    return [
        row.title,
        f"{_median_ms(case, row.title):.2f}",
        f"{value:.2f}x",
        f"{low:.2f} to {high:.2f}",
        "" if share is None else f"{share:.0%}",
    ]


if __name__ == "__main__":
    sys.exit(main())
