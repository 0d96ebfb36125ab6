"""One recipe's techniques in every runtime: how much of the arithmetic that they save is time saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from core.errors import CannotCompose
from experiments.checking import why_refused
from experiments.compare import DISTURBED, doubted, latency_verdict
from experiments.measures import NO_DIFFERENCE
from experiments.models import find as find_model
from experiments.recipe import Recipe
from experiments.references import in_runtime, reference_of, with_references
from experiments.result import Summary
from experiments.run_record import RunRecord
from profiling.statistics import wilson_interval
from runtimes import RUNTIMES

Find = Callable[[Recipe], RunRecord | None]
"""The newest finished run of exactly a recipe: `Store.finished_before`."""
TOO_FEW = "too few calls for an interval"
ALIKE = 0.01
"""Ratios of multiply-accumulates that differ by less are of one network."""
State = Literal["measured", "reference missing", "not run", "refused", "not for this model"]

TO_RUN: tuple[State, ...] = ("not run", "reference missing")


@dataclass(frozen=True)
class Place:
    """The recipe's techniques in one runtime, as far as they were run there."""

    runtime: str
    recipe: Recipe
    """The same work with that runtime, without a name."""
    record: RunRecord | None
    """Its newest finished run."""
    reference: RunRecord | None
    """The newest finished run of the untouched model in that runtime."""
    refusal: str
    """Why it cannot run there, in one sentence; empty where it can, or has."""
    is_foreign: bool = False
    """Whether nothing of this model ever runs there, whatever the techniques."""

    @property
    def state(self) -> State:
        """Whether it was measured beside its reference, could be, or cannot."""
        if self.record:
            return "measured" if self.reference else "reference missing"
        if self.is_foreign:
            return "not for this model"
        return "refused" if self.refusal else "not run"


def places(recipe: Recipe, find: Find) -> list[Place]:
    """The recipe in every runtime there is, in their usual order, measured in the same way."""
    return [_place(in_runtime(recipe, key), find) for key in RUNTIMES]


def _place(recipe: Recipe, find: Find) -> Place:
    record, reference = find(recipe), find(reference_of(recipe))
    refusal = "" if record else why_refused(recipe)
    return Place(recipe.runtime, recipe, record, reference, refusal, is_foreign=bool(refusal) and _is_foreign(recipe))


def _is_foreign(recipe: Recipe) -> bool:
    """Whether the runtime never opens such a model; one of PyTorch may become what it opens."""
    untouched = Recipe(model=recipe.model, runtime=recipe.runtime, device=recipe.device)
    return find_model(recipe.model).form != "torch" and bool(why_refused(untouched, CannotCompose))


def missing(found: Sequence[Place]) -> list[Recipe]:
    """What has to run for every place that can be measured to be so: recipes with their references, each once."""
    wanted = [recipe for place in found if place.state in TO_RUN for recipe in with_references(place.recipe)]
    return list({recipe.digest: recipe for recipe in wanted}.values())


def table(found: Sequence[Place]) -> pd.DataFrame:
    """One row a place; what was not measured is missing.

    macs_ratio, size_ratio and gzip_ratio are the reference's over the variant's: 2 is half as much. speedup, with the
    ends of its conservative 95 % interval, is the reference's median latency over the variant's; `verdict` puts it in
    words, with `DISTURBED` behind a difference that other work may have made. Accuracies are shares of the test images
    with their Wilson interval.
    """
    frame = pd.DataFrame([_row(place) for place in found], columns=COLUMNS)
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in NUMBERS})


NUMBERS = [
    "macs_ratio", "speedup", "speedup_low", "speedup_high", "p50_ms", "reference_ms", "size_ratio", "gzip_ratio",
    "accuracy", "accuracy_low", "accuracy_high",
]  # fmt: skip
COLUMNS = ["runtime", "title", "state", "why", "run_id", "verdict", "precision", "is_disturbed", *NUMBERS]


def _row(place: Place) -> dict[str, Any]:
    row: dict[str, Any] = {
        "runtime": place.runtime,
        "title": RUNTIMES[place.runtime].title,
        "state": place.state,
        "why": place.refusal,
    }
    ours, theirs = (each and each.summary for each in (place.record, place.reference))
    if not (place.record and ours):
        return row
    low, high = wilson_interval(ours.correct, ours.total)
    row |= {"run_id": place.record.id, "precision": ours.precision, "p50_ms": ours.p50_ms, "accuracy": ours.accuracy}
    row |= {"accuracy_low": low, "accuracy_high": high, "is_disturbed": ours.is_disturbed}
    return row | _against(ours, theirs) if theirs else row


def _against(ours: Summary, theirs: Summary) -> dict[str, Any]:
    return {
        **_speed(ours, theirs),
        "is_disturbed": ours.is_disturbed or theirs.is_disturbed,
        "macs_ratio": theirs.macs / ours.macs,
        "size_ratio": theirs.size_bytes / ours.size_bytes,
        "gzip_ratio": theirs.gzip_bytes / ours.gzip_bytes,
    }


def _speed(ours: Summary, theirs: Summary) -> dict[str, Any]:
    speedup = theirs.p50_ms / ours.p50_ms
    found = {"reference_ms": theirs.p50_ms, "speedup": speedup}
    ends = (ours.p50_low_ms, ours.p50_high_ms, theirs.p50_low_ms, theirs.p50_high_ms)
    if ends[0] is None or ends[1] is None or ends[2] is None or ends[3] is None:
        return found | {"verdict": TOO_FEW}
    low, high = ends[2] / ends[1], ends[3] / ends[0]
    verdict = doubted(latency_verdict(speedup, low, high), ours, theirs)
    return found | {"speedup_low": low, "speedup_high": high, "verdict": verdict}


def in_words(frame: pd.DataFrame) -> str:
    """How the time saved compares with the arithmetic saved, in a sentence or two; empty where nothing is measured."""
    shown = frame[frame.state == "measured"]
    if shown.empty:
        return ""
    ordered = shown.sort_values("speedup")
    worst, best = ordered.iloc[0], ordered.iloc[-1]
    if shown.macs_ratio.max() > (1 + ALIKE) * shown.macs_ratio.min():
        # A target in latency is another network in each runtime.
        each = (f"{_than(row)} with {_fewer(row)}" for row in (best, worst))
        return f"Against the untouched model, the median latency is {' and '.join(each)}."
    words = f"With {_fewer(best)} than the untouched model, the median latency is {_than(best)}"
    return f"{words}." if len(shown) == 1 else f"{words} and {_than(worst)}."


def _fewer(row: pd.Series[Any]) -> str:
    """`3.99x fewer multiply-accumulates`."""
    macs = float(row.macs_ratio)
    return f"{macs:.2f}x fewer multiply-accumulates" if macs > 1.005 else "no fewer multiply-accumulates"


def _than(row: pd.Series[Any]) -> str:
    """`2.10x faster in OpenVINO`, or that nothing can be said, and whether other work disturbed the timing there."""
    others = {NO_DIFFERENCE: "not measurably different", TOO_FEW: "timed too briefly to say"}
    verdict = str(row.verdict)
    doubt = " (timing disturbed)" if verdict.endswith(DISTURBED) else ""
    return f"{others.get(verdict, verdict.removesuffix(DISTURBED))} in {row.title}{doubt}"
