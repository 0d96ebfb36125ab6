"""A factorised network on the run's page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from core.low_rank import LowRankReport
from experiments.low_rank import predicted
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.low_rank_reports import layer_of, report_of
from tests.pages.left_behind import finished
from ui.low_rank_view import headline, opened_with

REPORT = report_of(layer_of("body", 40, 40), layer_of("head", 40, 40, why_fixed="Kept by the pattern head."))
RECIPE = Recipe(model="vit_fmnist", techniques=(TECHNIQUES["low_rank"](energy=0.9),), runtime="onnxruntime")


def page(content: str, run_id: str) -> None:
    from core.low_rank import LowRankReport
    from ui.low_rank_view import draw_low_rank
    from ui.state import store

    record = store().run(run_id)
    assert record
    draw_low_rank(LowRankReport.model_validate_json(content), record)


@pytest.fixture
def record(store: Store) -> RunRecord:
    """A finished run."""
    found = store.run(finished(store, RECIPE))
    assert found
    return found


def drawn(report: LowRankReport, record: RunRecord) -> AppTest:
    test = AppTest.from_function(
        page, kwargs={"content": report.model_dump_json(), "run_id": record.id}, default_timeout=60
    )
    test.run(timeout=60)
    assert not test.exception
    return test


def test_the_headline_tells_what_was_kept_of_what() -> None:
    words = headline(REPORT)
    assert "1 of 2 layers became two, to keep 90 % of the energy of what they put out on 64 calibration images" in words
    assert f"parameters 4.28 k → {REPORT.parameters_after / 1000:.2f} k" in words
    assert "of the energy of the weights" in headline(REPORT.model_copy(update={"activation_aware": False}))


def test_the_slider_foretells_and_opens_the_recipe(record: RunRecord) -> None:
    test = drawn(REPORT, record)
    assert [metric.label for metric in test.metric] == ["MACs", "Parameters", "Layers that become two"]
    assert test.button[0].disabled
    assert "This run has that energy" in test.caption[-1].value
    test.slider[0].set_value(0.6).run()
    assert not test.exception
    foretold = predicted(REPORT, 0.6)
    assert test.metric[1].label == "Parameters, predicted"
    assert test.metric[1].value == f"{foretold.parameters_after / 1000:.2f} k"
    assert (
        f"{100 * (foretold.parameters_after / REPORT.parameters_after - 1):+.0f} % against this run"
        in test.metric[1].delta
    )
    assert not test.button[0].disabled
    recipe, _ = opened_with(0.6, record)
    assert recipe
    assert recipe.techniques == (TECHNIQUES["low_rank"](energy=0.6),)


def test_a_network_without_a_spectrum_has_no_figure(record: RunRecord) -> None:
    test = drawn(report_of(layer_of("head", 4, 4, why_fixed="Kept by the pattern head.")), record)
    assert not test.get("plotly_chart")
    assert any("no spectrum" in caption.value for caption in test.caption)


def test_a_model_that_is_gone_cannot_be_opened(record: RunRecord) -> None:
    gone = record.recipe.model_copy(update={"model": "gone"})
    recipe, reason = opened_with(0.6, replace(record, recipe=gone))
    assert recipe is None
    assert "not here any more" in reason
