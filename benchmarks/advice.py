"""Promised against measured: `python -m benchmarks.advice [MODEL:RUNTIME ...] [--data FOLDER] [--markdown FILE]`.

Profiles the untouched network of each model in each runtime, takes every advice, runs its recipe as the dashboard
would, each in a process of its own, and prints what was promised beside what was measured. What lies finished in the
data folder is not done again; a dashboard started on that folder shows all of it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.recipes import table
from core.folders import data_folder
from experiments.advice import Advice, advise
from experiments.profile import ProfileResult
from experiments.promise import Figures, Outcome, figures_of, figures_of_profile, outcome
from experiments.recipe import MeasurementSettings, Recipe
from experiments.result import Summary
from experiments.store import Store, open_store
from experiments.study import ProfileStudy

SUBJECTS = (
    "resnet_fmnist:pytorch",
    "resnet_fmnist:onnxruntime",
    "resnet_fmnist:openvino",
    "vit_fmnist:pytorch",
    "vit_fmnist:onnxruntime",
    "efficientnet_lite0:pytorch",
    "efficientnet_lite0:onnxruntime",
)
TRIES = 3
"""Of whatever other work disturbed."""
HEAD = ("model", "profiled in", "advice", "promised", "measured", "", "accuracy")
VERDICTS = {"kept": "kept", "broken": "not kept", "unclear": "unclear"}
_Tried = tuple[Outcome, tuple[Figures, Figures]]
"""The verdict on a promise, and what was known before and after."""


def main() -> int:
    """Profile, run, print; 0 when no promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", default=SUBJECTS, metavar="MODEL:RUNTIME")
    parser.add_argument("--data", type=Path, help="data folder (default: that of the dashboard)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--skip", nargs="*", default=(), help="keys of advice whose recipes are not run")
    parser.add_argument("--markdown", type=Path, help="where to write the table")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data:
        os.environ["STUDIO_DATA"] = str(options.data)
    store = open_store()
    if options.run:
        return _execute(store, options.run)
    rows = [row for subject in options.subjects for row in _rows(store, subject, options.threads, options.skip)]
    words = table(HEAD, [list(row) for row in rows])
    print(words)
    if options.markdown:
        options.markdown.write_text(words + "\n")
    return int(any("not kept" in cell for row in rows for cell in row))


def _rows(store: Store, subject: str, threads: int, skip: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """One for each advice, printed as it comes."""
    model, runtime = subject.split(":")
    recipe = Recipe(model=model, runtime=runtime, measurement=MeasurementSettings(threads=threads, sweep_seconds=0))
    result = _profiled(store, recipe)
    if result is None:
        raise SystemExit(f"{recipe.title} could not be profiled")
    for advice in advise(result, recipe):
        if advice.key in skip:
            continue
        began = time.monotonic()
        found = _tried(store, advice, recipe, figures_of_profile(result))
        row = (model, runtime, f"{advice.key}: {advice.title}", *_cells(found))
        print(" | ".join(row), f"({time.monotonic() - began:.0f} s)", flush=True)
        yield row


def _cells(found: _Tried | str) -> tuple[str, str, str, str]:
    """Promised, measured, the verdict, and what became of the accuracy."""
    if isinstance(found, str):
        return "", found, "failed", ""
    judged, both = found
    promised, _, rest = judged.sentence.partition("; measured: ")
    accuracies = [f"{each['accuracy'].value:.2%}" for each in both if "accuracy" in each]
    return (
        promised.removeprefix("Promised: "),
        rest.partition(", ")[0],
        VERDICTS[judged.verdict],
        " → ".join(accuracies),
    )


def _profiled(store: Store, recipe: Recipe) -> ProfileResult | None:
    """The newest profile of the recipe's untouched network, made again where other work disturbed it."""
    study, found = ProfileStudy(), None
    for attempt in range(TRIES):
        finished = [each.id for each in store.studies(study, recipe) if each.state == "finished"]
        if not finished or attempt:
            finished = [_carried_out(store, store.enqueue_study(study, recipe))]
        found = store.profile_result(finished[0])
        if found is None or not found.latency.is_contended:
            return found
    return found


def _summary(store: Store, recipe: Recipe, *, tries: int) -> Summary | None:
    """Of the newest finished run of a recipe, carried out again where other work disturbed it."""
    record = None
    for attempt in range(tries):
        record = store.finished_before(recipe)
        if record is None or attempt:
            _carried_out(store, store.enqueue(recipe))
            record = store.finished_before(recipe)
        if record is None or record.summary is None or not record.summary.is_disturbed:
            return record.summary if record else None
    return record.summary if record else None


def _tried(store: Store, advice: Advice, recipe: Recipe, profile: Figures) -> _Tried | str:
    """What became of an advice, or the sentence with which its run failed."""
    is_timed = advice.promise.measure in ("p50_ms", "throughput_per_s")
    both = (advice.reference or recipe, advice.recipe)
    reference, tried = (_summary(store, each, tries=TRIES if is_timed else 1) for each in both)
    if tried is None:
        last = store.runs(digest=advice.recipe.digest, limit=1)[0]
        return last.error or "no result"
    before, after = figures_of(reference) if reference else profile, figures_of(tried)
    disturbed = tried.is_disturbed or (reference is not None and reference.is_disturbed)
    return outcome(advice.promise, before, after, is_disturbed=disturbed), (before, after)


def _carried_out(store: Store, run_id: str) -> str:
    """The same id, once that run has ended in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.advice", "--run", run_id, "--data", str(data_folder())]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return run_id


def _execute(store: Store, run_id: str) -> int:
    from experiments.worker import execute

    store.claim(run_id, os.getpid())
    record = store.run(run_id)
    assert record, "the run was queued by the process that started this one"
    execute(store, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
