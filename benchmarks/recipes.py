"""What the benchmarks of techniques share: named recipes, each carried out as the dashboard would, in one process each.

Results are kept in a JSON file and not measured again. Rows that differ in their runtime only share one training: the
second one finds the first one's checkpoint.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.progress import Finished, Note
from experiments.recipe import MeasurementSettings, Recipe
from experiments.result import RunResult
from experiments.run import run

MEASUREMENT = MeasurementSettings(batch_size=8, latency_seconds=2, sweep_seconds=0)

Found = dict[str, dict[str, Any]]
"""By row: its result, notes and seconds, or the reason why there is none."""


def recipe(model: str, runtime: str, *techniques: dict[str, Any], seed: int = 0) -> Recipe:
    """A recipe with the measurement that all rows share."""
    return Recipe(model=model, runtime=runtime, techniques=techniques, measurement=MEASUREMENT, seed=seed)  # type: ignore[arg-type]


def main(module: str, doc: str, rows: Mapping[str, Recipe], tables_of: Callable[[Found], str]) -> int:
    """Measure what is missing, print all. `--only` takes wildcards, `--json` and `--markdown` files.

    Trainings kept in `--folder` serve the next run of the benchmark too, which then only measures.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="row with wildcards")
    parser.add_argument("--json", type=Path, default=Path(tempfile.gettempdir()) / f"{module.split('.')[-1]}.json")
    parser.add_argument("--markdown", type=Path, help="where to write the tables")
    parser.add_argument("--folder", help="where trainings are kept (default: nowhere, once all is measured)")
    parser.add_argument("--row", nargs=2, metavar=("ROW", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(carry_out(rows[options.row[0]], Path(options.row[1]))))
        return 0
    found: Found = json.loads(options.json.read_text()) if options.json.exists() else {}
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as folder:
        for row in rows:
            if row not in found and fnmatchcase(row, options.only):
                found[row] = in_process_of_its_own(module, row, folder)
                options.json.write_text(json.dumps(found))
                print(row, found[row].get("reason") or f"took {found[row]['seconds']:.0f} s", flush=True)
    tables = tables_of({row: found[row] for row in rows if row in found})
    print(tables)
    if options.markdown:
        options.markdown.write_text(tables)
    return 0


def in_process_of_its_own(module: str, row: str, folder: str) -> dict[str, Any]:
    """So that nothing a row leaves behind in memory changes the next one."""
    done = subprocess.run([sys.executable, "-m", module, "--row", row, folder], capture_output=True, text=True)
    if done.returncode:
        return {"reason": f"failed: {(done.stderr.strip().splitlines() or [f'exit {done.returncode}'])[-1]}"}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def carry_out(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The result with its notes and wall time, or the sentence that says why there is none."""
    began = time.monotonic()
    whatever = recipe.model_copy(update={"runtime": "any"})
    (shared := folder / whatever.digest).mkdir(exist_ok=True)
    try:
        events = list(run(recipe, shared))
    except StudioError as error:
        return {"reason": str(error)}
    assert isinstance(events[-1], Finished)
    notes = [event.text for event in events if isinstance(event, Note)]
    return {"seconds": time.monotonic() - began, "result": events[-1].result, "notes": notes}


def results(found: Found) -> dict[str, RunResult]:
    """The rows that have one."""
    return {row: RunResult.model_validate(entry["result"]) for row, entry in found.items() if "result" in entry}


def refusals(found: Found) -> list[str]:
    """A line of markdown for each row that has none."""
    return [f"- {row}: {entry['reason']}" for row, entry in found.items() if "reason" in entry]


def table(head: tuple[str, ...], lines: list[list[str]]) -> str:
    """Markdown."""
    rows = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
