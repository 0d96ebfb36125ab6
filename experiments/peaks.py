"""What this device attains when a network gives it plenty to do: the yardstick of `experiments.why`.

A probe of wide convolutions goes the way every variant goes (technique, export, open, timed calls), once for each
precision; so its figures hold the engine and the hardware as they are, not as a datasheet has them. They are kept in
the data folder until the device, the threads or a library changes; those of a profile are kept in the profile alone.

A rate is that of the probe's fastest call, since what is attainable is a maximum: whatever else the machine does can
only hide it. Layers have the time of a typical call, so `experiments.roofline` allows for the difference.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from core.bundle import Form, ModelBundle, Precision, Situation, TfliteModel
from core.data import DataSplits, InputContract, Split
from core.devices import Device
from core.errors import CannotCompose
from core.folders import data_folder
from core.layers import Layer
from core.progress import Progress, Steps, result_of
from experiments.tflite_probe import probe_file
from optimizers import TECHNIQUES, Context, Technique
from profiling.machine import conditions
from runtimes import RUNTIMES, Aids
from runtimes.torch_session import torch_threads

if TYPE_CHECKING:
    from torch import nn

CHANNELS, SIDE, LAYERS = 128, 28, 4
"""Of the probe: 3x3 convolutions, wide enough for every vector unit and matrix core."""
BATCHES = {"cpu": 1, "cuda": 256}
FEWEST_CALLS, LONGEST_SECONDS = 5, 0.7
WORKING_SETS = {
    "cpu": (256 * 2**10, 4 * 2**20, 64 * 2**20),
    "cuda": (4 * 2**20, 64 * 2**20, 512 * 2**20),
}
"""Bytes read and written together: of each cache level, and of memory."""
_SAME_KERNELS = {"torch_compile": "pytorch", "aotinductor": "pytorch"}
"""Their convolutions and matrix products are PyTorch's own, and they would compile the probe for minutes."""

LITERT = "litert"
_ENGINES = {("pytorch", "int8"): "torch_compile"}
"""Where the probe runs in another engine: PyTorch's INT8 convolutions exist only compiled."""

_MEANING = 2
"""Raised when a rate begins to mean something else, so that none is taken for what it is not."""


class Peaks(BaseModel):
    """Rates that one engine reaches on one device when it is well fed."""

    model_config = ConfigDict(frozen=True)

    runtime: str
    """Key of the runtime that was probed."""
    device: str
    """Its name."""
    threads: int
    libraries: dict[str, str]
    macs_per_s: dict[str, float]
    """By precision; one that the runtime does not compute in is missing. `tf32` where PyTorch's convolutions use it and
    its matrix products do not: `fp32` is then float32 without it."""
    bandwidth: tuple[tuple[int, float], ...]
    """(working set in bytes, bytes read and written per second), smallest first."""
    lanes: tuple[int, int] = (1, 1)
    """Widths of a layer's inputs and outputs are computed in multiples of these: vectors on a CPU, tiles on a GPU."""

    def bytes_per_s(self, working_set: int) -> float:
        """Between the probed sizes on a logarithmic scale; beyond them as at the nearest."""
        sizes, rates = zip(*self.bandwidth, strict=True)
        return float(np.interp(np.log(max(1, working_set)), np.log(sizes), rates))

    def rate(self, precision: str, layers: Sequence[Layer] = ()) -> float | None:
        """Multiply-accumulates per second in a precision; None where it was not probed.

        In FP32 it is the rate at which these layers' multiplications are attained, some in TF32 where PyTorch uses it.
        """
        plain, tf32 = self.macs_per_s.get(precision), self.macs_per_s.get("tf32")
        in_fp32, in_tf32 = (sum(each.macs for each in layers if each.precision == name) for name in ("fp32", "tf32"))
        if precision != "fp32" or not plain or not tf32 or not in_tf32:
            return plain
        return (in_fp32 + in_tf32) / (in_fp32 / plain + in_tf32 / tf32)


