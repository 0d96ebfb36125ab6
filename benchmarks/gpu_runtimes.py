"""PyTorch on a GPU, way by way and precision by precision: `python -m benchmarks.gpu_runtimes [--json FILE]`.

resnet50 and vit_b_16 of torchvision with drawn weights, served eagerly, compiled and as a replayed CUDA graph, at batch
sizes 1, 32 and 256. Each row goes the way of every variant (technique, export, open, timed calls) in a process of its
own; a row that cannot run says why. `of the roofline` is the time that the arithmetic, or moving weights and images
once, would take at the rates that this very process probes with plain products and copies, over the time it took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.recipes import table
from core.bundle import ModelBundle, Situation
from core.data import DataSplits, InputContract, Split
from core.devices import Device, find_device
from core.errors import StudioError, Unavailable
from core.macs import count_macs
from core.progress import result_of
from optimizers import TECHNIQUES, Context, Technique
from profiling.machine import conditions
from runtimes import RUNTIMES

WAYS = ("eager", "compile", "CUDA graph")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8")
NETWORKS = {"resnet50": "cnn", "vit_b_16": "transformer"}
BATCHES = (1, 32, 256)
SECONDS = 1.0
FEWEST_CALLS = 10
SIDE = {"cuda": 8192, "cpu": 512}
"""Of the square matrices whose product is the yardstick."""
COPIED = {"cuda": 2**30, "cpu": 2**26}
"""Bytes read, and as many written, by the copy that is the other one."""
TECHNIQUE: dict[str, tuple[str, dict[str, Any]]] = {
    "bf16": ("mixed_precision", {"precision": "bf16"}),
    "fp16": ("mixed_precision", {"precision": "fp16"}),
    "fp8": ("fp8", {"number_format": "fp8"}),
    "int8": ("weight_only", {"bits": 8, "activations": "dynamic"}),
}


def main() -> int:
    """Measure what the file of results lacks, and print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS))
    parser.add_argument("--batches", nargs="*", type=int, default=list(BATCHES))
    parser.add_argument("--json", type=Path, default=Path("gpu_runtimes.json"))
    parser.add_argument("--row", nargs=3, metavar=("NETWORK", "WAY", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = find_device(options.device)
    if options.row:
        print(json.dumps(_measure(*options.row, device, options.batches)))
        return 0
    record = json.loads(options.json.read_text()) if options.json.exists() else {"rows": {}}
    record["conditions"] = conditions(device, threads=1, seed=0).model_dump(mode="json")
    for row in product(options.networks, WAYS, options.precisions):
        if "/".join(row) not in record["rows"]:
            record["rows"]["/".join(row)] = _in_a_process(row, options)
            options.json.write_text(json.dumps(record, indent=1))
            print("/".join(row), record["rows"]["/".join(row)], flush=True)
    print(_report(record))
    return 0


def _in_a_process(row: tuple[str, str, str], options: argparse.Namespace) -> dict[str, Any]:
    batches = [str(batch) for batch in options.batches]
    command = [sys.executable, "-m", "benchmarks.gpu_runtimes", "--device", options.device, "--batches", *batches]
    done = subprocess.run([*command, "--row", *row], capture_output=True, text=True)
    if done.returncode:
        return {"reason": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _measure(network: str, way: str, precision: str, device: Device, batches: list[int]) -> dict[str, Any]:
    """Milliseconds and share of the roofline by batch size, with the rates probed; or the reason why not."""
    _set_tf32(precision)
    with tempfile.TemporaryDirectory() as folder:
        bundle = _bundle(network)
        macs = count_macs(bundle.module, bundle.contract)
        weights = 4 * sum(parameter.numel() for parameter in bundle.module.parameters())
        try:
            times = _times(bundle, way, precision, device, batches, Path(folder))
        except StudioError as reason:
            return {"reason": str(reason)}
        rates = {"macs_per_s": _macs_per_s(precision, device), "bytes_per_s": _bytes_per_s(device)}
    image = 4 * int(np.prod(bundle.contract.shape))
    for batch, found in times.items():
        moved = weights * _bytes_of(precision) / 4 + int(batch) * image
        ideal_ms = 1000 * max(int(batch) * macs / rates["macs_per_s"], moved / rates["bytes_per_s"])
        found["of_roofline"] = ideal_ms / found["ms"]
    return {"macs": macs, **rates, "batches": times}


def _times(
    bundle: ModelBundle, way: str, precision: str, device: Device, batches: list[int], folder: Path
) -> dict[str, dict[str, Any]]:
    runtime = RUNTIMES["torch_compile" if way == "compile" else "pytorch"]
    if reason := runtime.why_unavailable(device):
        raise Unavailable(reason)
    situation = Situation(bundle.family, 0, len(bundle.contract.labels), device, runtime.key)
    if precision in TECHNIQUE:
        key, settings = TECHNIQUE[precision]
        technique: Technique = TECHNIQUES[key].model_validate(settings)
        situation = technique.check(situation)
        (folder / "scratch").mkdir()
        context = Context(device, 1, 0, folder / "scratch", _no_student, runtime=runtime.key)
        bundle = result_of(technique.apply(bundle, context))
        _require_most_layers(bundle, precision)
    runtime.check(situation)
    artifact = runtime.export(bundle, folder)
    pixels = bundle.data.test.pixels
    times = {}
    with runtime.open(artifact, device, threads=1) as session:
        for batch in batches:
            x = bundle.contract.prepare(np.resize(pixels, (batch, *bundle.contract.shape)))
            bind: Callable[..., Callable[[], None]] = session.bind
            if way == "CUDA graph":
                bind = session.bind_graph  # type: ignore[attr-defined]
            calls_ms = _calls_ms(bind(x))
            times[str(batch)] = {"ms": median(calls_ms), "p95_ms": float(np.percentile(calls_ms, 95))}
    return times


def _require_most_layers(bundle: ModelBundle, precision: str) -> None:
    """PyTorch's 8-bit kernels for GPUs are matrix products; a network of convolutions would stay as it is."""
    layers = bundle.quantization.layers if bundle.quantization else ()
    small = [layer for layer in layers if layer.bits <= 8]
    if layers and 2 * len(small) < len(layers):
        raise Unavailable(f"PyTorch has {precision} for linear layers only: {len(small)} of {len(layers)} layers here")


def _no_student(key: str) -> Any:
    raise AssertionError(f"nothing here is distilled, so that {key} is not asked for")


def _bundle(network: str) -> ModelBundle:
    import torch
    import torchvision

    torch.manual_seed(0)
    contract = InputContract(3, 224, 224, (124.0, 116.0, 104.0), (58.0, 57.0, 57.0), tuple(map(str, range(1000))))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 3, 224, 224), np.uint8)
    split = Split(pixels, np.zeros((64, 1), np.int64))
    module = torchvision.models.get_model(network).eval()
    return ModelBundle(network, NETWORKS.get(network, "cnn"), module, contract, DataSplits(split.take(0), split, split))  # type: ignore[arg-type]


def _set_tf32(precision: str) -> None:
    """For this process: FP32 in all its bits, or with products in TF32."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"


def _bytes_of(precision: str) -> int:
    return {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}.get(precision, 1)


def _calls_ms(infer: Callable[[], None]) -> list[float]:
    """Each call of a second, and ten at least, after three to warm up."""
    for _ in range(3):
        infer()
    calls_ms: list[float] = []
    while sum(calls_ms) < 1000 * SECONDS or len(calls_ms) < FEWEST_CALLS:
        began = time.perf_counter()
        infer()
        calls_ms.append(1000 * (time.perf_counter() - began))
    return calls_ms


def _macs_per_s(precision: str, device: Device) -> float:
    """Of the fastest product of two large square matrices."""
    import torch

    side = SIDE[device.kind]
    multiply = _product(precision, side, device.id)

    def work() -> None:
        multiply()
        if device.kind == "cuda":
            torch.cuda.synchronize(device.id)

    return float(side**3 / (min(_calls_ms(work)) / 1000))


def _product(precision: str, side: int, place: str) -> Callable[[], object]:
    import torch

    if precision == "int8":
        a, b = (torch.randint(-128, 127, (side, side), dtype=torch.int8, device=place) for _ in range(2))
        return lambda: torch._int_mm(a, b)
    if precision == "fp8":
        a, b = (torch.randn(side, side, device=place).to(torch.float8_e4m3fn) for _ in range(2))
        one = torch.ones((), device=place)
        return lambda: torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    a, b = (torch.randn(side, side, device=place, dtype=kind) for _ in range(2))
    return lambda: torch.mm(a, b)


def _bytes_per_s(device: Device) -> float:
    import torch

    source = torch.ones(COPIED[device.kind] // 4, device=device.id)
    target = torch.empty_like(source)

    def work() -> None:
        target.copy_(source)
        if device.kind == "cuda":
            torch.cuda.synchronize(device.id)

    return 2 * COPIED[device.kind] / (min(_calls_ms(work)) / 1000)


def _report(record: dict[str, Any]) -> str:
    here = record["conditions"]
    title = f"{here['device_name']}, driver {here['gpu_driver']}, torch {here['libraries'].get('torch')}, "
    title += f"commit {(here['commit'] or 'unknown')[:7]}, {str(here['date'])[:10]}"
    lines = []
    for name, found in record["rows"].items():
        if "reason" in found:
            lines.append([*name.split("/"), "", "", found["reason"]])
        for batch, each in found.get("batches", {}).items():
            lines.append([*name.split("/"), batch, f"{each['ms']:.3f}", f"{each['of_roofline']:.0%}"])
    return f"{title}\n\n" + table(("network", "way", "precision", "batch", "p50 ms", "of the roofline"), lines)


if __name__ == "__main__":
    sys.exit(main())
