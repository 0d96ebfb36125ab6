"""The memory of a forward pass and the values in each layer, on the Profile page."""

from __future__ import annotations

import json

import pytest
import torch
from streamlit.testing.v1 import AppTest

from core.anatomy import Anatomy
from core.histograms import histogram
from core.quantization import Histogram
from experiments.profile import ProfileResult
from experiments.recipe import Recipe
from experiments.store import Store
from experiments.trial_grids import Estimate, Trial, trial_grid
from optimizers import TECHNIQUES
from tests.experiments.profiled import ANATOMY, module, profile_result, profiled
from tests.pages.left_behind import finished
from ui.profile.numbers import cost_in_words, cut_in_words, grid_in_words, hardest, memory_in_words

RECIPE = Recipe(model="resnet_fmnist", runtime="onnxruntime")


def spread(outlier: float = 1.0) -> Histogram:
    """A thousand values up to 1, and one outlier."""
    return histogram(torch.cat([torch.linspace(-1, 1, 1000), torch.tensor([outlier])]))


WITH_VALUES = ANATOMY.model_copy(
    update={
        "modules": (
            module("stem", weights=spread(), inputs=spread(), outputs=spread()),
            module("body.0.conv1", weights=spread(), inputs=spread(60), outputs=spread()),
            module("head.1", macs=0, outputs=spread()),
            module("unused"),
        )
    }
)


def page(run_id: str) -> None:
    from ui.profile.numbers import draw
    from ui.profile.subject import Subject
    from ui.state import store

    record, result = store().run(run_id), store().profile_result(run_id)
    assert record
    assert result
    draw(Subject(record, result))


def drawn(store: Store, result: ProfileResult, *, recipe: Recipe = RECIPE, run: str = "") -> AppTest:
    """The section of a finished profile."""
    test = AppTest.from_function(page, kwargs={"run_id": profiled(store, recipe, result, run=run)}, default_timeout=60)
    test.run(timeout=60)
    assert not test.exception
    return test


def words(test: AppTest) -> str:
    """All text on the page."""
    return "\n".join(str(each.value) for kind in ("markdown", "caption", "info") for each in test.get(kind))


def test_a_grid_is_tried_out_on_the_layer_that_needs_it_most_and_on_any_other(store: Store) -> None:
    test = drawn(store, profile_result(anatomy=WITH_VALUES))
    assert "At most **30.0 KiB** of activations are held at once, in **body.0.conv1**" in words(test)
    (chosen,) = test.selectbox
    assert chosen.value == 1
    assert chosen.options == ["1 · stem · Conv2d", "2 · body.0.conv1 · Conv2d", "3 · head.1 · Conv2d"]
    assert len(test.get("plotly_chart")) == 1 + 3 + 1
    assert words(test).count("256 values, ") == 3
    test.slider[0].set_value(3).run()
    assert words(test).count("8 values, each drawn, ") == 3
    coarse = words(test)
    test.segmented_control[0].set_value("Symmetric").run()
    assert words(test).count("7 values, each drawn, ") == 3
    test.segmented_control[1].set_value(0.01).run()
    assert "clipped: none" in coarse
    assert "clipped: 0.1 %" in words(test)
    test.selectbox[0].set_value(2).run()
    assert len(test.get("plotly_chart")) == 1 + 1 + 1
    shown = json.loads(test.get("plotly_chart")[1].proto.spec)["data"][0]
    assert sum(shown["y"]) == 1001
    assert not test.exception


def test_a_quantized_variant_has_a_way_to_its_real_grids(store: Store) -> None:
    recipe = RECIPE.model_copy(update={"techniques": (TECHNIQUES["int8"](),)})
    result, run_id = profile_result(precision="int8", anatomy=ANATOMY), finished(store, recipe)
    test = drawn(store, result, recipe=recipe, run=run_id)
    assert [each.label for each in test.button] == ["See the grids it was given"]
    assert "before it was quantized" in words(test)
    assert not test.selectbox
    store.delete(run_id)
    test.run()
    assert not test.button
    assert "The run with its grids was deleted" in words(test)


def test_without_an_anatomy_the_reason_is_told(store: Store) -> None:
    test = drawn(store, profile_result(anatomy=None, why_no_anatomy="Kept by an earlier version."))
    assert words(test) == "Kept by an earlier version."


def test_the_hardest_layer_is_the_one_whose_input_has_outliers() -> None:
    assert hardest(WITH_VALUES.modules).name == "body.0.conv1"
    assert hardest(WITH_VALUES.modules[2:]).name == "head.1"


def test_what_has_no_name_is_the_network_itself() -> None:
    steps = tuple(each.model_copy(update={"module": ""}) for each in ANATOMY.memory)
    assert "at once, in the network itself" in memory_in_words(Anatomy(images=1, modules=(), memory=steps))
    assert "at once, first in the network itself" in memory_in_words(Anatomy(images=1, modules=(), memory=steps * 2))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Estimate(20.0, 0.0, 0.25, 0.0), ":small[**20.0 dB** (1 % error)]  \n:small[clipped: none · zero: 25 %]"),
        (Estimate(None, 0.005, 0.5, 0.5), ":small[No error]  \n:small[clipped: 0.5 % · zero: 50 % (50 % before)]"),
    ],
)
def test_costs_in_words(found: Estimate, expected: str) -> None:
    assert cost_in_words(found) == expected


def test_grids_and_cuts_in_words() -> None:
    assert grid_in_words(trial_grid(spread(), Trial(8))) == "256 values, 0.00784 apart"
    assert grid_in_words(trial_grid(spread(), Trial(2, symmetric=True))) == "3 values, each drawn, 1 apart"
    assert [cut_in_words(share) for share in (0, 0.0001, 0.01)] == ["nothing", "0.01 %", "1 %"]
