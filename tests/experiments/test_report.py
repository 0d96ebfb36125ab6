from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from core.errors import BadInput
from experiments.compare import against_baseline, variants
from experiments.cost import Price
from experiments.key_figures import KeyFigure
from experiments.measures import MEASURES, NO_DIFFERENCE
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml
from experiments.report import Report, Wishes, compose, fewest_images_seen
from experiments.result import RunResult
from experiments.store import Store
from profiling.surroundings import Surroundings
from tests.experiments.synthetic import finish_with

MIB = 2**20
BASELINE = Recipe(model="resnet_fmnist")
FAST = Recipe(model="resnet_fmnist", runtime="onnxruntime", name="Fast")
ALIKE = Recipe(model="resnet_fmnist", runtime="openvino", name="Alike")
AT = datetime(2026, 11, 25, 9, tzinfo=UTC)


@pytest.fixture
def ids(store: Store) -> list[str]:
    """A baseline of 4 ms and 4 MiB, a variant of 1 ms and 1 MiB, and one like the baseline; their run ids."""
    return [
        finish_with(store, BASELINE, wrong=range(60), median_ms=4.0, size_bytes=4 * MIB),
        finish_with(store, FAST, wrong=range(62), median_ms=1.0, size_bytes=MIB),
        finish_with(store, ALIKE, wrong=range(61), median_ms=4.01, size_bytes=4 * MIB),
    ]


def report_on(store: Store, wishes: Wishes | None = None, *, without: str = "", **changed: RunResult) -> Report:
    records = [record for record in store.runs() if record.id != without]
    results = store.results([record.id for record in records]) | changed
    frame = against_baseline(variants(records), results)
    return compose(frame, records, results, wishes, at=AT)


def figure(report: Report, title: str) -> KeyFigure:
    return next(each for each in report.key_figures if each.title.startswith(title))


def row(report: Report, run_id: str) -> pd.Series[Any]:
    return report.frame[report.frame.run_id == run_id].iloc[0]


def test_key_figures_are_those_of_the_table(store: Store, ids: list[str]) -> None:
    report = report_on(store)
    base, fast = row(report, ids[0]), row(report, ids[1])
    assert report.recommended == ids[1]
    for title, key, column in (
        ("Accuracy", "accuracy", "accuracy"),
        ("Latency", "p50", "p50_ms"),
        ("Size", "size", "size_bytes"),
        ("Memory", "memory", "memory_bytes"),
    ):
        shown = figure(report, title)
        assert shown.value == MEASURES[key].text(float(fast[column])), title
        assert shown.before == MEASURES[key].text(float(base[column])), title
    assert figure(report, "Latency").change == fast.latency_verdict
    assert figure(report, "Accuracy").change == fast.accuracy_verdict == NO_DIFFERENCE
    assert figure(report, "Size").change == "4.00x smaller"


def test_what_cannot_be_told_apart_has_no_colour(store: Store, ids: list[str]) -> None:
    alike = report_on(store, Wishes(recommended=ids[2]))
    assert [figure(alike, title).tone for title in ("Accuracy", "Latency", "Size", "Memory")] == ["same"] * 4
    assert figure(alike, "Latency").change == NO_DIFFERENCE
    fast = report_on(store)
    assert [figure(fast, title).tone for title in ("Accuracy", "Latency", "Size")] == ["same", "better", "better"]


def test_the_author_can_recommend_another_and_the_report_says_so(store: Store, ids: list[str]) -> None:
    report = report_on(store, Wishes(recommended=ids[2]))
    assert report.recommended == ids[2]
    assert report.headline.startswith("Alike is")
    assert report.reason == "Chosen by the author of this report; the statistics alone would pick Fast."
    assert "author" not in report_on(store, Wishes(recommended=ids[1])).reason


@pytest.mark.parametrize("which", ["baseline", "nobody"])
def test_neither_the_baseline_nor_a_stranger_can_be_recommended(store: Store, ids: list[str], which: str) -> None:
    with pytest.raises(BadInput, match="not the baseline"):
        report_on(store, Wishes(recommended=ids[0] if which == "baseline" else "nobody"))