_PROBED: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
"""Weights in few bits are multiplied in one of these; what only some GPUs compute is not probed."""


def peaks_for(
    runtime: str, device: Device, *, threads: int, precisions: Sequence[Precision], anew: bool = False
) -> Steps[Peaks]:
    """The rates in these precisions; what was never probed under these conditions is probed now, a few seconds each.

    `anew` probes all of them now, whatever is known, and leaves what is known as it is: a busy minute does not replace
    what runs are explained with.
    """
    runtime = _SAME_KERNELS.get(runtime, runtime)
    known = _empty(runtime, device, threads)
    path = _path(known)
    known = known if anew else _read(path) or known
    missing = [each for each in _wanted(runtime, device, precisions) if each not in known.macs_per_s]
    if not missing and known.bandwidth:
        return known
    total = len(missing) + 1
    rates = dict(known.macs_per_s)
    for done, precision in enumerate(missing):
        yield Progress(
            done=done, total=total, unit="probes", doing=f"probing what {device.name} attains in {precision}"
        )
        rates[precision] = _macs_per_s(runtime, device, threads, precision)
    yield Progress(done=total - 1, total=total, unit="probes", doing="probing memory bandwidth")
    bandwidth = known.bandwidth or tuple(_bandwidth(device, threads))
    peaks = known.model_copy(update={"macs_per_s": rates, "bandwidth": bandwidth})
    if not anew:
        _write(path, peaks)
    return peaks


def _empty(runtime: str, device: Device, threads: int) -> Peaks:
    here = conditions(device, threads=threads, seed=0)
    driver = {"driver": here.gpu_driver} if here.gpu_driver else {}
    return Peaks(
        runtime=runtime,
        device=device.name,
        threads=threads,
        libraries=here.libraries | driver,
        macs_per_s={},
        bandwidth=(),
        lanes=_lanes(device),
    )


def _lanes(device: Device) -> tuple[int, int]:
    """CPU kernels compute a vector of output channels at once; matrix cores want multiples of 8 on both sides."""
    if device.kind == "cuda":
        return 8, 8
    return (1, 16) if "avx512f" in device.cpu_flags else (1, 8) if "avx2" in device.cpu_flags else (1, 4)


def _path(conditions_only: Peaks) -> Path:
    content = json.dumps({"meaning": _MEANING, **conditions_only.model_dump(mode="json")}, sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return data_folder() / "peaks" / f"{conditions_only.runtime}-{digest}.json"


def _read(path: Path) -> Peaks | None:
    try:
        return Peaks.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):  # never probed, or by another version of this program
        return None


def _write(path: Path, peaks: Peaks) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(peaks.model_dump_json(indent=1))
    Path(file.name).replace(path)


def _wanted(runtime: str, device: Device, precisions: Sequence[Precision]) -> list[str]:
    """What can be probed; with FP32 also TF32, where PyTorch convolves in it."""
    possible = [precision for precision in dict.fromkeys(precisions) if _is_possible(runtime, device, precision)]
    has_tf32 = runtime == "pytorch" and (device.compute_capability or (0, 0)) >= (8, 0)
    return ["tf32", *possible] if has_tf32 and "fp32" in possible else [*possible]


def _is_possible(runtime: str, device: Device, precision: Precision) -> bool:
    if precision not in _PROBED:
        return False
    runtime = _ENGINES.get((runtime, precision), runtime)
    form: Form = "tflite" if runtime == LITERT else "torch"
    situation = Situation("cnn", 0, CHANNELS, device, runtime, form, brought_as=form)
    try:
        if technique := _technique(precision, runtime):
            situation = technique.check(situation)
        RUNTIMES[runtime].check(situation)
    except CannotCompose:
        return False
    return RUNTIMES[runtime].why_unavailable(device) is None


