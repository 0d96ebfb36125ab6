"""Who pays: the images, classes and stages behind a difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import sample_models
from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from sample_models import contract
from tests.pages.charts import charts
from tests.pages.left_behind import finished
from ui.comparison.pictures import PER_PAGE
from ui.figures.classes import LIGHT

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
ORT = Recipe(model=MODEL, runtime="onnxruntime")
PRUNED = ORT.model_copy(update={"techniques": (TECHNIQUES["structured_pruning"](),)})
BOTH = ORT.model_copy(update={"techniques": (*PRUNED.techniques, TECHNIQUES["int8"]())})
SPLIT = sample_models.test_split(MODEL)
NAMES = contract(MODEL).labels


def answers(*, wrong: range) -> np.ndarray[Any, np.dtype[np.int64]]:
    """All test images right but those at these positions, which are answered with the next class."""
    predictions = SPLIT.targets.copy()
    predictions[list(wrong)] = (predictions[list(wrong)] + 1) % 10
    return predictions


def who_pays(visit: Visit) -> AppTest:
    return visit("compare", model=MODEL, tab="Who pays")


def words(page: AppTest) -> str:
    return "\n".join(each.value for each in (*page.markdown, *page.caption, *page.info, *page.warning))


def leave_chain(store: Store, *, without: Recipe | None = None) -> None:
    """Each stage of a recipe measured: the runtime turns 2 images wrong, pruning 40 more, INT8 3 more and 5 right."""
    positions = {BASELINE: range(5), ORT: range(7), PRUNED: range(47), BOTH: range(5, 50)}
    for recipe, wrong in positions.items():
        if recipe != without:
            finished(store, recipe, predictions=answers(wrong=wrong))


@pytest.fixture
def chain(store: Store) -> Store:
    leave_chain(store)
    return store


def pictures(page: AppTest) -> list[Any]:
    return page.get("image")


def turned(page: AppTest) -> list[list[int]]:
    """What the stages turned wrong, as negative numbers, and right."""
    return [trace["x"] for trace in charts(page)[0]["data"][:2]]


def test_the_worst_variant_is_compared_with_the_baseline_at_first(visit: Visit, chain: Store) -> None:
    page = who_pays(visit)
    assert page.selectbox(key="pays.after").value == chain.finished_before(PRUNED).id
    assert "42 of 10,000 images (0.42 %) are answered differently: 42 right to wrong" in words(page).replace("\\", "")
    assert "99.95 % → 99.53 %: :red[**-0.42 points**]" in words(page)


def choose(page: AppTest, store: Store, recipe: Recipe) -> AppTest:
    return page.selectbox(key="pays.after").set_value(store.finished_before(recipe).id).run()


def test_no_difference_is_claimed_where_mcnemar_finds_none(visit: Visit, chain: Store) -> None:
    page = choose(who_pays(visit), chain, ORT)
    assert "no measurable difference (McNemar's exact test, p = 0.5)" in words(page)


def test_pictures_come_a_page_at_a_time_with_what_was_said_of_them(visit: Visit, chain: Store) -> None:
    page = who_pays(visit)
    assert len(pictures(page)) == PER_PAGE
    card = next(each.value for each in page.markdown if "before" in each.value)
    truth = NAMES[SPLIT.targets[5]]
    assert card.replace("\\", "").startswith(f"**{truth}**")
    assert ":green[:material/check:]" in card.splitlines()[1]
    assert ":red[:material/close:]" in card.splitlines()[2]
    assert "90\u00a0%" in card
    (pages,) = page.get("pagination")
    pages.set_value(4).run()
    assert len(pictures(page)) == 42 - 3 * PER_PAGE


def test_the_kind_of_flip_can_be_chosen(visit: Visit, chain: Store) -> None:
    page = choose(who_pays(visit), chain, BOTH)
    page.button_group[0].set_value("wrong_to_right").run()
    assert len(pictures(page)) == 5
    assert page.get("pagination") == []


def test_each_flip_is_put_down_to_the_stage_that_turned_it(visit: Visit, chain: Store) -> None:
    page = choose(who_pays(visit), chain, BOTH)
    assert turned(page) == [[-2, -40, -3], [0, 0, 5]]
    stage = next(each for each in page.selectbox if each.label == "Turned by")
    stage.set_value("INT8").run()
    assert len(pictures(page)) == 3
    assert all("turned by INT8" in each.value for each in page.markdown if "before" in each.value)


def test_the_true_class_can_be_chosen(visit: Visit, chain: Store) -> None:
    page = who_pays(visit)
    name = NAMES[SPLIT.targets[5]]
    next(each for each in page.selectbox if each.label == "True class").set_value(name).run()
    assert len(pictures(page)) == min(PER_PAGE, int((SPLIT.targets[5:47] == SPLIT.targets[5]).sum()))


def test_every_flip_is_in_the_table_with_its_stage(visit: Visit, chain: Store) -> None:
    table = choose(who_pays(visit), chain, BOTH).expander(key="pays.table").dataframe[0].value
    assert len(table) == 50
    assert table.stage.value_counts().to_dict() == {"Pruned 50 %": 40, "INT8": 8, "ONNX Runtime": 2}
    assert table.image[table.kind == "wrong to right"].tolist() == [0, 1, 2, 3, 4]


def test_a_stage_that_was_not_run_is_named_and_queued_by_one_button(visit: Visit, store: Store) -> None:
    leave_chain(store, without=PRUNED)
    page = choose(who_pays(visit), store, BOTH)
    assert PRUNED.title in words(page).replace("\\", "")
    assert pictures(page)
    page.button(key="run-stages").click().run()
    assert [record.recipe for record in store.queue()] == [PRUNED]
    assert "run-stages" not in [button.key for button in page.button]
    page.button(key="runs-stages").click().run()
    assert page.title[0].value == "Runs"


def test_a_variant_that_builds_on_another_is_told_apart_from_there(visit: Visit, chain: Store) -> None:
    page = choose(who_pays(visit), chain, BOTH)
    before = next(each for each in page.selectbox if each.label == "Compared with")
    before.set_value(chain.finished_before(PRUNED).id).run()
    assert turned(page) == [[-3], [5]]


def test_what_does_not_build_on_the_other_has_no_stages(visit: Visit, chain: Store) -> None:
    page = choose(who_pays(visit), chain, PRUNED)
    before = next(each for each in page.selectbox if each.label == "Compared with")
    before.set_value(chain.finished_before(BOTH).id).run()
    assert "builds upon" in words(page)


def test_the_map_has_all_variants_but_the_one_compared_with(visit: Visit, chain: Store) -> None:
    page = who_pays(visit)
    heat = charts(page)[-1]
    assert [title.split("</span> ")[1] for title in heat["layout"]["yaxis"]["ticktext"]] == [
        ORT.title, PRUNED.title, BOTH.title,
    ]  # fmt: skip
    assert heat["data"][0]["colorscale"][0][1] == LIGHT[0]
    accuracy, cells = page.expander(key="pays.tables").dataframe
    assert accuracy.value.images.tolist() == [1000] * 10
    assert cells.value.lost.sum() == 2 + 42 + 45
    assert cells.value.gained.sum() == 5


def test_answers_to_other_images_are_refused_in_a_sentence(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    finished(store, ORT)
    page = who_pays(visit)
    assert "2,000 images" in words(page)
    assert "10,000 labelled test images" in words(page)


def test_one_variant_alone_asks_for_a_second(visit: Visit, store: Store) -> None:
    finished(store, BASELINE, predictions=answers(wrong=range(5)))
    assert "second variant" in words(who_pays(visit))


def test_equal_answers_say_so(visit: Visit, store: Store) -> None:
    for recipe in (BASELINE, ORT):
        finished(store, recipe, predictions=answers(wrong=range(5)))
    said = words(who_pays(visit))
    assert "every image is answered as before" in said
    assert "No class gained or lost" in said


def test_a_variant_that_is_left_out_above_gives_its_place_to_another(visit: Visit, chain: Store) -> None:
    page = choose(who_pays(visit), chain, BOTH)
    for recipe in (BOTH, BASELINE):
        page.multiselect[0].unselect(chain.finished_before(recipe).id).run()
        assert not page.exception
    assert page.selectbox(key="pays.after").value in {chain.finished_before(each).id for each in (ORT, PRUNED)}
    assert pictures(page)
