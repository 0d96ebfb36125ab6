"""Variants side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from streamlit.testing.v1 import AppTest

from core.devices import find_device
from experiments.duel import Duel, DuelResult, Round
from experiments.recipe import MeasurementSettings, Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from profiling.accuracy import Accuracy
from profiling.latency import Latency
from profiling.machine import conditions
from tests.pages.left_behind import finished, measured, running
from ui.theme import BASELINE_LIGHT

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
ORT = Recipe(model=MODEL, runtime="onnxruntime")


def figures(page: AppTest) -> list[dict[str, Any]]:
    """The figures as plotly reads them."""
    return [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]


def table(page: AppTest) -> Any:
    """The table of all numbers."""
    return page.dataframe[0].value


def test_an_empty_store_says_what_to_press(visit: Visit, store: Store) -> None:
    running(store, BASELINE)
    page = visit("compare")
    assert "no run has finished" in page.info[0].value
    page.button(key="go-optimise").click().run()
    assert page.title[0].value == "Optimise"


def test_the_newest_run_of_each_recipe_is_shown_the_baseline_first_and_grey(visit: Visit, store: Store) -> None:
    finished(store, INT8, p50_ms=9)
    newest = finished(store, INT8, p50_ms=0.5)
    baseline = finished(store, BASELINE, p50_ms=2)
    page = visit("compare")
    assert list(table(page).index) == [baseline, newest]
    assert len(figures(page)) == 6
    for panel in figures(page):
        colours = next(trace for trace in panel["data"] if "base" in trace)["marker"]["color"]
        assert colours[0] == BASELINE_LIGHT
        assert colours[1] != BASELINE_LIGHT


def test_differences_are_words_with_units(visit: Visit, store: Store) -> None:
    finished(store, BASELINE, wrong=100, p50_ms=2.0)
    finished(store, INT8, wrong=120, p50_ms=0.5)
    finished(store, ORT, wrong=100, p50_ms=2.0)
    rows = table(visit("compare"))
    assert rows.accuracy_change.tolist() == ["baseline", "-1.00 points", "no measurable difference"]
    assert rows.speed_change.iloc[1].startswith(("3.9", "4.0"))
    assert rows.speed_change.iloc[2] == "no measurable difference"


def test_leaving_a_variant_out_leaves_it_out_everywhere(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    variant = finished(store, INT8)
    page = visit("compare")
    page.multiselect[0].unselect(variant).run()
    assert variant not in table(page).index
    page.multiselect[0].set_value([]).run()
    assert "at least one" in page.info[0].value


def test_without_its_baseline_no_difference_is_claimed(visit: Visit, store: Store) -> None:
    finished(store, INT8)
    page = visit("compare")
    assert "no differences" in page.info[0].value
    assert table(page).speed_change.tolist() == [""]


def test_models_and_measurement_settings_are_never_mixed(visit: Visit, store: Store) -> None:
    vit = finished(store, Recipe(model="vit_fmnist"))
    finished(store, INT8)
    eight = finished(store, BASELINE.model_copy(update={"measurement": MeasurementSettings(batch_size=8)}))
    page = visit("compare", model="vit_fmnist")
    assert list(table(page).index) == [vit]
    page.selectbox(key="compare.model").set_value(MODEL).run()
    assert list(table(page).index) == [eight]
    assert len(page.selectbox(key=f"compare.settings.{MODEL}").options) == 2


def test_conditions_are_there_for_each_variant(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    finished(store, INT8)
    shown = visit("compare").expander(key="conditions").dataframe[0].value
    assert list(shown.columns) == ["FP32 · PyTorch", INT8.title]
    assert {"Device", "Threads", "torch", "Date", "Batch size", "Timed calls"} <= set(shown.index)


def test_columns_in_which_all_are_alike_are_hidden_until_asked_for(visit: Visit, store: Store) -> None:
    finished(store, BASELINE, p50_ms=2.0)
    finished(store, INT8, p50_ms=0.5)
    page = visit("compare")
    shown = list(page.dataframe[0].proto.column_order)
    assert {"title", "accuracy", "p50_ms", "precision", "runtime"} <= set(shown)
    assert "macs" not in shown
    assert "MACs" in next(caption.value for caption in page.caption if "Hidden" in caption.value)
    page.toggle(key="all-columns").set_value(True).run()
    assert "macs" in page.dataframe[0].proto.column_order


def test_the_table_can_be_narrowed_to_a_runtime(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    variant = finished(store, INT8)
    page = visit("compare")
    page.button_group(key="filter.runtime").set_value(["onnxruntime"]).run()
    assert list(table(page).index) == [variant]


def test_a_finished_duel_is_no_variant_and_leaves_the_page_whole(visit: Visit, store: Store) -> None:
    first, second = finished(store, BASELINE), finished(store, INT8)
    duel = Duel(first=first, second=second)
    run_id = store.enqueue_duel(duel)
    store.claim(run_id, os.getpid())
    turn = Round(first_ms=1.0, control_ms=1.0, second_ms=0.5, order=("first", "control", "second"))
    here = conditions(find_device("cpu"), threads=1, seed=0)
    store.finish(run_id, DuelResult(duel=duel, batch_size=1, rounds=(turn,) * 40, conditions=here))
    page = visit("compare", model=MODEL)
    assert set(table(page).index) == {first, second}
    assert store.result(run_id) is None
    assert store.duel_result(first) is None
    shown = visit("runs", run=run_id)
    assert any("2.00x faster" in markdown.value for markdown in shown.markdown)


def test_variants_too_slow_for_an_interval_are_compared_without_a_verdict(visit: Visit, store: Store) -> None:
    for recipe, p50_ms in ((BASELINE, 2000.0), (INT8, 1000.0)):
        slow = measured(recipe, wrong=10, p50_ms=p50_ms, size_bytes=1000)
        few = Latency(batch_size=1, blocks_ms=((p50_ms,),) * 3, warmup_ms=300, first_call_ms=1, contended_share=0.0)
        run_id = store.begin_here(recipe)
        store.finish(run_id, slow.model_copy(update={"latency": few}))
    assert table(visit("compare")).speed_change.tolist() == ["baseline", "no measurable difference"]
    assert not visit("runs", run=run_id).error


def test_variants_measured_on_other_images_are_shown_without_agreement(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    other = measured(INT8, wrong=10, p50_ms=1.0, size_bytes=1000)
    fewer = Accuracy(predictions=(0,) * 500, confidences=(0.9,) * 500, wrong=tuple(range(10)))
    store.finish(store.begin_here(INT8), other.model_copy(update={"accuracy": fewer}))
    page = visit("compare")
    assert not page.error
    assert table(page).agreement.isna().tolist() == [False, True]
