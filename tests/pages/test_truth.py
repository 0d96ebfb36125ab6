"""The Truth page: the matrix, the cell looked into, and the way to what is missing."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from experiments.store import Store
from tests.experiments.truths import INT8, MODEL, SETTINGS, UNTOUCHED, at, diverging, fidelity, finished, whole
from tests.pages.charts import charts
from ui.truth_view import clicked

Visit = Callable[..., AppTest]
SUBJECT = f"{MODEL}.{SETTINGS}"


def left(store: Store) -> str:
    """FP32 in two runtimes, INT8 that differs since `net.1` in a third; the id of the last."""
    finished(store, UNTOUCHED, fidelity(), p50_ms=2)
    finished(store, at(UNTOUCHED, "onnxruntime"), fidelity())
    return finished(store, INT8, fidelity(agreeing=610, relative=0.4, divergence=diverging(0.01, 0.4, first=1)))


def words(page: AppTest) -> str:
    return "\n".join(str(each.value) for each in (*page.markdown, *page.error, *page.success, *page.info))


def test_an_empty_store_says_what_to_press(visit: Visit, store: Store) -> None:
    page = visit("truth")
    assert "no run has finished" in page.info[0].value
    assert page.button(key="go-optimise")


def test_the_matrix_shows_all_and_opens_what_differs(visit: Visit, store: Store) -> None:
    left(store)
    page = visit("truth", model=MODEL)
    assert "2 of 3 exports answer like the network they were made from" in page.error[0].value
    chart, probes = charts(page)
    said = [note["text"] for note in chart["layout"]["annotations"]]
    assert any("✗ 61 %" in each for each in said)
    assert sum("✓ 100 %" in each for each in said) == 2
    assert "**INT8 in ONNX Runtime**" in words(page)
    assert "It begins at net" in words(page)
    assert "aten.conv2d" in words(page)
    assert [mark["x"] for mark in probes["data"][1:]] == [[0], [1]]
    metrics = {metric.label: metric.value for metric in page.metric}
    assert metrics["Agreement"] == "61 %"
    assert metrics["Difference"] == "40 %"
    assert metrics["Cold start"] == "900 ms"


def test_another_aspect_and_another_cell(visit: Visit, store: Store) -> None:
    left(store)
    page = visit("truth", model=MODEL)
    page.button_group(key="truth.aspect").set_value("latency").run()
    assert any("1.999 ms" in note["text"] for note in charts(page)[0]["layout"]["annotations"])
    page.selectbox(key=f"truth.row.{SUBJECT}").set_value(whole(store).rows[0].key).run()
    assert not page.exception
    assert "**FP32 in ONNX Runtime**" in words(page)
    page.selectbox(key=f"truth.runtime.{SUBJECT}").set_value("openvino").run()
    assert page.button(key="truth-run-one")
    assert page.query_params["runtime"] == "openvino"


def test_a_click_comes_as_a_list_or_with_its_places_as_keys() -> None:
    assert clicked([2, 1]) == clicked({"0": 2, "1": 1}) == (2, 1)


def test_an_address_opens_its_cell(visit: Visit, store: Store) -> None:
    left(store)
    key = whole(store).rows[1].key
    page = visit("truth", model=MODEL, variant=key, runtime="pytorch")
    assert "**INT8 in PyTorch**" in words(page)
    assert "would compute the rounded values in float" in words(page)
    assert "**INT8 in ONNX Runtime**" in words(visit("truth", model=MODEL, variant="nonsense", runtime="nonsense"))


def test_what_to_try_opens_the_recipe_at_its_setting(visit: Visit, store: Store) -> None:
    left(store)
    page = visit("truth", model=MODEL)
    page.button(key="truth-try").click().run()
    assert not page.exception
    assert page.title[0].value == "Optimise"
    assert "Keep in float" in page.info[0].value


def test_what_is_missing_is_queued_once_with_its_references(visit: Visit, store: Store) -> None:
    left(store)
    page = visit("truth", model=MODEL)
    page.button(key="truth-run").click().run()
    assert not page.exception
    queued = [each.recipe.digest for each in store.queue()]
    assert len(set(queued)) == len(queued)
    wanted = (
        at(INT8, "openvino"),
        at(INT8, "torch_compile"),
        at(UNTOUCHED, "openvino"),
        at(UNTOUCHED, "torch_compile"),
    )
    assert {recipe.digest for recipe in wanted} <= set(queued)
    assert INT8.digest not in queued
    assert not [button for button in page.button if button.key == "truth-run"]


def test_runs_from_before_answers_were_compared_can_be_run_again(visit: Visit, store: Store) -> None:
    finished(store, UNTOUCHED)
    page = visit("truth", model=MODEL)
    assert "before answers were compared" in words(page)
    page.button(key="truth-again").click().run()
    assert [each.recipe.digest for each in store.queue()] == [UNTOUCHED.digest]


def test_all_figures_are_there_as_a_table(visit: Visit, store: Store) -> None:
    run_id = left(store)
    page = visit("truth", model=MODEL)
    frame = next(each.value for each in page.dataframe if "relative_difference" in each.value)
    row = frame[frame.run_id == run_id].iloc[0]
    assert (row.agreement, row.first_diverging_layers) == (0.61, "net.1")
