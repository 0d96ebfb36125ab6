"""Runs and comparisons as tables."""

from __future__ import annotations

import csv
import io
import re

import pandas as pd
import pytest

from experiments.compare import against_baseline, variants
from experiments.recipe import MeasurementSettings, Recipe
from experiments.run_record import RunRecord
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import MIB, finished
from ui.tables import comparison, conditions, history, in_units, ratio_in_words, settings_in_words, to_csv
from ui.tables import with_unique_titles as unique

MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")


def left(store: Store) -> list[RunRecord]:
    """A baseline and a variant that is smaller, faster and a little worse, newest first."""
    finished(store, BASELINE, wrong=100, p50_ms=2.0, size_bytes=8 * MIB)
    finished(store, INT8, wrong=120, p50_ms=0.5, size_bytes=2 * MIB)
    return store.runs()


def compared(store: Store, records: list[RunRecord]) -> pd.DataFrame:
    """The runs against their baseline."""
    return against_baseline(variants(records), store.results([record.id for record in records]))


def test_a_comparison_says_in_words_what_changed(store: Store) -> None:
    records = left(store)
    table = comparison(compared(store, records))
    assert table.iloc[0][["accuracy_change", "speed_change", "size_change"]].tolist() == ["baseline"] * 3
    row = table.iloc[1]
    assert (row.accuracy, row.accuracy_change) == (pytest.approx(94.0), "-1.00 points")
    assert row.speed_change.endswith("x faster")
    assert float(row.speed_change.split("x")[0]) == pytest.approx(4.0, rel=0.01)
    assert (row["size"], row.size_change) == (2.0, "4.00x smaller")


def test_without_a_baseline_nothing_is_called_a_change(store: Store) -> None:
    finished(store, INT8)
    table = comparison(compared(store, store.runs()))
    assert table.iloc[0][["accuracy_change", "speed_change", "size_change"]].tolist() == [""] * 3


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.25, "4.00x smaller"), (1.2, "1.20x larger"), (1.004, "the same"), (float("nan"), ""), (0.0, "")],
)
def test_ratios_in_words(share: float, words: str) -> None:
    assert ratio_in_words(share) == words


def test_csv_survives_a_round_trip_and_disarms_formulas() -> None:
    titles = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "INT8", 'a "quoted", text']
    frame = pd.DataFrame({"title": titles, "accuracy_points": [-0.5, 1.5, 0, 0, 0, 0, 0]})
    rows = list(csv.DictReader(io.StringIO(to_csv(frame))))
    assert [row["title"] for row in rows] == [*(f"'{title}" for title in titles[:5]), *titles[5:]]
    assert [float(row["accuracy_points"]) for row in rows] == frame.accuracy_points.tolist()
    assert to_csv(pd.DataFrame({"=1+1": ["x"]})).splitlines() == ["'=1+1", "x"]


def test_equal_titles_are_told_apart(store: Store) -> None:
    for seed in (0, 1):
        finished(store, INT8.model_copy(update={"seed": seed}))
    finished(store, BASELINE)
    titles = unique(variants(store.runs())).title.tolist()
    assert len(set(titles)) == 3
    assert titles[0] == BASELINE.title


def test_history_has_numbers_only_where_something_was_measured(store: Store) -> None:
    left(store)
    failed = store.begin_here(BASELINE)
    store.fail(failed, "It broke.")
    table = history(store.runs())
    assert table.index[0] == failed
    assert table.state.tolist() == [["failed"], ["finished"], ["finished"]]
    assert table.accuracy.tolist()[1:] == [94.0, 95.0]
    assert pd.isna(table.accuracy.iloc[0])


def test_each_time_is_told_in_its_own_unit_and_stays_a_number() -> None:
    table = pd.DataFrame({"title": ["a", "b", "c"], "p50_ms": [0.00716, 1.8312, None]})
    shown = in_units(table, ["p50_ms", "p95_ms"])
    assert shown.data.p50_ms.dtype == float  # type: ignore[attr-defined]  # by which the browser sorts
    assert re.findall(r'col1" *>([^<]*)</td>', shown.to_html()) == ["7.2 µs", "1.831 ms", ""]


def test_settings_are_words() -> None:
    assert settings_in_words(BASELINE.settings) == "cpu · batch size 1 · default threads"
    slow = BASELINE.model_copy(update={"measurement": MeasurementSettings(batch_size=8, threads=2)})
    assert settings_in_words(slow.settings) == "cpu · batch size 8 · 2 threads"


def test_conditions_name_what_a_number_depends_on(store: Store) -> None:
    first, second = (record.id for record in left(store))
    table = conditions(store.results([first, second]), {first: "one", second: "two"})
    assert list(table.columns) == ["one", "two"]
    shown = table["one"]
    assert (shown["Threads"], shown["Batch size"], shown["torch"], shown["Test images"]) == (
        "1",
        "1",
        "2.14.1",
        "2,000",
    )
