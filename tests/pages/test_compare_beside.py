"""Variants of several models in one comparison: judged by the same images, told against one baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from experiments import models
from experiments.recipe import MeasurementSettings, Recipe
from experiments.store import Store, open_store
from optimizers import TECHNIQUES
from tests.pages.left_behind import MIB, finished
from ui.theme import BASELINE_LIGHT

Visit = Callable[..., AppTest]
RESNET, DEPTHWISE, PHOTOGRAPHS = "resnet_fmnist", "dwcnn_fmnist", "efficientnet_lite0"
BASELINE = Recipe(model=RESNET)
INT8 = Recipe(model=RESNET, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
OTHER = Recipe(model=DEPTHWISE)
OTHER_INT8 = INT8.model_copy(update={"model": DEPTHWISE})


@pytest.fixture
def both(store: Store) -> Store:
    """The ResNet's baseline and INT8, and the other model's, which is smaller, faster and less accurate."""
    finished(store, OTHER, wrong=240, p50_ms=0.5, size_bytes=MIB)
    finished(store, OTHER_INT8, wrong=260, p50_ms=0.25, size_bytes=MIB // 2)
    finished(store, INT8, wrong=105, p50_ms=0.5, size_bytes=MIB)
    finished(store, BASELINE, wrong=100, p50_ms=2.0, size_bytes=4 * MIB)
    return store


def beside(page: AppTest) -> Any:
    """The choice of variants of other models; None where there is none."""
    return next((each for each in page.multiselect if each.label.startswith("Beside them")), None)


def with_all(visit: Visit, tab: str = "Overview") -> AppTest:
    """The page of the ResNet with both variants of the other model beside its own."""
    page = visit("compare", model=RESNET, tab=tab)
    return beside(page).set_value(others()).run()


def others() -> list[str]:
    """The runs that can be chosen beside."""
    return [record.id for record in open_store().variants(DEPTHWISE, BASELINE.settings, limit=10)]


def table(page: AppTest) -> Any:
    """The table of all numbers."""
    return page.dataframe[0].value


def test_other_models_are_offered_and_none_is_shown_unasked(visit: Visit, both: Store) -> None:
    page = visit("compare", model=RESNET)
    assert beside(page).value == []
    assert beside(page).options == [
        "Depthwise-separable CNN: FP32 · PyTorch",
        f"Depthwise-separable CNN: {OTHER_INT8.title}",
    ]
    assert len(table(page)) == 2
    assert "model" not in table(page)


def test_differences_are_to_the_chosen_model_s_baseline(visit: Visit, both: Store) -> None:
    rows = table(with_all(visit))
    assert rows.model.tolist() == ["ResNet", "ResNet", "Depthwise-separable CNN", "Depthwise-separable CNN"]
    assert rows.accuracy_change.tolist() == ["baseline", "no measurable difference", "-7.00 points", "-8.00 points"]
    assert rows.speed_change.iloc[2].startswith(("3.9", "4.0"))
    assert rows.size_change.tolist() == ["baseline", "4.00x smaller", "4.00x smaller", "8.00x smaller"]
    assert rows.title.iloc[2] == "FP32 · PyTorch · Depthwise-separable CNN"


def test_one_bar_is_the_grey_baseline_and_those_of_other_models_are_hatched(visit: Visit, both: Store) -> None:
    spec = json.loads(with_all(visit).get("plotly_chart")[0].proto.spec)
    bar = next(trace for trace in spec["data"] if "base" in trace)
    assert bar["marker"]["color"][0] == BASELINE_LIGHT
    assert bar["marker"]["pattern"]["shape"] == ["", "", "/", "/"]


def test_models_judged_by_other_images_or_measured_otherwise_are_not_offered(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    finished(store, Recipe(model=PHOTOGRAPHS))
    finished(store, Recipe(model=DEPTHWISE, measurement=MeasurementSettings(threads=2)))
    assert beside(visit("compare", model=RESNET)) is None


def test_flips_are_told_across_models(visit: Visit, store: Store) -> None:
    right = models.test_split(RESNET).targets
    wrong = (right + 1) % 10
    finished(store, BASELINE, predictions=np.where(np.arange(len(right)) < 100, wrong, right))
    other = finished(store, OTHER, predictions=np.where(np.arange(len(right)) < 130, wrong, right))
    page = beside(visit("compare", model=RESNET, tab="Who pays")).set_value([other]).run()
    assert page.selectbox(key="pays.after").value == other
    said = " ".join(each.value for each in page.markdown)
    assert "-0.30 points" in said
    assert not page.warning


@pytest.mark.parametrize("tab", ["Why", "Attribution"])
def test_what_makes_no_sense_across_models_keeps_to_the_chosen_one(visit: Visit, both: Store, tab: str) -> None:
    page = with_all(visit, tab)
    assert not page.exception
    assert any("only the variants of ResNet" in each.value for each in page.caption)


def test_trade_offs_and_the_report_take_all(visit: Visit, both: Store) -> None:
    page = with_all(visit, "Trade-offs")
    assert not page.exception
    assert any("Diamonds: variants of other models" in each.value for each in page.caption)
    page = with_all(visit, "Report")
    recommended = next(each for each in page.selectbox if each.label == "Recommended variant")
    assert any(option.endswith("Depthwise-separable CNN") for option in recommended.options)


def test_a_copied_link_shows_the_same_comparison(visit: Visit, both: Store) -> None:
    page = visit("compare", model=RESNET)
    own = page.multiselect(key=f"compare.variants.{RESNET}.{BASELINE.settings}")
    own.set_value(own.value[:1]).run()
    beside(page).set_value(others()[1:]).run()
    link = dict(page.query_params)
    assert link["beside"] == OTHER_INT8.digest
    again = visit("compare", **link)
    assert table(again).index.tolist() == table(page).index.tolist()
    assert table(again).model.tolist() == ["ResNet", "Depthwise-separable CNN"]
    beside(again).set_value([]).run()
    assert "beside" not in again.query_params


def test_a_link_finds_a_recipe_that_ran_again_and_its_settings(visit: Visit, both: Store) -> None:
    link = {"model": RESNET, "settings": BASELINE.settings, "beside": OTHER.digest}
    newer = finished(both, OTHER)
    finished(both, BASELINE.model_copy(update={"measurement": MeasurementSettings(batch_size=8)}))
    assert table(visit("compare", **link)).index[-1] == newer


def test_what_a_link_names_that_is_not_offered_counts_for_nothing(visit: Visit, both: Store) -> None:
    page = visit("compare", model=RESNET, settings="tpu|1|0", variant="gone", beside=INT8.digest)
    assert table(page).index.tolist() == table(visit("compare", model=RESNET)).index.tolist()
    assert beside(page).value == []
    assert page.query_params["settings"] == BASELINE.settings
    assert not {"variant", "beside"} & set(page.query_params)


def test_another_model_begins_without_what_stood_beside_the_first(visit: Visit, both: Store) -> None:
    page = visit("compare", model=RESNET, beside=OTHER.digest)
    page.selectbox(key="compare.model").set_value(DEPTHWISE).run()
    page.selectbox(key="compare.model").set_value(RESNET).run()
    assert beside(page).value == []
