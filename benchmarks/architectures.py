"""Structured pruning of networks it has never seen: `python -m benchmarks.architectures [--only NAME] [--markdown F]`.

Every architecture of torchvision and timm below gets random weights, loses 30 % of its channels as a recipe would have
it, is exported to ONNX and run in ONNX Runtime, in a process of its own. What it answers is compared with the pruned
torch module, and with the original in which the channels that went are silenced. The table is written between the
markers of the Markdown file.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import platform
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn
from torchvision.models import get_model

from benchmarks.silenced import make_unlike, silenced
from core.bundle import ModelBundle
from core.data import DataSplits, InputContract, Split
from core.devices import find_device
from core.macs import count_macs
from optimizers.pruning.channels import Cut, narrowed, rank
from runtimes.onnxruntime_ import OnnxRuntime, OnnxRuntimeSettings

CUT = Cut(ratio=0.3, importance="l2", everywhere_alike=True, round_to=8)
IMAGES, CLASSES = 4, 10
TOLERANCE = 1e-3
"""Largest difference that still counts as the same answer, of the largest answer."""
TORCHVISION = {
    "alexnet": 64,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_large": 64,
    "mobilenet_v3_small": 64,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vit_b_16": 64,
}
"""Side of the square input of each, in pixels."""
TIMM = {
    "caformer_s18": 64,
    "cait_xxs24_224": 64,
    "convnext_atto": 64,
    "convnextv2_atto": 64,
    "cspresnet50": 64,
    "deit_tiny_patch16_224": 64,
    "edgenext_xx_small": 64,
    "efficientformer_l1": 224,
    "efficientnet_lite0": 64,
    "efficientvit_b0": 64,
    "ese_vovnet19b_dw": 64,
    "fastvit_t8": 64,
    "ghostnet_100": 64,
    "gmlp_ti16_224": 64,
    "hrnet_w18_small": 64,
    "levit_128s": 224,
    "mixer_s32_224": 64,
    "mixnet_s": 64,
    "mobilenetv4_conv_small": 64,
    "mobileone_s0": 64,
    "mobilevit_xxs": 64,
    "poolformer_s12": 64,
    "pvt_v2_b0": 64,
    "regnety_002": 64,
    "repvgg_a0": 64,
    "res2net50_26w_4s": 64,
    "resmlp_12_224": 64,
    "resnext26ts": 64,
    "rexnet_100": 64,
    "seresnet18": 64,
    "starnet_s1": 64,
    "swin_tiny_patch4_window7_224": 64,
    "tiny_vit_5m_224": 224,
    "xcit_nano_12_p16_224": 64,
}
HEAD = (
    "| architecture | library | input | parameters | MACs | layers that keep their outputs | ONNX Runtime - PyTorch | "
    "cut - silenced | outcome |",
    "|---|---|---|---|---|---|---|---|---|",
)
BEGIN, END = "<!-- architectures: begin -->", "<!-- architectures: end -->"


@dataclass(frozen=True)
class Row:
    """What came of one architecture; a stage that was not reached leaves its fields at None."""

    name: str
    library: str
    side: int
    parameters: tuple[int, int] | None = None
    macs: tuple[int, int] | None = None
    kept: str = ""
    exported: float | None = None
    """Largest difference between ONNX Runtime and PyTorch, of the largest answer."""
    cut: float | None = None
    """Largest difference between the cut network and the original with the same channels silenced."""
    problem: str = ""
    """Stage and reason, where it did not come through."""
    seconds: float = 0.0

    @property
    def works(self) -> bool:
        """Whether it prunes, exports and runs, and is the network it should be."""
        return not self.problem


def rows() -> list[Row]:
    """Every row, before it is tried."""
    torchvision = [Row(name, "torchvision", side) for name, side in TORCHVISION.items()]
    return torchvision + [Row(name, "timm", side) for name, side in TIMM.items()]


def built(row: Row) -> nn.Module:
    """The untrained network of a row, in eval mode."""
    torch.manual_seed(0)
    if row.library == "torchvision":
        options: dict[str, Any] = {"image_size": row.side} if row.name.startswith("vit") else {}
        if row.name in ("googlenet", "inception_v3"):
            options = {"aux_logits": False, "init_weights": False}
        network = get_model(row.name, weights=None, num_classes=CLASSES, **options)
    else:
        try:
            network = timm.create_model(row.name, pretrained=False, num_classes=CLASSES, img_size=row.side)
        except TypeError:  # Convolutional networks take images of any size.
            network = timm.create_model(row.name, pretrained=False, num_classes=CLASSES)
    make_unlike(network.eval())
    return network


def bundle_of(row: Row, network: nn.Module) -> ModelBundle:
    """The network with noise as its images."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, row.side, row.side), np.uint8)
    split = Split(pixels, np.zeros((IMAGES, 1), np.int64))
    labels = tuple(str(number) for number in range(CLASSES))
    contract = InputContract(3, row.side, row.side, (127.5,) * 3, (60.0,) * 3, labels)
    return ModelBundle(row.name, "cnn", network, contract, DataSplits(split, split, split))


