"""A pruned network on the run's page."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.judging import LABELLED
from core.pruning import PruningReport
from experiments.pruning import bend_of, scan_table
from experiments.recipe import Recipe
from experiments.references import reference_of
from experiments.run_record import RunRecord
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.pruning_reports import ROUNDS, SEARCH, report, scan_of, wide_report
from tests.pages.left_behind import finished
from ui.pruning_curve_view import bend_in_words
from ui.pruning_schedule_view import rounds_in_words, search_in_words

TABS = ["Channels", "Importance", "Accuracy against ratio", "Rounds", "Search", "All layers"]


def pruned(**settings: Any) -> Recipe:
    technique = TECHNIQUES["structured_pruning"](**settings)
    return Recipe(model="resnet_fmnist", techniques=(technique,), runtime="onnxruntime")


def page(content: str, run_id: str) -> None:
    from core.pruning import PruningReport
    from ui.pruning_view import draw_pruning
    from ui.state import store

    record = store().run(run_id)
    assert record
    draw_pruning(PruningReport.model_validate_json(content), record)


@pytest.fixture
def record(store: Store) -> RunRecord:
    """A finished run at half of the channels."""
    found = store.run(finished(store, pruned(ratio=0.5)))
    assert found
    return found


def drawn(content: PruningReport, record: RunRecord, tab: str = "") -> AppTest:
    """The view after its first run, with a tab opened."""
    test = AppTest.from_function(
        page, kwargs={"content": content.model_dump_json(), "run_id": record.id}, default_timeout=60
    )
    if tab:
        test.session_state["pruning.tab"] = tab
    test.run(timeout=60)
    assert not test.exception
    return test


def metrics(test: AppTest) -> dict[str, tuple[str, str]]:
    return {metric.label: (metric.value, metric.delta) for metric in test.metric}


def test_every_tab_is_drawn_for_small_and_wide_networks(record: RunRecord) -> None:
    full = report(rounds=ROUNDS, search=SEARCH)
    assert [tab.label for tab in drawn(full, record).tabs] == TABS
    for tab in TABS:
        test = drawn(full, record, tab)
        assert test.get("plotly_chart") or tab == "All layers"
    for tab in TABS[:3]:
        assert drawn(wide_report(), record, tab).get("plotly_chart")


def test_the_slider_predicts_and_the_recipe_opens_with_it(record: RunRecord) -> None:
    test = drawn(report(), record, "Importance")
    assert metrics(test)["MACs, predicted"] == ("68.8 k", "3.68x fewer than before")
    assert metrics(test)["Accuracy, not fine-tuned"] == ("94.00 %", "read off the curve")
    assert test.button(key=f"pruning.open.{record.id}").disabled
    test.slider(key=f"pruning.ratio.{record.id}").set_value(0.75).run()
    assert metrics(test)["Channels, predicted"] == ("6", "of 24 that may go")
    assert metrics(test)["Accuracy, not fine-tuned"][0] == "47.50 %"
    assert not test.button(key=f"pruning.open.{record.id}").disabled
    test.segmented_control(key=f"pruning.scope.{record.id}").set_value(False).run()
    assert "Accuracy, not fine-tuned" not in metrics(test)


def test_missing_ratios_are_counted_and_queued_once(record: RunRecord, store: Store) -> None:
    finished(store, pruned(ratio=0.3))
    test = drawn(report(), record, "Accuracy against ratio")
    assert "7 runs: 0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9." in [caption.value for caption in test.caption]
    test.button(key=f"pruning.ladder.{record.id}").click().run()
    queued = [each.recipe for each in store.queue()]
    assert [each.techniques for each in queued] == [
        pruned(ratio=r).techniques for r in (0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9)
    ]
    assert "7 of these runs wait or run." in [caption.value for caption in test.caption]
    assert not [button for button in test.button if button.key == f"pruning.ladder.{record.id}"]


def test_what_the_curve_says_fits_its_shape() -> None:
    def words(*shares: float, images: int = 1000) -> str:
        curve = scan_table(report(scan=scan_of(shares, images)))
        return bend_in_words(bend_of(curve), curve, LABELLED, of_runs=False)

    assert "Up to **0.3** the network (cut at once and not fine-tuned) loses 2.00 points" in words(
        0.9, 0.9, 0.88, 0.68, 0.48
    )
    assert "costs **20.0 points**" in words(0.9, 0.9, 0.88, 0.68, 0.48)
    assert "falls from the first" in words(0.9, 0.5, 0.3, 0.2, 0.15)
    assert "told from chance" in words(0.9, 0.91, 0.9, 0.9)
    assert "Too few" in words(0.9, 0.5)


def test_the_search_ends_with_what_was_measured(record: RunRecord, store: Store) -> None:
    found = report(search=SEARCH)
    assert "has not finished" in search_in_words(found, record)
    finished(store, reference_of(record.recipe), p50_ms=2.03)
    sentence = search_in_words(found, record)
    assert sentence.startswith("Wanted 2x the speed of the unpruned network, found 1.97x in the search at ratio 0.55, ")
    assert "measured 2.03x (95 % interval 2.0" in sentence


def test_rounds_without_fine_tuning_say_so() -> None:
    assert "91.00 % after fine-tuning (95 % interval" in rounds_in_words(ROUNDS, LABELLED)
    bare = ROUNDS[0].model_copy(update={"correct_after_tuning": None})
    assert rounds_in_words((bare,), LABELLED) == "One round, without fine-tuning: 70.00 % right after the last cut."


def test_names_cannot_format_the_page(record: RunRecord) -> None:
    found = report()
    evil = found.layers[-1].model_copy(update={"name": "![x](http://example.org/x.png)"})
    test = drawn(found.model_copy(update={"layers": (*found.layers[:-1], evil)}), record)
    assert "![x](" not in "".join(str(each.value) for each in test.markdown)


def test_the_table_has_every_layer(record: RunRecord) -> None:
    test = drawn(report(), record, "All layers")
    table = test.dataframe[0].value
    assert isinstance(table, pd.DataFrame)
    assert table.name.tolist() == ["stem", "first", "second", "head"]
    assert len(test.get("download_button")) == 1
