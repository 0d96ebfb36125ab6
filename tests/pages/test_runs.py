"""The queue, the history and the live view."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.proto.Metric_pb2 import Metric as MetricProto
from streamlit.testing.v1 import AppTest

from core.folders import run_folder
from core.progress import PhaseStarted, Progress
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import finished, measured, running

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
EVIL = Recipe(model=MODEL, name="![x](http://example.org/x.png) **bold** :red[red]")


def words(page: AppTest) -> str:
    """All text on the page."""
    kinds = ("title", "markdown", "caption", "info", "warning", "error")
    return "\n".join(str(element.value) for kind in kinds for element in page.get(kind))


def metrics(page: AppTest) -> dict[str, tuple[str, str]]:
    """Value and difference by label."""
    return {metric.label: (metric.value, metric.delta) for metric in page.metric}


def test_an_empty_store_says_what_to_press(visit: Visit) -> None:
    page = visit("runs")
    assert "press **Run**" in page.info[0].value
    page.button(key="go-optimise").click().run()
    assert page.title[0].value == "Optimise"


def test_history_lists_what_ended_newest_first(visit: Visit, store: Store) -> None:
    finished(store, BASELINE, wrong=140)
    store.fail(store.begin_here(INT8), "It broke.")
    table = visit("runs").dataframe[0].value
    assert table.state.tolist() == [["failed"], ["finished"]]
    assert table.title.tolist() == [INT8.title, BASELINE.title]
    assert table.accuracy.iloc[1] == pytest.approx(93.0)


def test_history_tells_times_below_a_tenth_of_a_millisecond_in_microseconds(visit: Visit, store: Store) -> None:
    finished(store, BASELINE, wrong=140, p50_ms=0.0072)
    assert "7.2 µs" in visit("runs").dataframe[0].proto.arrow_data.styler.display_values.decode(errors="ignore")


def test_what_works_or_waits_can_be_opened_and_cancelled_from_the_list(visit: Visit, store: Store) -> None:
    working, waiting = running(store, BASELINE), store.enqueue(INT8)
    page = visit("runs")
    page.button(key=f"cancel-{waiting}").click().run()
    assert store.run(waiting).state == "cancelled"  # type: ignore[union-attr]
    page.button(key=f"open-{working}").click().run()
    assert page.query_params["run"] == working
    assert page.title[0].value == BASELINE.title


def test_an_unknown_run_is_one_sentence_and_a_way_out(visit: Visit) -> None:
    page = visit("runs", run="<b>nonsense</b>")
    assert "There is no run" in page.warning[0].value
    assert "<b>" not in page.warning[0].value
    page.button(key="all-runs").click().run()
    assert "run" not in page.query_params


def test_a_running_run_shows_its_phase_its_progress_and_its_curves(visit: Visit, store: Store) -> None:
    run_id = running(store, INT8)
    page = visit("runs", run=run_id)
    shown = words(page)
    assert ":green-badge[:material/check: Load 1.0 s]" in shown
    assert ":blue-badge[:material/play_arrow: Accuracy" in shown
    assert ":gray-badge[:material/more_horiz: Latency]" in shown
    assert page.progress[0].value == 62
    assert "1,256 of 2,000 images" in page.progress[0].proto.text
    assert "21 of 22 layers quantized" in shown
    charts = [chart.proto.id or chart.key for chart in page.get("echarts_chart")]
    assert len(charts) == 5


def test_a_poll_reads_only_new_events(visit: Visit, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = running(store, BASELINE)
    page = visit("runs", run=run_id)
    seen: list[int] = []
    events = Store.events
    monkeypatch.setattr(
        Store, "events", lambda self, run, after=0: seen.append(after) or events(self, run, after=after)
    )
    newest = events(store, run_id)[-1].id
    store.append(run_id, [Progress(done=1500, total=2000, unit="images", doing="classifying the test images")])
    page.run()
    assert min(seen) == newest
    assert page.progress[0].value == 75


def test_cancel_reaches_the_scheduler_and_cannot_be_pressed_twice(visit: Visit, store: Store) -> None:
    run_id = running(store, BASELINE)
    page = visit("runs", run=run_id)
    page.button(key=f"cancel-{run_id}").click().run()
    assert store.run(run_id).cancel_requested  # type: ignore[union-attr]
    assert page.button(key=f"cancel-{run_id}").disabled
    store.cancel(run_id)
    page.run()
    assert "Cancelled" in page.info[0].value
    assert not [button for button in page.button if button.key == f"cancel-{run_id}"]


def test_a_run_with_a_checkpoint_can_be_resumed_and_another_cannot(visit: Visit, store: Store) -> None:
    run_id = running(store, INT8)
    store.cancel(run_id)
    page = visit("runs", run=run_id)
    assert "Nothing was kept" in page.info[0].value
    assert "resume" not in [button.key for button in page.button]
    (run_folder(run_id) / "1-int8").mkdir()
    (run_folder(run_id) / "1-int8" / "training-0123456789abcdef.pt").write_bytes(b"weights")
    page.run()
    assert "What was trained up to the last checkpoint is kept" in page.info[0].value
    page.button(key="resume").click().run()
    assert store.run(run_id).state == "queued"  # type: ignore[union-attr]
    assert page.query_params["run"] == run_id
    assert "About to start" in page.info[0].value


def test_a_difference_that_other_work_may_have_made_is_grey(visit: Visit, store: Store) -> None:
    finished(store, BASELINE, wrong=100, p50_ms=2.0)
    slowed = measured(INT8, wrong=100, p50_ms=1.0, size_bytes=2_000_000)
    latency = slowed.latency.model_copy(update={"contended_share": 0.5})
    run_id = store.begin_here(INT8)
    store.finish(run_id, slowed.model_copy(update={"latency": latency}))
    shown = {metric.label: metric for metric in visit("runs", run=run_id).metric}
    assert shown["Latency p50"].delta.endswith("x faster, but the timing was disturbed")
    assert shown["Latency p50"].proto.color == MetricProto.GRAY


def test_a_finished_variant_is_compared_with_its_baseline(visit: Visit, store: Store) -> None:
    finished(store, BASELINE, wrong=100, p50_ms=2.0, size_bytes=8_000_000)
    run_id = finished(store, INT8, wrong=120, p50_ms=0.5, size_bytes=2_000_000)
    page = visit("runs", run=run_id)
    shown = metrics(page)
    assert shown["Accuracy"] == ("94.00 %", "-1.00 points")
    assert shown["Latency p50"][0] == "0.500 ms"
    assert shown["Latency p50"][1].endswith("x faster")
    assert shown["File size"][1] == "4.00x smaller"
    assert shown["MACs"][1] == "the same"
    page.button(key="export").click().run()
    assert page.title[0].value == "Export"
    assert page.query_params["run"] == run_id


def test_a_variant_without_a_baseline_claims_no_difference(visit: Visit, store: Store) -> None:
    page = visit("runs", run=finished(store, INT8))
    assert {change for label, (_, change) in metrics(page).items() if label != "Throughput"} == {""}
    assert "once the baseline" in words(page)


def test_compare_opens_the_run_s_model(visit: Visit, store: Store) -> None:
    finished(store, Recipe(model="vit_fmnist"))
    run_id = finished(store, BASELINE)
    finished(store, Recipe(model="vit_fmnist"))
    page = visit("runs", run=run_id)
    page.button(key="compare").click().run()
    assert page.title[0].value == "Compare"
    assert page.selectbox(key="compare.model").value == MODEL


def test_runs_of_one_click_lead_to_each_other(visit: Visit, store: Store) -> None:
    baseline, variant = finished(store, BASELINE), running(store, INT8)
    page = visit("runs", run=variant)
    page.button(key=f"relative-{baseline}").click().run()
    assert page.query_params["run"] == baseline


def test_a_failed_run_gives_its_reason_and_its_traceback_only_when_asked(visit: Visit, store: Store) -> None:
    run_id = running(store, INT8)
    store.fail(run_id, "The GPU ran out of memory. Choose a smaller batch size.", "Traceback: details")
    (run_folder(run_id) / "worker.log").write_text("last words")
    page = visit("runs", run=run_id)
    assert page.error[0].value == "The GPU ran out of memory. Choose a smaller batch size."
    assert "Traceback" not in words(page) + "".join(code.value for code in page.code)
    assert ":red-badge[:material/close: Accuracy" in words(page)


def test_run_again_queues_the_same_recipe(visit: Visit, store: Store) -> None:
    failed = running(store, INT8)
    store.fail(failed, "It broke.")
    page = visit("runs", run=failed)
    page.button(key="again").click().run()
    again = store.run(page.query_params["run"])
    assert again
    assert (again.recipe, again.state) == (INT8, "queued")


def test_a_deleted_run_leaves_nothing_behind(visit: Visit, store: Store) -> None:
    run_id = finished(store, BASELINE)
    folder = run_folder(run_id)
    page = visit("runs", run=run_id)
    page.button(key="delete-now").click().run()
    assert store.run(run_id) is None
    assert not folder.exists()
    assert "No runs yet" in page.info[0].value


def test_a_waiting_run_says_what_it_waits_for(visit: Visit, store: Store) -> None:
    running(store, Recipe(model="vit_fmnist"))
    page = visit("runs", run=store.enqueue(INT8))
    assert "busy with **FP32 · PyTorch**" in page.info[0].value
    assert not page.progress


def test_while_a_variant_waits_for_its_baseline_the_baseline_is_watched(visit: Visit, store: Store) -> None:
    running(store, BASELINE)
    page = visit("runs", run=store.enqueue(INT8))
    assert page.title[0].value == INT8.title
    assert "Baseline **FP32 · PyTorch** comes first" in page.info[0].value
    assert "1,256 of 2,000 images" in page.progress[0].proto.text


def test_the_recipe_can_be_taken_along(visit: Visit, store: Store) -> None:
    page = visit("runs", run=finished(store, INT8))
    assert from_yaml(page.expander(key="recipe").code[0].value) == INT8


def test_a_name_can_neither_format_nor_load_anything(visit: Visit, store: Store) -> None:
    page = visit("runs", run=finished(store, EVIL))
    assert "![x](" not in words(page)
    assert "**bold**" not in words(page)


def test_the_page_rests_while_latency_is_timed(visit: Visit, store: Store) -> None:
    run_id = running(store, BASELINE)
    store.append(run_id, [PhaseStarted(title="Latency", timed=True)])
    page = visit("runs", run=run_id)
    assert "rests" in words(page)
    store.append(run_id, [PhaseStarted(title="Layers")])
    page.run()
    assert "rests" not in words(page)


def test_a_recipe_run_again_says_whether_it_was_reproduced(visit: Visit, store: Store) -> None:
    first = finished(store, BASELINE, p50_ms=1.0)
    assert "eproduced" not in words(visit("runs", run=first))
    assert "Reproduced" in words(visit("runs", run=finished(store, BASELINE, p50_ms=1.001)))
    assert "Not reproduced" in words(visit("runs", run=finished(store, BASELINE, p50_ms=2.0)))