def carry_out(row: Row, tell: Callable[[Row], None]) -> Row:
    """Build, prune, compare, export and run one architecture; what is known so far is told before each stage."""
    tell(replace(row, problem="building"))
    bundle = bundle_of(row, built(row))
    before, x = bundle.module, torch.from_numpy(bundle.contract.prepare(bundle.data.test.pixels))
    tell(replace(row, problem="pruning"))
    ranking = rank(before, bundle, CUT)
    gone = dict(zip(ranking.leads, ranking.removals(CUT.rule), strict=True))
    after = narrowed(before, bundle.contract, CUT, gone)
    row = replace(
        row,
        parameters=(_parameters(before), _parameters(after)),
        macs=(count_macs(before, bundle.contract), count_macs(after, bundle.contract)),
        kept=_kept(ranking.why_kept, before),
    )
    tell(replace(row, problem="running the pruned network"))
    with torch.no_grad():
        answer = after(x).numpy()
        row = replace(row, cut=_difference(silenced(before, after)(x).numpy(), answer))
    tell(replace(row, problem="exporting"))
    with tempfile.TemporaryDirectory() as folder:
        runtime, device = OnnxRuntime(OnnxRuntimeSettings()), find_device("cpu")
        artifact = runtime.export(replace(bundle, network=after), Path(folder))
        tell(replace(row, problem="running in ONNX Runtime"))
        with runtime.open(artifact, device, threads=1) as session:
            row = replace(row, exported=_difference(answer, session.run(x.numpy())))
    return replace(row, problem=_what_is_wrong(row))


def _what_is_wrong(row: Row) -> str:
    assert row.parameters is not None
    assert row.cut is not None
    assert row.exported is not None
    if row.parameters[0] == row.parameters[1]:
        return "pruning: no layer lost a channel"
    if not row.cut <= TOLERANCE:
        return "pruning: the cut network is not the original with these channels silenced"
    return "" if row.exported <= TOLERANCE else "running in ONNX Runtime: it answers something else than PyTorch"


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _difference(wanted: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> float:
    return float(np.abs(wanted - found).max() / np.abs(wanted).max())


def _kept(why_kept: dict[str, str], network: nn.Module) -> str:
    """`5 of 60: 4 x the network counts on the number of its channels`; the output layer needs no reason."""
    layers = sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in network.modules())
    reasons = Counter(re.sub(r"^It is joined to [^:]*: ", "", why).capitalize() for why in why_kept.values())
    told = [f"{count} x {why[:1].lower()}{why[1:]}" for why, count in reasons.most_common() if "classes" not in why]
    return f"{len(why_kept)} of {layers}" + (f": {'; '.join(told)}" if told else "")


def _in_process_of_its_own(row: Row, seconds: float) -> Row:
    """So that a crash or an endless loop costs one row, and no more than these seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(row, theirs))
    began, last = time.monotonic(), row
    process.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, began + seconds - time.monotonic())):
            last = ours.recv()
        last = replace(last, problem=f"{last.problem}: it took longer than {seconds:.0f} s")
    except EOFError:
        process.join()
        if process.exitcode and last.problem:
            last = replace(last, problem=f"{last.problem}: the process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()
    return replace(last, seconds=time.monotonic() - began)


def _answer(row: Row, pipe: Connection) -> None:
    told = [row]

    def tell(now: Row) -> None:
        told.append(now)
        pipe.send(now)

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        pipe.send(carry_out(row, tell))
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        pipe.send(replace(told[-1], problem=f"{told[-1].problem}: {type(error).__name__}: {first[:160]}"))


def table_of(found: list[Row]) -> str:
    """The Markdown table with a summary and the conditions."""
    working = sum(row.works for row in found)
    names = ("torch", "torchvision", "timm", "torch-pruning", "onnxruntime")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return "\n".join(
        [
            f"**{working} of {len(found)} architectures ({100 * working / len(found):.0f} %) prune, export and run.** "
            f"Random weights, {100 * CUT.ratio:.0f} % of the channels by L2 magnitude, "
            f"widths in multiples of {CUT.round_to}; "
            f"{libraries}; Python {platform.python_version()}; one thread of {find_device('cpu').name}; "
            f"{datetime.date.today():%d %B %Y}.",
            "",
            *HEAD,
            *(_line(row) for row in found),
        ]
    )


def _line(row: Row) -> str:
    cells = [
        row.name,
        row.library,
        f"{row.side} x {row.side}",
        _change(row.parameters, 1e6, "M"),
        _change(row.macs, 1e6, "M"),
        row.kept,
        "" if row.exported is None else f"{row.exported:.0e}",
        "" if row.cut is None else f"{row.cut:.0e}",
        row.problem or "prunes, exports, runs",
    ]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _change(pair: tuple[int, int] | None, scale: float, unit: str) -> str:
    if pair is None:
        return ""
    before, after = pair
    return f"{before / scale:.2f} {unit} → {after / scale:.2f} {unit} ({100 * (after / before - 1):+.0f} %)"


def write_between_markers(file: Path, text: str, first: str = BEGIN, last: str = END) -> None:
    """Put the text between the markers of a file. Raises `ValueError` where they are missing."""
    head, begin, rest = file.read_text(encoding="utf-8").partition(first)
    _, end, tail = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"{file} has no {first} and {last}")
    file.write_text(f"{head}{first}\n{text}\n{last}{tail}", encoding="utf-8")


def main() -> int:
    """Try every architecture; 0 when at least 80 % prune, export and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="names, with wildcards")
    parser.add_argument("--seconds", type=float, default=120, help="longer than this, and an architecture is given up")
    parser.add_argument("--markdown", type=Path, help="the file with the markers")
    options = parser.parse_args()
    found = []
    for row in (row for row in rows() if fnmatchcase(row.name, options.only)):
        found.append(_in_process_of_its_own(row, options.seconds))
        print(f"{found[-1].seconds:4.0f} s {_line(found[-1])}", flush=True)
    print(table_of(found))
    if options.markdown:
        write_between_markers(options.markdown, table_of(found))
    return 0 if sum(row.works for row in found) >= 0.8 * len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
