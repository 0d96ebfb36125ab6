"""Why a variant is not faster, on screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.layers import Layer, LayerProfile
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.store import Store
from optimizers import TECHNIQUES
from profiling.energy import NotMeasured
from tests.experiments.profiles import conversion, other, peaks, product
from tests.pages.charts import charts
from tests.pages.left_behind import finished, measured

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
ORT = Recipe(model=MODEL, runtime="onnxruntime")
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")


def profiled(store: Store, recipe: Recipe, layers: list[Layer], **facts: Any) -> str:
    """Leave a finished run whose layers took these times; its id."""
    call_ms = sum(layer.time_ms for layer in layers) + 0.1
    plain = measured(recipe, wrong=100, p50_ms=call_ms, size_bytes=1000)
    profile = LayerProfile(batch_size=1, calls=30, call_ms=call_ms, layers=tuple(layers))
    result = plain.model_copy(update={"layers": profile, "peaks": peaks(), **facts})
    run_id = store.begin_here(recipe)
    store.finish(run_id, RunResult.model_validate(result.model_dump(mode="json")))
    return run_id


def left(store: Store) -> tuple[str, str]:
    """FP32 and INT8 in ONNX Runtime, the latter with one layer left in float and costly conversions."""
    profiled(store, BASELINE, [product("features.0", 4.0), product("features.1", 4.0)])
    reference = profiled(store, ORT, [product("features.0", 2.0), product("features.1", 2.0)])
    quantized = [
        product("features.0", 0.5, precision="int8"),
        product("features.1", 2.0),
        conversion("quantize", 0.7),
        other("add", 0.2),
    ]
    return reference, profiled(store, INT8, quantized)


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


def test_with_the_baseline_alone_it_says_what_to_choose(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    assert "Choose a variant" in words(visit("compare", tab="Why"))