def contended(result: RunResult) -> RunResult:
    return result.model_copy(update={"latency": result.latency.model_copy(update={"contended_share": 0.5})})


def throttled(result: RunResult) -> RunResult:
    return result.model_copy(update={"surroundings": Surroundings(throttle_reasons=("too hot",))})


@pytest.mark.parametrize(
    ("spoil", "words"), [(contended, "Other work on this machine"), (throttled, "The GPU slowed itself down: too hot")]
)
def test_disturbed_timings_are_said_and_the_headline_is_doubted(
    store: Store, ids: list[str], spoil: Callable[[RunResult], RunResult], words: str
) -> None:
    results = store.results(ids)
    assert report_on(store).caveats == ()
    first, second = report_on(store, **{ids[0]: spoil(results[ids[0]])}).caveats
    assert first.startswith(words)
    assert first.endswith("while FP32 · PyTorch was timed.")
    assert "headline" in second
    (only,) = report_on(store, **{ids[2]: spoil(results[ids[2]])}).caveats
    assert only.endswith("while Alike was timed.")


def test_a_small_test_set_is_a_caveat(store: Store, ids: list[str]) -> None:
    report = report_on(store)
    records = [store.run(run_id) for run_id in ids]
    small = compose(report.frame.assign(total=60), records, report.results, at=AT)
    assert small.caveats == ("With only 60 test images, no change of accuracy below 10.0 points can be seen.",)


def test_without_the_baseline_nothing_is_compared(store: Store, ids: list[str]) -> None:
    report = report_on(store, Wishes(price=Price(1, "hour")), without=ids[0])
    assert "no differences are claimed" in report.caveats[0]
    assert {each.before for each in report.key_figures} == {""}
    assert {each.change for each in report.key_figures} == {""}
    assert "untouched" not in report.headline


def test_costs_are_there_with_a_price_only(store: Store, ids: list[str]) -> None:
    assert report_on(store).costs == ()
    report = report_on(store, Wishes(price=Price(3.6, "hour", "EUR")))
    assert [line.run_id for line in report.costs] == ids
    cost = figure(report, "Cost")
    assert (cost.value, cost.before, cost.tone) == (report.costs[1].amount, report.costs[0].amount, "better")
    assert report.cost_notes == ("All: from the measured throughput and €3.60 per hour of a machine always busy.",)


def test_recipes_can_be_replayed_from_the_report(store: Store, ids: list[str]) -> None:
    report = report_on(store)
    assert [from_yaml(report.recipes[run_id]) for run_id in ids] == [BASELINE, FAST, ALIKE]


def test_sections_on_the_time_are_passed_on_and_empty_ones_left_out(store: Store, ids: list[str]) -> None:
    causes = (("Conversions", 0.1, "They only change the format."),)
    report = report_on(store, Wishes(why=(("INT8", causes), ("Nothing known", ()))))
    assert report.why == (("INT8", causes),)
    assert report_on(store).why == ()


def test_a_report_has_a_title_a_version_and_what_was_measured_on_what(store: Store, ids: list[str]) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    report = report_on(store)
    assert report.title.startswith("ResNet")
    assert report_on(store, Wishes(title="  Mine ")).title == "Mine"
    assert report.program.startswith(f"Post-Training Studio {project['version']}")
    commit = report.results[ids[0]].conditions.commit
    assert commit is None or commit[:7] in report.program
    assert report.subject.startswith("ResNet on Fashion-MNIST · ")
    assert report.date == AT


def test_the_limits_name_test_set_device_and_batch_size(store: Store, ids: list[str]) -> None:
    report = report_on(store)
    limits = " ".join(report.limits)
    assert "1,000 test images" in limits
    assert report.results[ids[0]].conditions.device_name in limits
    assert "one image at once" in limits


@pytest.mark.parametrize("images", [60, 10_000])
def test_fewer_changed_images_are_never_significant_and_these_are(images: int) -> None:
    fewest = fewest_images_seen(images)
    assert p_value(fewest, 0) < 0.05
    for gained in range(20):
        assert p_value(fewest - 1 + gained, gained) >= 0.05


def p_value(lost: int, gained: int) -> float:
    return float(mcnemar([[0, lost], [gained, 0]], exact=True).pvalue)
