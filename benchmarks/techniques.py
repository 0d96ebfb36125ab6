"""Which technique works on which architecture: `python -m benchmarks.techniques [--only NAME] [--markdown FILE]`.

Every architecture of `benchmarks.architectures`, with random weights, is first tried out as when a person adds it
(`experiments.trials`). Then every technique is applied for real and its outcome exported and served, in a process of
its own. A cell says how far the served answers are off, as root mean square of the difference over that of the
answers: from the very network that was exported or, where it was quantized or computes in 16 bits, from the one before.
What fails although nothing foretold it is a defect, and makes the exit status 1.

Finished rows are kept in a JSON file and not tried again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from benchmarks.architectures import Row as Named
from benchmarks.architectures import built, bundle_of, write_between_markers
from benchmarks.architectures import rows as named
from core.bundle import ModelBundle, Situation
from core.devices import find_device
from core.errors import StudioError
from core.progress import result_of
from experiments.trials import trials
from intake.family import family_of
from optimizers import TECHNIQUES, Context
from runtimes import RUNTIMES
from sample_models import build_student

BEGIN, END = "<!-- techniques: begin -->", "<!-- techniques: end -->"
PARSED = "takes every operator"
TENSORRT = "TensorRT's parser"


@dataclass(frozen=True)
class Cell:
    """What came of one technique on one architecture."""

    off: float | None = None
    """How far the served answers are off; None where it did not come so far."""
    refused: str = ""
    """The reason that was known beforehand."""
    failed: str = ""
    """The reason that nobody knew beforehand."""
    false_alarm: bool = False
    """Whether it worked although it was refused."""


@dataclass
class Row:
    """One architecture, and what is known of it so far."""

    name: str
    library: str
    side: int
    family: str = ""
    trial_seconds: float = 0.0
    refusals: dict[str, str] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)
    problem: str = ""
    """What went wrong with the row as a whole."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Column:
    """A technique, with settings that take little time, and the engine that serves its outcome."""

    title: str
    technique: str
    settings: dict[str, object]
    runtime: str
    is_exact: bool = True
    """Whether what is served should answer as the network that was exported does."""


_SMALL_STUDENT = {"student": "named", "architecture": "mnasnet0_5", "epochs": 1, "control_seeds": 0, "batch_size": 2}
COLUMNS = (
    Column("PyTorch", "", {}, "pytorch"),
    Column("ONNX Runtime", "", {}, "onnxruntime"),
    Column("OpenVINO", "", {}, "openvino"),
    Column(TENSORRT, "", {}, "tensorrt"),
    Column("structured pruning", "structured_pruning", {"ratio": 0.3, "epochs": 0, "scan": False}, "onnxruntime"),
    Column("magnitude pruning", "magnitude_pruning", {"epochs": 0}, "pytorch"),
    Column("2:4", "two_four", {"method": "magnitude", "epochs": 0}, "pytorch"),
    Column("low rank", "low_rank", {"energy": 0.5, "epochs": 0}, "pytorch"),
    Column("BF16", "mixed_precision", {"precision": "bf16", "fine_tune_epochs": 0}, "pytorch", is_exact=False),
    Column("INT8, ONNX Runtime", "int8", {"calibration_images": 4}, "onnxruntime", is_exact=False),
    Column("INT8, OpenVINO", "int8", {"calibration_images": 4}, "openvino", is_exact=False),
    Column("weight-only, ONNX Runtime", "weight_only", {"bits": 8}, "onnxruntime", is_exact=False),
    Column("as a teacher", "distillation", _SMALL_STUDENT, "pytorch"),
    Column("as a student", "distillation", _SMALL_STUDENT | {"student": "itself"}, "pytorch"),
)
TOLERANCE = 1e-2
"""Of an engine that computes what it was given, in float32."""


