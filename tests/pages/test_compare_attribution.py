"""What each technique contributed, and the runs that are needed to tell."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

import experiments.attribution
from experiments.recipe import MeasurementSettings, Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.charts import charts
from tests.pages.left_behind import MIB, finished

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"
ORT = Recipe(model=MODEL, runtime="onnxruntime")
PRUNED = ORT.model_copy(update={"techniques": (TECHNIQUES["structured_pruning"](),)})
INT8 = ORT.model_copy(update={"techniques": (TECHNIQUES["int8"](),)})
BOTH = ORT.model_copy(update={"techniques": (*PRUNED.techniques, *INT8.techniques)})


def attribution(visit: Visit) -> AppTest:
    return visit("compare", model=MODEL, tab="Attribution")


def words(page: AppTest) -> str:
    shown = (*page.markdown, *page.caption, *page.info, *page.warning)
    return "\n".join(each.value for each in shown).replace("\\", "")


def leave_all(store: Store) -> None:
    """The recipe and its subsets; together better than the product of both alone in size, worse in latency."""
    finished(store, ORT, wrong=100, p50_ms=8.0, size_bytes=16 * MIB)
    finished(store, PRUNED, wrong=140, p50_ms=4.0, size_bytes=8 * MIB)
    finished(store, INT8, wrong=110, p50_ms=2.0, size_bytes=4 * MIB)
    finished(store, BOTH, wrong=160, p50_ms=2.0, size_bytes=1 * MIB)


def bars(page: AppTest, number: int) -> list[list[float]]:
    return [trace["x"] for trace in charts(page)[number]["data"] if trace["type"] == "bar"]


def test_contributions_are_the_shapley_values_worked_out_by_hand(visit: Visit, store: Store) -> None:
    leave_all(store)
    page = attribution(visit)
    # 2,000 images: alone -2.0 and -0.5 points, together -3.0, so each adds the mean of alone and last.
    assert bars(page, 0) == [pytest.approx([-2.25, -0.75]), pytest.approx([-3.0])]
    halves = math.log(2)
    assert bars(page, 1)[0] == pytest.approx([0.5 * halves, 1.5 * halves], abs=0.02)
    assert bars(page, 2) == [pytest.approx([1.5 * halves, 2.5 * halves]), pytest.approx([4 * halves])]
    assert "-3.00 points" in words(page)
    assert "16.0x smaller" in words(page)
    assert "Pruned 50 %, accuracy: -2.25 points (-2.00 points by itself, -2.50 points on top of the others)." in words(
        page
    )


def test_the_tables_hold_the_contributions_and_the_runs_behind_them(visit: Visit, store: Store) -> None:
    leave_all(store)
    contributions, measured = attribution(visit).expander(key="attribution.table").dataframe
    accuracy = contributions.value[contributions.value.measure == "Accuracy"]
    assert (accuracy.low < accuracy.contribution).all()
    assert (accuracy.high > accuracy.contribution).all()
    assert measured.value.title.tolist() == [ORT.title, PRUNED.title, INT8.title, BOTH.title]
    assert measured.value.size_bytes.tolist() == [16, 8, 4, 1]


def test_missing_subsets_are_named_timed_and_queued_by_one_button(visit: Visit, store: Store) -> None:
    finished(store, BOTH)
    finished(store, PRUNED)
    page = attribution(visit)
    assert ORT.title in words(page)
    assert INT8.title in words(page)
    assert "2 of 4 measured" in page.get("progress")[0].proto.text
    assert "About" in words(page)
    page.button(key="run-attribution").click().run()
    assert [record.recipe for record in store.queue()] == [ORT, INT8]
    assert words(page).count("in the queue") == 2
    assert "run-attribution" not in [button.key for button in page.button]


def test_what_waits_already_is_not_queued_again(visit: Visit, store: Store) -> None:
    finished(store, BOTH)
    store.enqueue(ORT)
    page = attribution(visit)
    page.button(key="run-attribution").click().run()
    assert [record.recipe for record in store.queue()] == [ORT, PRUNED, INT8]


def test_a_subset_measured_in_another_way_does_not_count(visit: Visit, store: Store) -> None:
    leave_all(store)
    seed = BOTH.model_copy(update={"measurement": MeasurementSettings(latency_seconds=9)})
    newest = finished(store, seed)
    page = attribution(visit)
    page.selectbox(key="attribution.recipe").set_value(newest).run()
    assert "1 of 4 measured" in page.get("progress")[0].proto.text


def test_a_subset_that_failed_says_why_and_can_be_run_again(visit: Visit, store: Store) -> None:
    leave_all(store)
    store.delete(store.finished_before(INT8).id)
    store.fail(store.enqueue(INT8), "No space left on the disk.")
    page = attribution(visit)
    assert "No space left" in words(page)
    page.button(key="run-attribution").click().run()
    assert [record.recipe for record in store.queue()] == [INT8]


def test_without_two_techniques_it_says_which_recipe_would_help(visit: Visit, store: Store) -> None:
    finished(store, PRUNED)
    page = attribution(visit)
    assert "structured pruning and then INT8" in page.info[-1].value
    page.button(key="attribution.optimise").click().run()
    assert page.title[0].value == "Optimise"


def test_the_only_possible_order_is_named(visit: Visit, store: Store) -> None:
    leave_all(store)
    page = attribution(visit)
    assert "Only 1 of 2 orders is possible: Pruned 50 % → INT8." in words(page)
    assert "run-orders" not in [button.key for button in page.button]


def test_other_orders_are_queued_and_compared(visit: Visit, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_all(store)
    monkeypatch.setattr(experiments.attribution, "why_refused", lambda recipe, kind: "")
    page = attribution(visit)
    orders = page.dataframe[-1].value
    assert orders.order.tolist() == ["Pruned 50 % → INT8", "INT8 → Pruned 50 %"]
    assert orders.accuracy.tolist() == [92.0, pytest.approx(math.nan, nan_ok=True)]
    page.button(key="run-orders").click().run()
    (waiting,) = store.queue()
    assert waiting.recipe.techniques == BOTH.techniques[::-1]
