"""Why a variant is not faster, on screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from experiments.recipe import Recipe
from experiments.store import Store
from profiling.energy import NotMeasured
from tests.experiments.explained_runs import BASELINE, INT8, left
from tests.pages.charts import charts
from tests.pages.left_behind import finished, measured

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"


def words(page: AppTest) -> str:
    kinds = ("markdown", "caption", "info", "warning")
    return "\n".join(str(element.value) for kind in kinds for element in page.get(kind))


def test_the_causes_are_named_and_the_bars_end_at_the_measured_time(visit: Visit, store: Store) -> None:
    reference, variant = left(store)
    page = visit("compare", tab="Why")
    page.selectbox(key="why.variant").set_value(variant).run()
    assert page.selectbox(key=f"why.reference.{variant}").value == reference
    assert "features.1" in words(page)
    bars = charts(page)[0]["data"][0]
    ends = [base + length for base, length in zip(bars["base"], bars["x"], strict=True)]
    assert ends[-1] == pytest.approx(store.run(variant).summary.p50_ms)  # type: ignore[union-attr]
    before_the_last = bars["base"][-2] + bars["x"][-2]
    assert before_the_last == pytest.approx(ends[-1], abs=2e-3)


def test_a_cause_leads_to_the_setting_that_would_change_it(visit: Visit, store: Store) -> None:
    _, variant = left(store)
    page = visit("compare", tab="Why")
    page.selectbox(key="why.variant").set_value(variant).run()
    button = next(each for each in page.button if str(each.key).startswith("cause."))
    button.click().run()
    assert page.title[0].value == "Optimise"
    assert "What to try here" in words(page)


def test_against_the_baseline_the_runtime_is_told_apart(visit: Visit, store: Store) -> None:
    _, variant = left(store)
    page = visit("compare", tab="Why")
    page.selectbox(key="why.variant").set_value(variant).run()
    baseline = store.finished_before(BASELINE)
    assert baseline
    page.selectbox(key=f"why.reference.{variant}").set_value(baseline.id).run()
    assert "The runtime itself" in words(page)


def test_a_duel_can_be_started_and_is_listed(visit: Visit, store: Store) -> None:
    reference, variant = left(store)
    page = visit("compare", tab="Why")
    page.selectbox(key="why.variant").set_value(variant).run()
    page.button(key="duel").click().run()
    (duel,) = store.duels(MODEL)
    assert duel.duel
    assert (duel.duel.first, duel.duel.second, duel.state) == (reference, variant, "queued")
    assert page.query_params["run"] == duel.id
    assert duel.id not in [record.id for record in store.variants(MODEL, INT8.settings, limit=9)]


def test_without_a_profile_the_reason_is_said(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    compiled = Recipe(model=MODEL, runtime="torch_compile")
    silent = measured(compiled, wrong=100, p50_ms=1.0, size_bytes=1000)
    run_id = store.begin_here(compiled)
    reasons = {"why_no_layers": "It fuses its layers.", "energy": NotMeasured(reason="No counter")}
    store.finish(run_id, silent.model_copy(update=reasons))
    page = visit("compare", tab="Why")
    assert "It fuses its layers" in words(page)
    assert "before runs kept a profile" in words(page)


def test_with_one_variant_alone_it_says_what_to_choose(visit: Visit, store: Store) -> None:
    finished(store, INT8)
    assert "Choose a variant" in words(visit("compare", tab="Why"))


def test_with_the_baseline_alone_it_says_what_to_choose(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    assert "Choose a variant" in words(visit("compare", tab="Why"))