def carry_out(row: Named, tell: Callable[[Row], None]) -> None:
    """Try one architecture in every column; what is known so far is told after each."""
    found = Row(row.name, row.library, row.side)
    bundle = bundle_of(row, built(row))
    bundle = replace(bundle, family=family_of(bundle.network, bundle.contract))
    found.family, began = bundle.family, time.monotonic()
    found.refusals = result_of(trials(bundle, seconds=600))
    found.trial_seconds = time.monotonic() - began
    for column in COLUMNS:
        found.problem = f"{column.title}: it took too long, or the process ended"
        tell(found)
        found.cells[column.title] = _cell(bundle, column, found.refusals)
    found.problem = ""
    tell(found)


def _cell(bundle: ModelBundle, column: Column, refusals: dict[str, str]) -> Cell:
    keys = (column.technique, column.runtime, f"{column.technique}@{column.runtime}")
    known = next((refusals[key] for key in keys if key in refusals), "") or _refused(bundle, column)
    try:
        off = _off(bundle, column)
    except Exception as error:  # whatever a library raises: that is what the table is about
        first = (str(error).strip().splitlines() or [""])[0][:300]
        reason = str(error) if isinstance(error, StudioError) else f"{type(error).__name__}: {first}"
        return Cell(refused=known) if known else Cell(failed=reason)
    if column.is_exact and not off <= TOLERANCE:
        return Cell(off, refused=known) if known else Cell(off, failed="its answers differ")
    if not np.isfinite(off):
        return Cell(refused=known) if known else Cell(failed="its answers are not finite")
    return Cell(off, refused=known, false_alarm=bool(known))


def _refused(bundle: ModelBundle, column: Column) -> str:
    """What the technique or the runtime says of such a network, without loading it; empty where it fits."""
    device = find_device("cpu")
    situation = Situation(bundle.family, len(bundle.data.train), len(bundle.contract.labels), device, column.runtime)
    try:
        if column.technique:
            situation = TECHNIQUES[column.technique](**column.settings).check(situation)
        if column.title != TENSORRT:
            RUNTIMES[column.runtime].check(situation)
    except StudioError as error:
        return str(error)
    return ""


def _off(bundle: ModelBundle, column: Column) -> float:
    """How far what is served is off. Raises whatever goes wrong."""
    if column.title == TENSORRT:
        return _parsed(bundle)
    device, x = find_device("cpu"), bundle.contract.prepare(bundle.data.test.pixels)
    with tempfile.TemporaryDirectory() as folder:
        scratch, place = Path(folder) / "scratch", Path(folder) / "artifact"
        scratch.mkdir()
        place.mkdir()
        done = bundle
        if column.technique:
            context = Context(device, 1, 0, scratch, build_student, runtime=column.runtime, original=lambda: bundle)
            done = result_of(TECHNIQUES[column.technique](**column.settings).apply(bundle, context))
        source = done.module if column.is_exact else bundle.module
        with torch.inference_mode():
            wanted = source.eval()(torch.from_numpy(x)).numpy()
        runtime = RUNTIMES[column.runtime]
        with runtime.open(runtime.export(done, place), device, threads=1) as session:
            found = session.run(x)
    if found.shape != wanted.shape:
        raise ValueError(f"it answers {found.shape} where {wanted.shape} is expected")
    return float(np.sqrt(np.square(found - wanted).mean() / np.square(wanted).mean()))


def _parsed(bundle: ModelBundle) -> float:
    """0 where TensorRT's parser takes every operator. Raises `ValueError` with those that it does not."""
    from core.onnx_export import export_onnx
    from runtimes.tensorrt_compatible import compatibility

    refused = [each for each in compatibility(export_onnx(bundle.module, bundle.contract)).operators if each.refused]
    if refused:
        raise ValueError("; ".join(f"{each.op}: {each.reason}" for each in refused))
    return 0.0


