"""The first page: what there is, and the first run in one click."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from core.devices import list_devices, why_no_gpu
from experiments.recipe import Recipe
from experiments.store import Store

Visit = Callable[..., AppTest]


def words(page: AppTest) -> str:
    """All text on the page."""
    return "\n".join(str(element.value) for kind in ("markdown", "caption", "info") for element in page.get(kind))


def test_devices_are_shown_and_a_missing_gpu_is_explained(visit: Visit) -> None:
    shown = words(visit("home")).replace("\\", "")
    assert all(device.name in shown for device in list_devices())
    assert (why_no_gpu() or "") in shown


def test_an_empty_store_says_what_to_press(visit: Visit) -> None:
    page = visit("home")
    assert page.button(key="start").label in page.info[0].value


def test_one_click_queues_baseline_and_int8_and_goes_to_the_run(visit: Visit, store: Store) -> None:
    page = visit("home")
    page.button(key="start").click().run()
    queue = store.queue()
    assert [record.recipe.is_baseline for record in queue] == [True, False, False]
    variant = queue[1]
    assert [technique.key for technique in variant.recipe.techniques] == ["int8"]
    assert variant.recipe.runtime == "onnxruntime"
    assert page.query_params["run"] == variant.id


def test_recent_runs_lead_to_their_page(visit: Visit, store: Store) -> None:
    ids = [store.enqueue(Recipe(model="vit_fmnist", name=f"Run *{number}*")) for number in range(8)]
    page = visit("home")
    assert "Run \\*7\\*" in words(page)
    assert "Run \\*0\\*" not in words(page)
    page.button(key=f"open-{ids[7]}").click().run()
    assert page.query_params["run"] == ids[7]
