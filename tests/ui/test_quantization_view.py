"""A quantized network on the run's page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from core.quantization import QuantizationReport
from experiments.quantized import steepest_fall
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.quantization_reports import layer_of, long_report, path_over, report_of
from tests.pages.left_behind import finished
from ui.quantization_path_view import other_recipe, points_table, steps_in_words
from ui.quantization_view import fall_in_words, inputs_in_words, layer_figures, symbols_in_words

LAYERS = ("stem", "body", "head")
SEARCHED = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](max_loss=1),), runtime="onnxruntime")


def page(content: str, run_id: str) -> None:
    from core.quantization import QuantizationReport
    from ui.quantization_view import draw_quantization
    from ui.state import store

    record = store().run(run_id)
    assert record
    draw_quantization(QuantizationReport.model_validate_json(content), record)


def report(*, searched: bool = True) -> QuantizationReport:
    """Three layers, the body falling most; with a path that chose the first upgrade."""
    return report_of(
        layer_of("stem", 40), layer_of("body", 20, sensitivity=0.5), layer_of("head", 18, bits=32),
        path=path_over(("body", "stem", "head"), lost=(30, 5, 2, 0), chosen=1) if searched else None,
    )  # fmt: skip


@pytest.fixture
def record(store: Store) -> RunRecord:
    """A finished run that searched."""
    found = store.run(finished(store, SEARCHED))
    assert found
    return found


def drawn(content: QuantizationReport, record: RunRecord, tab: str = "") -> AppTest:
    """The view after its first run, with a tab opened."""
    test = AppTest.from_function(
        page, kwargs={"content": content.model_dump_json(), "run_id": record.id}, default_timeout=60
    )
    if tab:
        test.session_state["quantization.tab"] = tab
    test.run(timeout=60)
    assert not test.exception
    return test


def words(test: AppTest) -> str:
    """All text on the page."""
    return "\n".join(str(each.value) for kind in ("markdown", "caption") for each in test.get(kind))


def test_the_headline_and_the_tabs_that_have_something_to_show(record: RunRecord) -> None:
    test = drawn(report(), record)
    assert "2 of 3 layers in INT8 by NNCF" in words(test)
    assert [tab.label for tab in test.tabs] == ["Where it diverges", "Ranges", "Sensitivity", "Path", "All layers"]
    bare = report_of(layer_of("a", 30, input_grid=None, sensitivity=None))
    assert [tab.label for tab in drawn(bare, record).tabs] == ["Where it diverges", "All layers"]


def test_the_worst_layer_is_looked_into_first_and_any_other_can_be(record: RunRecord) -> None:
    test = drawn(report(), record)
    assert "**body**" in words(test)
    assert test.selectbox[0].value == 1
    assert len(test.get("plotly_chart")) == 3
    test.selectbox[0].set_value(2).run()
    assert "Left in float: Kept by the pattern head" in words(test)
    assert not test.exception


def test_a_tab_that_another_run_had_is_no_trouble(record: RunRecord) -> None:
    test = drawn(report(searched=False), record, "Path")
    assert "Path" not in [tab.label for tab in test.tabs]
    assert test.get("plotly_chart")


@pytest.mark.parametrize("tab", ["Ranges", "Sensitivity", "Path"])
def test_every_tab_draws_its_figure(tab: str, record: RunRecord) -> None:
    assert len(drawn(report(), record, tab).get("plotly_chart")) == 1


def test_fifty_layers_are_drawn_in_every_tab(record: RunRecord) -> None:
    for tab in ("", "Ranges", "Sensitivity", "Path", "All layers"):
        drawn(long_report(50), record, tab)


def test_the_table_has_every_layer_and_can_be_taken_along(record: RunRecord) -> None:
    test = drawn(report(), record, "All layers")
    assert test.dataframe[0].value.name.tolist() == list(LAYERS)
    assert len(test.get("download_button")) == 1


def test_names_cannot_format_the_page(record: RunRecord) -> None:
    evil = report_of(layer_of("![x](http://example.org/x.png)", 10), layer_of("b", 5))
    assert "![x](" not in words(drawn(evil, record))


def test_a_point_of_the_path_can_be_looked_at_and_made(record: RunRecord, store: Store) -> None:
    test = drawn(report(), record, "Path")
    make = f"quantization.make.{record.id}"
    assert test.button(key=make).disabled
    assert "This run is that variant" in words(test)
    test.select_slider[0].set_value(2).run()
    shown = {metric.label: (metric.value, metric.delta) for metric in test.metric}
    assert shown["Accuracy lost"] == ("0.20 ± 0.10 points", "-0.30 points against the chosen one")
    assert shown["Latency p50, timed briefly"] == ("1.20 ms", "+0.100 ms against the chosen one")
    assert "**In float** (2): body, stem" in words(test)
    test.button(key=make).click().run()
    queued = [each.recipe for each in store.queue() if each.recipe.techniques]
    assert [each.techniques for each in queued] == [(TECHNIQUES["int8"](keep=("body", "stem")),)]


def test_the_end_of_the_path_says_why_it_cannot_be_made(record: RunRecord) -> None:
    test = drawn(report(), record, "Path")
    test.select_slider[0].set_value(3).run()
    assert test.button(key=f"quantization.make.{record.id}").disabled
    assert "every layer is in float" in words(test)


def test_a_path_of_a_model_that_is_gone_makes_nothing(record: RunRecord) -> None:
    path = report().path
    assert path
    gone = replace(record, recipe=record.recipe.model_copy(update={"model": "gone"}))
    recipe, reason = other_recipe(path, 0, gone)
    assert recipe is None
    assert "not here any more" in reason


def test_the_points_are_a_table_too() -> None:
    path = report().path
    assert path
    table = points_table(path)
    assert table.steps.tolist() == [0, 1, 2, 3]
    assert table.lost.tolist() == pytest.approx([3, 0.5, 0.2, 0])
    assert table.added.tolist() == ["", "body (8 to float)", "stem (8 to float)", "head (8 to float)"]
    assert table.is_chosen.tolist() == [False, True, False, False]
    assert steps_in_words(path) == "Layers kept in float"


def test_the_sentence_says_whether_the_fall_matters_and_lasts() -> None:
    layers = report().layers
    assert "starts to diverge at **body**" in fall_in_words(steepest_fall(layers), layers)
    assert "18.0 dB (1.6 % error)" in fall_in_words(steepest_fall(layers), layers)
    small = (layer_of("a", 40), layer_of("b", 38))
    assert "No single layer costs as much as one bit" in fall_in_words(steepest_fall(small), small)
    branch = (layer_of("a", 40), layer_of("b", 20), layer_of("c", 39))
    assert "It recovers" in fall_in_words(steepest_fall(branch), branch)
    assert "Nowhere" in fall_in_words(None, (layer_of("a", 120),))


def test_symbols_are_explained_where_they_occur() -> None:
    assert symbols_in_words((layer_of("a", 40),)) == ""
    assert "Diamonds" in symbols_in_words((layer_of("a", 40), layer_of("b", 20, bits=4)))
    assert "Hollow" in symbols_in_words((layer_of("a", 40, bits=32),))


def test_a_layer_s_figures_name_scales_zero_points_and_ranges() -> None:
    table = layer_figures(layer_of("a", 30), "int8").set_index("Figure").Value
    assert len(table["Weight scales: smallest, median, largest"].split(" · ")) == 3
    assert table["Weight zero point"] == "0"
    assert table["Output SNR"] == "30.0 dB"
    assert {"Input seen", "Input covered", "Input scale"} <= set(table.index)
    in_float = layer_figures(layer_of("a", 120, bits=32), "int8").set_index("Figure").Value
    assert in_float["Weights in"] == "float"
    assert in_float["Output SNR"] == "no error to speak of"
    assert "Weight scale" not in in_float.index
    assert inputs_in_words(layer_of("a", 30, bits=32)) == "not on a fixed grid"
