"""What a comparison tells people who decide: which variant, what it gains and costs, and what is not known.

Plain data and sentences, from the table of `experiments.compare.against_baseline`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import BadInput
from experiments.cost import Price
from experiments.explained import explanations
from experiments.judging import of_frame
from experiments.key_figures import KeyFigure, key_figures
from experiments.measures import NO_DIFFERENCE
from experiments.models import find, is_here, title_of
from experiments.recipe_file import to_yaml
from experiments.recommendation import (
    Recommendation,
    baseline,
    candidates,
    headline,
    in_a_list,
    recommend,
)
from experiments.references import reference_of
from experiments.result import RunResult
from experiments.run_record import RunRecord
from experiments.savings import CostLine, cost_notes, costs
from experiments.training_on import trained_on
from experiments.why_tflite import in_general, remarks
from profiling.statistics import SIGNIFICANCE, mcnemar_p

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
COARSE_POINTS = 1.0
"""A test set that cannot show a change of so many points is worth a caveat."""
Section = tuple[str, Sequence[tuple[str, float, str]]]
"""Why a variant is as fast as it is: a heading, and causes of title, milliseconds and sentence."""


@dataclass(frozen=True)
class Wishes:
    """What the author decides about a report."""

    title: str = ""
    recommended: str = ""
    """Id of the run to recommend; empty leaves it to the statistics."""
    price: Price | None = None
    why: tuple[Section, ...] | None = None
    """None explains every treated variant whose reference is there too."""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything a report says, before it gets a form."""

    title: str
    subject: str
    """Model, data, processor and batch size in one line."""
    date: datetime
    program: str
    """Name and version of this program, and the commits that measured."""
    recommended: str
    """Id of the run that headline and key figures are about."""
    headline: str
    reason: str
    caveats: tuple[str, ...]
    """What has to be known before the numbers are believed."""
    key_figures: tuple[KeyFigure, ...]
    frame: pd.DataFrame
    results: Mapping[str, RunResult]
    """By run id, like the next two."""
    recipes: Mapping[str, str]
    """As YAML."""
    techniques: Mapping[str, tuple[str, ...]]
    """Keys, in the order in which they were applied."""
    costs: tuple[CostLine, ...]
    """Empty without a price."""
    cost_notes: tuple[str, ...]
    limits: tuple[str, ...]
    """What the numbers do not say."""
    why: tuple[Section, ...]
    remarks: Mapping[str, tuple[str, ...]]
    """By title of a variant, what explains it without a profile."""

    @property
    def titles(self) -> dict[str, str]:
        """How each variant is called, by run id, in the order of the table."""
        return dict(zip(self.frame.run_id, self.frame.title, strict=True))


def compose(
    frame: pd.DataFrame,
    records: Sequence[RunRecord],
    results: Mapping[str, RunResult],
    wishes: Wishes | None = None,
    *,
    at: datetime,
) -> Report:
    """The report on the variants of a table whose titles are unique, written at the moment `at`.

    Raises `BadInput` when there is nothing but baselines, and for a recommended run that is not in the table.
    """
    wishes = wishes or Wishes()
    chosen = _chosen(frame, wishes.recommended)
    row, base = _row(frame, chosen.run_id), baseline(frame)
    lines = costs(frame, results, wishes.price) if wishes.price else ()
    return Report(
        title=wishes.title.strip() or default_title(str(frame.model.iloc[0])),
        subject=_subject(frame),
        date=at,
        program=_program(results),
        recommended=chosen.run_id,
        headline=headline(row, base),
        reason=chosen.reason,
        caveats=_caveats(frame, results, chosen.run_id),
        key_figures=key_figures(row, base, results, lines),
        frame=frame,
        results=results,
        recipes={record.id: to_yaml(record.recipe) for record in records},
        techniques={record.id: tuple(each.key for each in record.recipe.techniques) for record in records},
        costs=lines,
        cost_notes=cost_notes(lines),
        limits=(*_limits(frame, row), *filter(None, [in_general(record.recipe for record in records)])),
        why=tuple(section for section in _why(records, results, wishes) if section[1]),
        remarks=_remarks(frame, records, results),
    )


def _remarks(
    frame: pd.DataFrame, records: Sequence[RunRecord], results: Mapping[str, RunResult]
) -> dict[str, tuple[str, ...]]:
    """What explains .tflite files, and which part of a change came from training on."""
    by_digest, titles = (
        {each.recipe.digest: each for each in records},
        dict(zip(frame.run_id, frame.title, strict=True)),
    )
    trained = {each.run_id: each.sentence for each in trained_on(records, results)}
    found = {}
    for record in records:
        reference = by_digest.get(reference_of(record.recipe).digest) if record.recipe.techniques else None
        told = remarks(record.recipe, results[record.id], results[reference.id] if reference else None)
        sentences = [f"{each.title}. {each.sentence}" for each in told]
        sentences += [trained[record.id]] if record.id in trained else []
        found[titles[record.id]] = tuple(sentences)
    return {title: sentences for title, sentences in found.items() if sentences}


