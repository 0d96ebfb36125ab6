"""Pages that look into networks of PyTorch say in a sentence what they cannot do with those of Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from experiments.recipe import Recipe
from experiments.references import fine_tuned_control
from experiments.result import RunResult
from experiments.store import Store
from tests.experiments.tflite_runs import BASELINE, MODEL, recipe, result

Visit = Callable[..., AppTest]
PRUNED = recipe(("keras_pruning", {"epochs": 3}))
INT8 = recipe(("keras_quantization", {}))


def leave(store: Store, asked: Recipe, **figures: Any) -> str:
    """A finished run of it; its id."""
    found: RunResult = result(asked, **figures)
    run_id = store.begin_here(asked)
    store.finish(run_id, found)
    return run_id


@pytest.fixture
def runs(store: Store) -> dict[str, str]:
    """The untouched network, its control, pruned and in INT8; their ids."""
    control = fine_tuned_control(PRUNED)
    assert control is not None
    return {
        "baseline": leave(store, BASELINE),
        "control": leave(store, control, wrong=180),
        "pruned": leave(store, PRUNED, zeros=0.8, gzip_bytes=123_000, wrong=230),
        "int8": leave(store, INT8, precision="int8", size_bytes=113_000, gzip_bytes=104_000, p50_ms=0.0134),
    }


def words(page: AppTest) -> str:
    """All that is written on a page."""
    return " ".join(each.value for kind in (page.markdown, page.caption, page.info) for each in kind)


@pytest.mark.parametrize("name", ["profile", "truth", "compare", "export", "models", "optimise"])
def test_no_page_breaks_on_a_network_of_keras(visit: Visit, runs: dict[str, str], name: str) -> None:
    assert not visit(name, model=MODEL).exception


@pytest.mark.parametrize("run", ["baseline", "control", "pruned", "int8"])
def test_the_page_of_a_run_explains_its_file(visit: Visit, runs: dict[str, str], run: str) -> None:
    page = visit("runs", run=runs[run])
    assert not page.exception
    assert "Compressed" in "".join(each.help or "" for each in page.metric)


def test_the_profile_page_says_why_it_cannot_profile_it(visit: Visit, runs: dict[str, str]) -> None:
    page = visit("profile", model=MODEL, variant=runs["pruned"])
    assert not page.exception


@pytest.mark.parametrize("tab", ["Overview", "Trade-offs", "Why", "Who pays", "Attribution", "Report"])
def test_every_tab_of_the_comparison_draws(visit: Visit, runs: dict[str, str], tab: str) -> None:
    assert not visit("compare", model=MODEL, tab=tab).exception


def test_overview_says_what_training_alone_gained(visit: Visit, runs: dict[str, str]) -> None:
    page = visit("compare", model=MODEL)
    said = words(page)
    assert "Training alone, 3 epochs" in said
    assert "+1.00 points to the baseline" in said
    assert "shrink the compressed file alone, and speed nothing up" in said
    table = next(each.value for each in page.dataframe if "training" in each.value)
    assert table.technique.tolist() == ["-2.50 points"]
    assert table.total.tolist() == ["-1.50 points"]
    assert "its control had" not in said
    assert "alike)" not in table.control.item()


def test_overview_says_in_what_a_control_is_not_like_its_variant(visit: Visit, store: Store) -> None:
    chain = recipe(*((key, {"epochs": 50}) for key in ("keras_pruning", "keras_clustering", "keras_qat")))
    control = fine_tuned_control(chain)
    assert control is not None
    for asked in (BASELINE, control, chain):
        leave(store, asked)
    page = visit("compare", model=MODEL)
    assert "its control had one training instead of 3; the highest of the variant's" in words(page)
    table = next(each.value for each in page.dataframe if "training" in each.value)
    assert table.control.item().endswith("(not quite alike)")


def test_without_its_control_the_comparison_offers_to_run_it(visit: Visit, store: Store) -> None:
    leave(store, BASELINE)
    leave(store, PRUNED, zeros=0.8, gzip_bytes=123_000, wrong=230)
    page = visit("compare", model=MODEL)
    assert "No control is among the chosen variants" in words(page)
    page.button(key="run-controls").click().run()
    control = fine_tuned_control(PRUNED)
    assert control is not None
    assert [each.recipe.digest for each in store.queue()] == [control.digest]


def test_why_explains_without_a_profile(visit: Visit, runs: dict[str, str]) -> None:
    page = visit("compare", model=MODEL, tab="Why")
    page.selectbox(key="why.variant").set_value(runs["pruned"]).run()
    said = words(page)
    assert "neither shrinks this file nor speeds it up" in said
    assert "Against that control" in said
    assert "-2.50 points" in said
