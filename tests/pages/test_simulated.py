"""Simulated number formats on the pages: accuracy in words that say so, and no speed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.test_simulation import left_behind
from tests.pages.left_behind import finished, running
from tests.pages.test_runs import metrics, words

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)


def recipe_of(**settings: Any) -> Recipe:
    return Recipe(model=MODEL, techniques=(TECHNIQUES["simulated"](**settings),))


def test_a_finished_run_says_simulated_and_shows_no_speed(visit: Visit, store: Store) -> None:
    finished(store, BASELINE, wrong=100)
    page = visit("runs", run=left_behind(store, recipe_of(bits=4), wrong=120))
    shown = metrics(page)
    assert shown["Accuracy, simulated"] == ("94.00 %", "-1.00 points")
    assert shown["Agreement"][0] == "100.00 %"
    assert shown["Bits per weight"] == ("4.50", "computed, not measured")
    assert shown["Size"] == ("1.00 MiB", "computed, not measured")
    assert not {"Latency p50", "Throughput", "Memory", "File size"} & set(shown)
    assert "speed, memory and file size were not measured" in words(page)
    assert not [button for button in page.button if button.key == "export"]


def test_without_a_baseline_no_difference_is_claimed(visit: Visit, store: Store) -> None:
    page = visit("runs", run=left_behind(store, recipe_of(), wrong=120))
    assert metrics(page)["Accuracy, simulated"] == ("94.00 %", "")
    assert "Agreement" not in metrics(page)
    assert "once the baseline" in words(page)


def test_every_layer_can_be_looked_into(visit: Visit, store: Store) -> None:
    page = visit("runs", run=left_behind(store, recipe_of(), wrong=120))
    assert "1 of 1 layers in " in words(page)
    assert len(page.get("plotly_chart")) >= 1


def test_history_lists_its_accuracy_without_a_latency(visit: Visit, store: Store) -> None:
    left_behind(store, recipe_of(), wrong=120)
    table = visit("runs").dataframe[0].value
    assert table.accuracy.tolist() == [94.0]
    assert table.p50_ms.isna().all()
    assert table.title.iloc[0].startswith("Simulated")


def test_while_it_works_no_place_is_kept_for_latency(visit: Visit, store: Store) -> None:
    page = visit("runs", run=running(store, recipe_of()))
    charts = "\n".join(chart.proto.id or chart.key for chart in page.get("echarts_chart"))
    assert "accuracy" in charts
    assert "latency_ms" not in charts


def test_the_overview_shows_them_apart_from_the_variants(visit: Visit, store: Store) -> None:
    baseline = finished(store, BASELINE, wrong=100)
    left_behind(store, recipe_of(bits=8), wrong=101, weight_bits=8.1)
    left_behind(store, recipe_of(bits=3), wrong=400, weight_bits=3.1)
    page = visit("compare")
    variants, simulated = page.dataframe[0].value, page.dataframe[1].value
    assert list(variants.index) == [baseline]
    assert simulated.title.tolist() == ["INT3 per channel", "INT8 per channel"]
    assert simulated.accuracy_verdict.tolist() == ["-15.00 points", "no measurable difference"]
    assert any("speed is not measured" in caption.value for caption in page.caption)
    chart = json.loads(page.get("plotly_chart")[-1].proto.spec)
    assert [trace["x"] for trace in chart["data"]] == [[3.1], [8.1]]
    assert any(note["text"] == "INT3 per channel" for note in chart["layout"]["annotations"])
    assert any("FP32 baseline 95.00 %" in note["text"] for note in chart["layout"]["annotations"])


def test_without_any_the_overview_says_nothing_of_them(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    left_behind(store, Recipe(model="vit_fmnist", techniques=recipe_of().techniques), wrong=5)
    page = visit("compare", model=MODEL)
    assert not any("imulated" in element.value for element in [*page.subheader, *page.caption])
    assert not any("weight_bits" in table.value for table in page.dataframe)


@pytest.mark.parametrize("named", [False, True])
def test_it_cannot_be_exported(named: bool, visit: Visit, store: Store) -> None:
    ready = finished(store, BASELINE)
    run_id = left_behind(store, recipe_of(), wrong=120)
    page = visit("export", **({"run": run_id} if named else {}))
    assert page.query_params["run"] == ready
    assert [run for run in page.selectbox(key="export.run").options if "imulated" in run] == []
    assert bool(page.warning) == named


def test_run_again_queues_it_without_a_second_baseline(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    page = visit("runs", run=left_behind(store, recipe_of(), wrong=120))
    page.button(key="again").click().run()
    again = store.run(page.query_params["run"])
    assert again
    assert (again.recipe, again.state) == (recipe_of(), "queued")
    assert len(store.queue()) == 1