def _why(records: Sequence[RunRecord], results: Mapping[str, RunResult], wishes: Wishes) -> Sequence[Section]:
    if wishes.why is not None:
        return wishes.why
    return [
        (each.verdict, [(cause.title, cause.ms, cause.sentence) for cause in (*each.causes, each.residual)])
        for each in explanations(records, results)
    ]


def _row(frame: pd.DataFrame, run_id: str) -> pd.Series[Any]:
    return frame[frame.run_id == run_id].iloc[0]


def _chosen(frame: pd.DataFrame, wanted: str) -> Recommendation:
    by_statistics = recommend(frame)
    if not wanted or wanted == by_statistics.run_id:
        return by_statistics
    if wanted not in set(candidates(frame).run_id):
        raise BadInput(
            f"The run {wanted} as the recommended one",
            expected="one of the compared variants, and not the baseline",
            action="Choose another one",
        )
    title = _row(frame, by_statistics.run_id).title
    return Recommendation(wanted, f"Chosen by the author of this report; the statistics alone would pick {title}.")


def _caveats(frame: pd.DataFrame, results: Mapping[str, RunResult], recommended: str) -> tuple[str, ...]:
    base = baseline(frame)
    by_reason: dict[str, list[str]] = {}
    for run_id, title in zip(frame.run_id, frame.title, strict=True):
        for reason in results[run_id].disturbances:
            by_reason.setdefault(reason, []).append(title)
    sentences = [
        f"{reason} while {in_a_list(titles)} {'was' if len(titles) == 1 else 'were'} timed."
        for reason, titles in by_reason.items()
    ]
    compared = {recommended, "" if base is None else base.run_id}
    if any(results[run_id].disturbances for run_id in compared if run_id):
        sentences.append("The speed in the headline rests on that: measure again on a quiet machine to be sure of it.")
    images, judging = int(_row(frame, recommended).total), of_frame(frame)
    if (unseen := 100 * fewest_images_seen(images) / images) > COARSE_POINTS:
        sentences.append(
            f"With only {images:,} test {judging.unit}, no change of {judging.noun} below {unseen:.1f} points can be "
            "seen."
        )
    if not judging.has_labels:
        sentences.append(
            f"The test {judging.unit} have no labels. Agreement is the share that a variant answers as the untouched "
            "network does, which agrees with itself on all of them; how often either is right is not known."
        )
    if base is None:
        sentences.append("The untouched model is not among these variants, so no differences are claimed.")
    if len(names := sorted(set(frame.device_name))) > 1:
        sentences.append(f"These ran on different processors: {in_a_list(names)}.")
    return tuple(sentences)


def _limits(frame: pd.DataFrame, row: pd.Series[Any]) -> tuple[str, ...]:
    images, fewest, judging = int(row.total), fewest_images_seen(int(row.total)), of_frame(frame)
    batch = f"one {judging.example}" if row.batch_size == 1 else f"{row.batch_size:.0f} {judging.unit}"
    before = "splitting a text comes" if judging.unit == "texts" else "reading, decoding and resizing an image come"
    return (
        f"{judging.title} is that on {images:,} test {judging.unit}. Other {judging.unit}, or the same classes in "
        "other shares, can give other figures.",
        f"On {images:,} {judging.unit} a change by fewer than {fewest} of them ({100 * fewest / images:.2f} points) "
        f"can never be told from chance, and a larger one not always. “{NO_DIFFERENCE.capitalize()}” means that none "
        "was seen, not that there is none.",
        "One figure for all classes hides that some may lose what others gain.",
        f"Speed, memory and energy are those of {in_a_list(sorted(set(frame.device_name)))}. Another processor can put "
        "the variants in another order.",
        f"Times are for {batch} at once, one call after the other, of the network alone: {before} on top, and a "
        "server with many requests at once behaves otherwise.",
    )


@cache
def fewest_images_seen(images: int) -> int:
    """How many of the test images must change, all in one direction, before McNemar's exact test sees it."""
    return next((count for count in range(1, images) if mcnemar_p(count, 0) < SIGNIFICANCE), images)


def default_title(model: str) -> str:
    """What a report on a model's variants is called where its author says nothing."""
    return f"{title_of(model)}: smaller and faster variants compared"


def _subject(frame: pd.DataFrame) -> str:
    """All variants are judged by the same examples and measured alike."""
    row, models = frame.iloc[0], list(dict.fromkeys(frame.model))
    data = f" on {find(row.model).data_title}" if is_here(row.model) else ""
    names = in_a_list([title_of(model) for model in models])
    return f"{names}{data} · {row.device_name} · batch size {row.batch_size:.0f}"


def _program(results: Mapping[str, RunResult]) -> str:
    commits = sorted({(result.conditions.commit or "")[:7] for result in results.values()} - {""})
    measured = f" · measured by commit {in_a_list(commits)}" if commits else ""
    return f"Post-Training Studio {program_version()}{measured}"


@cache
def program_version() -> str:
    """This program's version, such as `0.1.0`."""
    return str(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"])
