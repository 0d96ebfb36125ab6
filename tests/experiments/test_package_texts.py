"""The words that go with a package."""

from __future__ import annotations

import pytest

from experiments.package_texts import heading, readme
from experiments.recipe import Recipe
from tests.pages.left_behind import measured

RECIPE = Recipe(model="resnet_fmnist", runtime="onnxruntime")


@pytest.mark.parametrize(("p50_ms", "told"), [(0.0072, "µs"), (0.47, "ms")])
def test_the_median_is_told_in_the_unit_of_the_run_s_page(p50_ms: float, told: str) -> None:
    result = measured(RECIPE, wrong=140, p50_ms=p50_ms, size_bytes=2**20)
    median = result.latency.p50_ms * (1000 if told == "µs" else 1)
    assert f"median {median:.3g} {told} for a batch of 1." in readme(RECIPE, result, (), ())


def test_the_readme_names_the_model_and_its_data() -> None:
    assert heading(RECIPE).splitlines() == [RECIPE.title, "The model is ResNet, with the data Fashion-MNIST."]


def test_of_a_model_that_is_gone_it_names_what_is_known() -> None:
    assert heading(Recipe(model="torch-gone")).splitlines()[1] == "The model is torch-gone."


def test_a_timing_that_was_disturbed_is_told_as_such() -> None:
    quiet = measured(RECIPE, wrong=140, p50_ms=0.47, size_bytes=2**20)
    busy = quiet.model_copy(update={"latency": quiet.latency.model_copy(update={"contended_share": 0.5})})
    assert "disturbed" not in readme(RECIPE, quiet, (), ())
    assert "(the timing was disturbed: other work on this machine took processor time)." in readme(RECIPE, busy, (), ())
