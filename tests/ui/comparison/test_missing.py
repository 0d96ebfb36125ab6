"""Runs that a view waits for."""

from __future__ import annotations

import pytest

from experiments.recipe import Recipe
from experiments.store import Store
from ui.comparison import missing

RECIPE = Recipe(model="resnet_fmnist")


class Redrawn(Exception):
    """Stands for the page being drawn again."""


@pytest.fixture
def watched(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    def rerun() -> None:
        raise Redrawn

    monkeypatch.setattr(missing, "store", lambda: store)
    monkeypatch.setattr(missing.st, "rerun", rerun)
    return store


def test_the_page_is_drawn_again_once_a_run_has_ended_and_not_before(watched: Store) -> None:
    first, second = watched.enqueue(RECIPE), watched.begin_here(RECIPE)
    missing.draw_at_work([first, second])
    watched.fail(second, "broken")
    with pytest.raises(Redrawn):
        missing.draw_at_work([first, second])


def test_a_run_that_was_deleted_counts_as_ended(watched: Store) -> None:
    with pytest.raises(Redrawn):
        missing.draw_at_work(["nobody"])
