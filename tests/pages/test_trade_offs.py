"""Variants weighed against each other: budgets, axes, distributions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from profiling.energy import Energy, EnergyWindow
from tests.pages.left_behind import MIB, finished, measured
from ui.comparison.budgets import NO_LIMIT

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
ORT = Recipe(model=MODEL, runtime="onnxruntime")
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")


@pytest.fixture
def runs(store: Store) -> dict[str, str]:
    """Three variants, of which the fastest loses 2 points."""
    return {
        "baseline": finished(store, BASELINE, wrong=100, p50_ms=4.0, size_bytes=8 * MIB),
        "ort": finished(store, ORT, wrong=100, p50_ms=1.0, size_bytes=8 * MIB),
        "int8": finished(store, INT8, wrong=140, p50_ms=0.5, size_bytes=2 * MIB),
    }


def trade_offs(visit: Visit) -> AppTest:
    return visit("compare", model=MODEL, tab="Trade-offs")


def charts(page: AppTest) -> list[dict[str, Any]]:
    """One measure over another, all measures, and the latencies, as plotly reads them."""
    return [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]


def slider(page: AppTest, key: str) -> Any:
    return page.select_slider(key=f"budget.{MODEL}.{key}")


def answer(page: AppTest) -> str:
    return str(page.subheader[0].value).replace("\\", "")


def words(page: AppTest) -> str:
    return "\n".join(each.value for each in [*page.markdown, *page.caption]).replace("\\", "")


@pytest.mark.usefixtures("runs")
def test_moving_a_budget_changes_the_answer_and_names_its_price(visit: Visit) -> None:
    page = trade_offs(visit)
    assert answer(page).startswith("INT8 · ONNX Runtime is the fastest at p50 (0.50 ms)")
    assert "No budget binds" in words(page)
    slider(page, "points_lost").set_value(1.5).run()
    assert answer(page).startswith("FP32 · ONNX Runtime is the fastest at p50 (1.00 ms)")
    assert "**Accuracy lost binds.** 0.50 points more would buy 2.0" in words(page)
    assert page.table[0].value.loc[0].tolist() == ["Accuracy lost", "1.50 points", "0.000 points", "1.50 points", "yes"]


def test_the_choice_is_marked_in_the_figure_and_what_breaks_a_budget_is_hollow(
    visit: Visit, runs: dict[str, str]
) -> None:
    page = trade_offs(visit)
    slider(page, "points_lost").set_value(1.5).run()
    pareto, lines = charts(page)[:2]
    ring = next(trace for trace in pareto["data"] if trace.get("name") == "Chosen")
    assert ring["x"] == [pytest.approx(1.0, rel=0.01)]
    hollow = [trace for trace in pareto["data"] if "Breaks: Accuracy lost" in trace.get("hovertext", "")]
    assert [trace["marker"]["color"] for trace in hollow] == ["rgba(0,0,0,0)"]
    assert any(shape["y0"] == pytest.approx(95 - 1.5) for shape in pareto["layout"]["shapes"])
    thickest = max(lines["data"], key=lambda trace: trace["line"]["width"])
    assert thickest["name"] == "FP32 · ONNX Runtime"
    assert {"Ring", "Hollow", "Shaded"} <= set(words(page).replace(":", "").split())


@pytest.mark.usefixtures("runs")
def test_when_nothing_fits_the_nearest_misses_are_named(visit: Visit) -> None:
    page = trade_offs(visit)
    slider(page, "points_lost").set_value(0.0).run()
    slider(page, "p50_ms").set_value(0.6).run()
    assert "None of the 3 variants fits." in answer(page)
    assert "Accuracy lost: INT8 · ONNX Runtime comes nearest, needs 2.00 points more and would then fit." in words(page)
    assert "Latency p50: FP32 · ONNX Runtime comes nearest" in words(page)


@pytest.mark.usefixtures("runs")
def test_all_limits_go_at_once(visit: Visit) -> None:
    page = trade_offs(visit)
    slider(page, "points_lost").set_value(0.0).run()
    slider(page, "size_bytes").set_value(2.5).run()
    page.button(key=f"budget.{MODEL}.reset").click().run()
    assert [slider(page, key).value for key in ("points_lost", "size_bytes")] == [NO_LIMIT, NO_LIMIT]
    assert answer(page).startswith("INT8 · ONNX Runtime")


@pytest.mark.usefixtures("runs")
def test_the_objective_decides_who_is_best(visit: Visit) -> None:
    page = trade_offs(visit)
    page.selectbox(key=f"budget.{MODEL}.objective").set_value("accuracy").run()
    assert "is the most accurate (95.00 %)" in answer(page)


@pytest.mark.usefixtures("runs")
def test_two_measures_become_the_axes(visit: Visit) -> None:
    page = trade_offs(visit)
    layout = charts(page)[0]["layout"]
    assert "Latency p50" in layout["xaxis"]["title"]["text"]
    assert "Accuracy" in layout["yaxis"]["title"]["text"]
    page.selectbox(key="pareto.x").set_value("size").run()
    page.selectbox(key="pareto.y").set_value("memory").run()
    figure = charts(page)[0]
    assert "Size (MiB)" in figure["layout"]["xaxis"]["title"]["text"]
    assert "Memory (MiB)" in figure["layout"]["yaxis"]["title"]["text"]
    sizes = sorted(trace["x"][0] for trace in figure["data"] if "hovertext" in trace)
    assert sizes == pytest.approx([2, 8, 8])
    page.selectbox(key="pareto.y").set_value("size").run()
    assert page.selectbox(key="pareto.x").value != "size"


@pytest.mark.usefixtures("runs")
def test_a_measure_that_nobody_has_is_not_offered_and_the_reason_is_given(visit: Visit) -> None:
    page = trade_offs(visit)
    assert "energy" not in page.selectbox(key="pareto.x").options
    assert "Energy is not offered" in words(page)
    assert not any("joules" in each.key for each in page.select_slider)


def test_energy_has_a_budget_and_who_lacks_it_is_named(visit: Visit, store: Store, runs: dict[str, str]) -> None:
    windows = tuple(EnergyWindow(joules=30 + step, seconds=1, inferences=1000) for step in range(6))
    energy = Energy(batch_size=1, idle_w=10, windows=windows)
    result = measured(INT8, wrong=140, p50_ms=0.5, size_bytes=2 * MIB).model_copy(update={"energy": energy})
    run_id = store.begin_here(INT8)
    store.finish(run_id, result)
    page = trade_offs(visit)
    assert slider(page, "joules").options[-1] == "no limit"
    page.selectbox(key="pareto.x").set_value("energy").run()
    assert "Not placed, because energy was not measured: FP32 · PyTorch, FP32 · ONNX Runtime." in words(page)
    disc = next(trace for trace in charts(page)[0]["data"] if "hovertext" in trace)
    assert disc["x"] == [pytest.approx(1000 * energy.joules_per_inference)]
    low, high = energy.joules_per_inference_interval or (0, 0)
    assert disc["error_x"]["array"] == [pytest.approx(1000 * (high - energy.joules_per_inference))]
    assert disc["error_x"]["arrayminus"] == [pytest.approx(1000 * (energy.joules_per_inference - low))]


@pytest.mark.usefixtures("runs")
def test_distributions_are_curves_or_violins_with_a_table(visit: Visit) -> None:
    page = trade_offs(visit)
    assert charts(page)[2]["layout"]["yaxis"]["title"]["text"] == "Share of calls"
    page.button_group(key="latencies.view").set_value("violins").run()
    assert charts(page)[2]["data"][0]["fill"] == "toself"
    assert "No long tails" in words(page)
    shown = page.dataframe[0].value
    assert shown.front.tolist() == [False, True, True]
    assert shown.p50.tolist() == pytest.approx([4.0, 1.0, 0.5], rel=0.01)


def test_a_limit_outlives_a_change_of_variants(visit: Visit, runs: dict[str, str]) -> None:
    page = trade_offs(visit)
    slider(page, "points_lost").set_value(1.5).run()
    page.multiselect[0].unselect(runs["int8"]).run()
    assert slider(page, "points_lost").value == 1.5
    assert answer(page).startswith("FP32 · ONNX Runtime")


def test_one_variant_without_a_baseline_is_still_shown(visit: Visit, store: Store) -> None:
    finished(store, INT8)
    page = trade_offs(visit)
    assert "and the only variant that fits" in answer(page)
    assert len(charts(page)) == 3
    assert not any("points_lost" in each.key for each in page.select_slider)
