"""The words that go with a package."""

from __future__ import annotations

import pytest

from experiments.package_texts import readme
from experiments.recipe import Recipe
from tests.pages.left_behind import measured


@pytest.mark.parametrize(("p50_ms", "told"), [(0.0072, "µs"), (0.47, "ms")])
def test_the_median_is_told_in_the_unit_of_the_run_s_page(p50_ms: float, told: str) -> None:
    result = measured(Recipe(model="resnet_fmnist"), wrong=140, p50_ms=p50_ms, size_bytes=2**20)
    median = result.latency.p50_ms * (1000 if told == "µs" else 1)
    assert f"median {median:.3g} {told} for a batch of 1." in readme("A package", result, (), ())