def in_process_of_its_own(row: Named, seconds: float) -> Row:
    """So that a crash or an endless loop costs one row, and no more than these seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(row, theirs))
    began, last = time.monotonic(), Row(row.name, row.library, row.side, problem="building")
    process.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, began + seconds - time.monotonic())):
            last = ours.recv()
    except EOFError:
        pass
    finally:
        process.kill()
        process.join()
    last.seconds = time.monotonic() - began
    return last


def _answer(row: Named, pipe: Connection) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        carry_out(row, pipe.send)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        pipe.send(Row(row.name, row.library, row.side, problem=f"{type(error).__name__}: {first[:200]}"))


def defects(rows: list[Row]) -> list[str]:
    """What failed unforetold, and what was refused and works, a line each."""
    lines = [f"{row.name}: {row.problem}" for row in rows if row.problem]
    for row in rows:
        for title, cell in row.cells.items():
            if cell.failed:
                lines.append(f"{row.name}, {title}: {cell.failed}")
            elif cell.false_alarm:
                lines.append(f"{row.name}, {title}: refused, and works ({cell.refused})")
    return lines


def table_of(rows: list[Row]) -> str:
    """The Markdown table with a summary, the reasons behind it and the conditions."""
    cells = [cell for row in rows for cell in row.cells.values()]
    works = sum(cell.off is not None and not cell.failed for cell in cells)
    refused = sum(bool(cell.refused) and not cell.false_alarm for cell in cells)
    names = ("torch", "torchvision", "timm", "torch-pruning", "onnxruntime", "openvino", "nncf", "tensorrt-rtx")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    reasons: dict[str, int] = {}
    for row in rows:
        for cell in row.cells.values():
            if reason := cell.refused or cell.failed:
                reasons.setdefault(reason, len(reasons) + 1)
    titles = [column.title for column in COLUMNS]
    lines = [
        f"**{len(rows)} architectures, {len(cells)} combinations: {works} work, {refused} are refused beforehand with "
        f"their reason, {len(defects(rows))} fail unforetold or are refused in vain.** Random weights, 4 images of "
        f"noise, 10 classes; {libraries}; Python {platform.python_version()}; one thread of {find_device('cpu').name}; "
        f"{datetime.date.today():%d %B %Y}.",
        "",
        f"| architecture | library | input | taken for | {' | '.join(titles)} |",
        "|---" * (4 + len(titles)) + "|",
        *(_line(row, titles, reasons) for row in rows),
    ]
    if reasons:
        lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines)


def _line(row: Row, titles: list[str], reasons: dict[str, int]) -> str:
    told = [_in_words(row.cells.get(title), title, reasons) for title in titles]
    head = (row.name, row.library, f"{row.side} x {row.side}", row.family)
    return "| " + " | ".join((*head, *told)) + " |"


def _in_words(cell: Cell | None, title: str, reasons: dict[str, int]) -> str:
    if cell is None:
        return ""
    if cell.failed:
        return f"**fails** ({reasons[cell.failed]})"
    if cell.refused:
        return f"refused ({reasons[cell.refused]})"
    return PARSED if title == TENSORRT else f"yes, {100 * (cell.off or 0):.1g} %"


def read(path: Path) -> dict[str, Row]:
    """Rows that an earlier call finished, by architecture."""
    kept = json.loads(path.read_text()) if path.exists() else []
    rows = [Row(**each | {"cells": {title: Cell(**cell) for title, cell in each["cells"].items()}}) for each in kept]
    return {row.name: row for row in rows}


def main() -> int:
    """Try what is missing, print all; 0 where nothing failed unforetold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["*"], help="names, with wildcards, in the order in which to try")
    parser.add_argument("--seconds", type=float, default=900, help="longer than this, and an architecture is given up")
    parser.add_argument("--json", type=Path, default=Path(tempfile.gettempdir()) / "techniques.json")
    parser.add_argument("--markdown", type=Path, help="the file with the markers")
    options = parser.parse_args()
    found = read(options.json)
    wanted = [row for pattern in options.only for row in named() if fnmatchcase(row.name, pattern)]
    for row in dict.fromkeys(wanted):
        if row.name not in found or found[row.name].problem:
            found[row.name] = in_process_of_its_own(row, options.seconds)
            options.json.write_text(json.dumps([asdict(each) for each in found.values()], indent=1))
            print(f"{found[row.name].seconds:4.0f} s {row.name}", *defects([found[row.name]]), sep="\n  ", flush=True)
    done = [found[row.name] for row in named() if row.name in found]
    print(table_of(done))
    if options.markdown:
        write_between_markers(options.markdown, table_of(done), BEGIN, END)
    return int(bool(defects(done)))


if __name__ == "__main__":
    sys.exit(main())