def _technique(precision: str, runtime: str) -> Technique | None:
    if precision in ("fp32", "tf32"):
        return None
    if precision == "int8" and runtime == LITERT:
        return TECHNIQUES["litert_quantization"].model_validate({"scheme": "static_int8", "calibration_images": 16})
    if precision == "int8":
        return TECHNIQUES["int8"].model_validate({"calibration_images": 16})
    return TECHNIQUES["mixed_precision"].model_validate({"precision": precision})


def _macs_per_s(runtime: str, device: Device, threads: int, precision: str) -> float:
    """Of the probe's fastest call: what else the machine does can only make one slower."""
    from core.macs import count_macs

    batch = BATCHES[device.kind]
    runtime = _ENGINES.get((runtime, precision), runtime)
    with tempfile.TemporaryDirectory() as scratch, _convolving(in_tf32=precision != "fp32"):
        folders = Path(scratch, "scratch"), Path(scratch, "artifact")
        for folder in folders:
            folder.mkdir()
        bundle = _probe()
        macs = batch * count_macs(bundle.module, bundle.contract)
        if runtime == LITERT:
            bundle = replace(bundle, network=TfliteModel(_as_tflite(bundle)))
        if technique := _technique(precision, runtime):
            context = Context(device, threads, 0, folders[0], _no_student, runtime=runtime)
            bundle = result_of(technique.apply(bundle, context))
        artifact = RUNTIMES[runtime].export(bundle, folders[1], Aids(device))
        with RUNTIMES[runtime].open(artifact, device, threads=threads) as session:
            x = bundle.contract.prepare(np.resize(bundle.data.test.pixels, (batch, *bundle.contract.shape)))
            return macs / _fastest_s(session.bind(x))


@contextmanager
def _convolving(*, in_tf32: bool) -> Iterator[None]:
    """Whether cuDNN may convolve float32 in TF32, as it does unless it is told not to; afterwards as before."""
    import torch

    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=in_tf32
    ):
        yield


def _no_student(key: str) -> nn.Module:
    raise AssertionError(f"the probe's techniques build no network, not {key} either")


def _probe() -> ModelBundle:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()) for _ in range(LAYERS)]
    network = nn.Sequential(*(part for layer in layers for part in layer), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    contract = InputContract(CHANNELS, SIDE, SIDE, (128.0,) * CHANNELS, (64.0,) * CHANNELS, ("",) * CHANNELS)
    pixels = np.random.default_rng(0).integers(0, 256, (16, CHANNELS, SIDE, SIDE), np.uint8)
    split = Split(pixels, np.zeros((16, 1), np.int64))
    return ModelBundle("probe", "cnn", network.eval(), contract, DataSplits(split.take(0), split, split))


def _as_tflite(probe: ModelBundle) -> bytes:
    """The same convolutions for LiteRT, without LiteRT Torch, which is seldom there."""
    from torch import nn

    layers = [layer for layer in probe.module.modules() if isinstance(layer, nn.Conv2d)]
    kernels = [layer.weight.detach().permute(0, 2, 3, 1).numpy() for layer in layers]
    biases = [layer.bias.detach().numpy() for layer in layers if layer.bias is not None]
    return probe_file(kernels, biases, SIDE)


def _fastest_s(work: Callable[[], object]) -> float:
    """After one call to warm up, of five calls at least and as many as 0.7 s hold."""
    work()
    times: list[float] = []
    end = time.perf_counter() + LONGEST_SECONDS
    while len(times) < FEWEST_CALLS or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _bandwidth(device: Device, threads: int) -> Iterator[tuple[int, float]]:
    import torch

    with torch_threads(threads):
        for size in WORKING_SETS[device.kind]:
            source = torch.ones(size // 8, device=device.id)
            target = torch.empty_like(source)
            repeats = max(1, 2**24 // size)

            def copy(source: torch.Tensor = source, target: torch.Tensor = target, repeats: int = repeats) -> None:
                for _ in range(repeats):
                    target.copy_(source)
                if target.is_cuda:
                    torch.cuda.synchronize(target.device)

            yield size, size * repeats / _fastest_s(copy)
