"""A model without labels is judged by agreement, and nothing that is said of it claims accuracy."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from core.judging import Judging
from experiments import models
from experiments.choice import Budgets, choose
from experiments.compare import against_baseline, describe, variants
from experiments.judging import of_frame, of_record
from experiments.recipe import Recipe
from experiments.report import compose
from experiments.result import RunResult
from experiments.run_record import RunRecord
from experiments.store import Store
from intake.library import delete_model
from optimizers import TECHNIQUES
from tests.experiments.own import plant_onnx
from tests.pages.left_behind import finished
from tests.ui.report.reading import read
from ui.report import html_of
from ui.tables import with_unique_titles

AGREEMENT = Judging("agreement", "images")


@pytest.fixture
def left(store: Store, monkeypatch: pytest.MonkeyPatch) -> tuple[list[RunRecord], dict[str, RunResult]]:
    """The baseline of a model without labels and its INT8 variant, which differs on 300 of 2,000 images."""
    key = plant_onnx(labelled=False)
    ids = [
        finished(store, Recipe(model=key, runtime="onnxruntime"), wrong=0, judging=AGREEMENT),
        finished(
            store, Recipe(model=key, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime"), wrong=300,
            judging=AGREEMENT,
        ),
    ]  # fmt: skip
    records = [record for run_id in ids if (record := store.run(run_id))]
    return records, dict(store.results(ids))


def frame_of(left: tuple[list[RunRecord], dict[str, RunResult]]) -> pd.DataFrame:
    return with_unique_titles(against_baseline(variants(left[0]), left[1]))


def test_a_run_remembers_by_what_it_was_judged_when_its_model_is_gone(
    left: tuple[list[RunRecord], dict[str, RunResult]],
) -> None:
    records, _ = left
    key = records[0].recipe.model
    assert models.judging_of(key) == AGREEMENT
    delete_model("", key)
    assert models.judging_of(key).has_labels  # nothing is known of it any more
    assert all(of_record(record) == AGREEMENT for record in records)
    assert of_frame(variants(records)) == AGREEMENT


def test_no_sentence_about_it_claims_accuracy(left: tuple[list[RunRecord], dict[str, RunResult]]) -> None:
    frame = frame_of(left)
    report = compose(frame, *left, at=datetime(2026, 11, 28, tzinfo=UTC))
    said = [report.headline, report.reason, *report.caveats, *report.limits, describe(frame)]
    said += [word for figure in report.key_figures for word in (figure.title, figure.note, figure.change)]
    said += choose(frame, Budgets(points_lost=-1.0)).sentences
    assert "15.00 points of agreement" in report.headline
    assert not [each for each in said if "accura" in each.lower()]
    assert not [each for each in report.caveats if " right" in each and "not known" not in each]


def test_the_report_file_says_agreement_everywhere(left: tuple[list[RunRecord], dict[str, RunResult]]) -> None:
    page = read(html_of(compose(frame_of(left), *left, at=datetime(2026, 11, 28, tzinfo=UTC))))
    sections = [each for each in page.all("section") if each.attributes["id"] != "terms"]
    said = " ".join(each.text for each in (*page.all("header"), *sections))
    assert "Agreement over latency" in said
    assert "accura" not in said.lower()
