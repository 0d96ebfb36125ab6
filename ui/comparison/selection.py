"""What the person chose to compare, read once for all tabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import streamlit as st

from core.judging import Judging
from experiments.beside import judged_alike
from experiments.compare import against_baseline, variants
from experiments.judging import of_frame
from experiments.models import title_of
from experiments.result import RunResult
from experiments.run_record import RunRecord
from ui import tables, text
from ui.state import colours, ink, store
from ui.titles import distinct, of_models

MOST_OFFERED, SHOWN_AT_FIRST = 100, 9
"""Variants: those that can be picked, the newest ones, and how many of them are drawn unasked."""


BESIDE_HELP = (
    "Judged by the same answers to the same test images, and measured under the same settings. Differences are to the "
    "baseline of the model above, on the same images; hatched bars and diamonds mark these in charts."
)


@dataclass(frozen=True, eq=False)
class Selection:
    """Variants of one model, measured alike, the baseline first; after them, if any, those of other models."""

    model: str
    """The model's key."""
    records: tuple[RunRecord, ...]
    results: Mapping[str, RunResult]
    """Everything measured, by run id."""
    frame: pd.DataFrame
    """One row a variant with its differences to the baseline, titles unique."""
    colours: Mapping[str, str]
    """By digest."""
    ink: str

    @property
    def has_beside(self) -> bool:
        """Whether there are variants of other models among them."""
        return bool(self.frame.is_beside.any())

    @property
    def own(self) -> Selection:
        """Without the variants of other models."""
        frame = self.frame[~self.frame.is_beside.astype(bool)]
        records = tuple(record for record in self.records if record.recipe.model == self.model)
        return replace(self, records=records, frame=frame)

    @property
    def judging(self) -> Judging:
        """What is counted of its examples, in words."""
        return of_frame(self.frame)

    @property
    def titles(self) -> dict[str, str]:
        """How each variant is called here, by run id, in the order of the table."""
        return distinct(dict(zip(self.frame.run_id, self.frame.title, strict=True)))

    @property
    def baseline(self) -> pd.Series[Any] | None:
        """The baseline's row, or None when it is not among them."""
        rows = self.frame[self.frame.is_baseline]
        return rows.iloc[0] if len(rows) else None

    def record(self, run_id: str) -> RunRecord:
        """The run of that id."""
        return next(record for record in self.records if record.id == run_id)

    def row(self, run_id: str) -> pd.Series[Any]:
        """The table's row of that run."""
        return self.frame[self.frame.run_id == run_id].iloc[0]


def selection_of(records: list[RunRecord], model: str = "") -> Selection:
    """The runs with all that was measured in them, in the colours of the page's theme.

    Those of other models than this, or than the first run's, stand beside its own.
    """
    model = model or records[0].recipe.model
    results = store().results([record.id for record in records])
    frame = tables.with_unique_titles(against_baseline(variants(records, model=model), results))
    by_id = {record.id: record for record in records}
    ordered = tuple(by_id[run_id] for run_id in frame.run_id)
    return Selection(model, ordered, results, frame, colours(records), ink())


def choose() -> list[RunRecord]:
    """The finished runs to compare, all measured under the same settings: first those of the model chosen here.

    The address names the model, the settings and which variants, where these are not the usual ones; what it names
    that is not offered counts for nothing.
    """
    measured = store().measured()
    if not measured:
        return []
    model_column, settings_column = st.columns([1, 1])
    models = of_models(model for model, _ in measured)
    model = model_column.selectbox(
        "Model", list(models), _start(list(models), "model"), format_func=models.__getitem__, key="compare.model"
    )
    if st.query_params.get("model") != model:
        _keep(model=[model], settings=[], variant=[], beside=[])
    ways = [settings for each, settings in measured if each == model]
    settings = settings_column.selectbox(
        "Measured on", ways, _start(ways, "settings"), format_func=tables.settings_in_words,
        key=f"compare.settings.{model}", help="Only what was measured alike is comparable.",
    )  # fmt: skip
    _keep(settings=[settings])
    found = store().variants(model, settings, limit=MOST_OFFERED + 1)
    if len(found) > MOST_OFFERED:
        st.caption(f"There are more than {MOST_OFFERED} variants: the newest {MOST_OFFERED} can be picked.")
    own = pick(found[:MOST_OFFERED], key=f"{model}.{settings}")
    return [*own, *pick_beside(model, settings, measured)] if own else []


def pick(records: list[RunRecord], *, key: str) -> list[RunRecord]:
    """Those of the runs that the person wants to see, the baseline first."""
    usual, titles = records[:SHOWN_AT_FIRST], tables.unique_titles(records)
    start = _named("variant", records) or usual
    chosen = st.multiselect(
        "Variants", list(titles), [run_id for run_id in titles if run_id in {record.id for record in start}],
        format_func=titles.__getitem__, key=f"compare.variants.{key}",
    )  # fmt: skip
    picked = [record for record in records if record.id in chosen]
    _keep(variant=[] if picked == usual else _digests(picked))
    return picked


def pick_beside(model: str, settings: str, measured: Sequence[tuple[str, str]]) -> list[RunRecord]:
    """Those variants of other models that the person wants to see too; none at first, nothing to pick without any."""
    others = judged_alike(model, [key for key, each in measured if each == settings])
    records = [record for key in others for record in store().variants(key, settings, limit=MOST_OFFERED)]
    if not records:
        return []
    models = of_models(others)
    titles = {record.id: f"{models[record.recipe.model]}: {record.title}" for record in records}
    chosen = st.multiselect(
        "Beside them: variants of other models", list(titles), [record.id for record in _named("beside", records)],
        format_func=distinct(titles).__getitem__, key=f"compare.beside.{model}.{settings}",
        placeholder="Choose variants of other models", help=BESIDE_HELP,
    )  # fmt: skip
    picked = [record for record in records if record.id in chosen]
    _keep(beside=_digests(picked))
    return picked


def _start(offered: Sequence[str], name: str) -> int:
    """Where what the address calls so stands among these; 0 where it does not."""
    wanted = st.query_params.get(name)
    return offered.index(wanted) if wanted in offered else 0


def _named(name: str, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Those of the runs whose recipes the address calls so: a recipe that ran again is found by the link of before."""
    digests = st.query_params.get_all(name)
    return [record for record in records if record.recipe.digest in digests]


def _digests(records: Sequence[RunRecord]) -> list[str]:
    return [record.recipe.digest for record in records]


def _keep(**values: list[str]) -> None:
    """Make the address name these, each repeated as often as there are; what has none is left out."""
    for name, wanted in values.items():
        if wanted and st.query_params.get_all(name) != wanted:
            st.query_params[name] = wanted
        elif not wanted:
            st.query_params.pop(name, None)


def draw_own(selection: Selection) -> Selection:
    """The variants of the chosen model alone, for a question that makes no sense across models, which it says."""
    if selection.has_beside:
        st.caption(
            f"Here only the variants of {text.escape(title_of(selection.model))} are looked at: what a technique did "
            "is told by the same network without it."
        )
    return selection.own
