"""The Profile page: what it takes before there is one, and what it shows of one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from experiments.recipe import MeasurementSettings, Recipe
from experiments.store import Store
from experiments.study import ProfileStudy
from optimizers import TECHNIQUES
from tests.experiments.profiled import latency, profile_result, profiled
from tests.pages.charts import charts
from tests.pages.left_behind import finished

Visit = Callable[..., AppTest]
MODEL = "student_cnn_fmnist"
UNTOUCHED = Recipe(model=MODEL, runtime="onnxruntime")
INT8 = UNTOUCHED.model_copy(update={"techniques": (TECHNIQUES["int8"](),)})


def test_without_a_profile_it_says_what_one_takes_and_queues_it(visit: Visit, store: Store) -> None:
    run_id = finished(store, INT8)
    page = visit("profile", model=MODEL)
    assert "Not profiled yet" in page.markdown[0].value
    assert list(page.selectbox(key=f"profile.variant.{MODEL}").options) == ["Untouched, FP32", INT8.title]
    page.selectbox(key="profile.runtime.cpu").set_value("aotinductor").run()
    assert "one compiled library" in page.info[0].value
    assert not [button for button in page.button if button.key == "profile-it"]
    page.selectbox(key=f"profile.variant.{MODEL}").set_value(run_id).run()
    page.selectbox(key="profile.batch.1.128").set_value(8).run()
    assert {key: page.query_params[key] for key in ("model", "variant", "runtime", "batch")} == {
        "model": MODEL, "variant": run_id, "runtime": "onnxruntime", "batch": "8",
    }  # fmt: skip
    page.button(key="profile-it").click().run()
    (queued,) = store.queue()
    assert queued.study == ProfileStudy(run=run_id)
    assert queued.recipe == INT8.model_copy(update={"measurement": MeasurementSettings(batch_size=8)})
    assert page.button(key=f"cancel-{queued.id}")


def test_the_newest_profile_is_shown_section_by_section(visit: Visit, store: Store) -> None:
    profiled(store, UNTOUCHED)
    page = visit("profile", model=MODEL)
    metrics = {metric.label: (metric.value, metric.delta) for metric in page.metric}
    assert metrics["Latency p50"] == ("0.550 ms", "0.550 to 0.550 ms")
    assert metrics["MACs"][0] == "26.0 M"
    assert metrics["Attained"] == ("47 %", "47.3 of 100 GMAC/s")
    assert metrics["Residual"] == ("+0.050 ms", "9 % of a call")
    assert any("64 % of the layers' time is spent in body" in each.value for each in page.markdown)
    treemap = next(each for chart in charts(page) for each in chart["data"] if each["type"] == "treemap")
    assert treemap["values"][treemap["ids"].index("network/body")] == pytest.approx(0.32)
    page = visit("profile", model=MODEL, section="Layers")
    assert len(page.dataframe[0].value) == 5
    page.text_input(key="profile.filter").set_value("conv").run()
    assert page.dataframe[0].value.module.tolist() == ["stem", "body.0.conv1", "body.0.conv2"]
    assert r"3 of 5 layers, 0.315 ms \(63 % of all\), 25.0 M MACs" in page.caption[2].value
    page = visit("profile", model=MODEL, section="Roofline")
    assert any("63 % is in compute-bound layers" in each.value for each in page.markdown)
    assert page.dataframe[0].value.attained.max() == pytest.approx(80)  # percent
    assert len(charts(page)) == 1


def test_the_run_of_a_profile_leads_to_the_profile(visit: Visit, store: Store) -> None:
    page = visit("runs", run=profiled(store, UNTOUCHED.model_copy(update={"runtime": "pytorch"})))
    page.button(key="open-profile").click().run()
    assert page.selectbox(key="profile.runtime.cpu").value == "pytorch"
    assert page.metric[0].value == "0.550 ms"


def test_the_profile_of_a_deleted_variant_is_shown_alone_with_the_reason(visit: Visit, store: Store) -> None:
    run_id = finished(store, INT8)
    profile_id = profiled(store, INT8, profile_result(precision="int8"), run=run_id)
    store.delete(run_id)
    page = visit("profile", model=MODEL, variant=run_id)
    assert f"The run {run_id}, which the address names, is not here; it may have been deleted." in page.warning[0].value
    assert not page.selectbox
    assert "its run was deleted" in page.button(key=f"open-{profile_id}").label
    page.button(key=f"open-{profile_id}").click().run()
    assert f"**{INT8.title} · batch size 1**. Its variant was deleted" in page.info[0].value
    assert page.metric[0].value == "0.550 ms"
    assert not [button for button in page.button if button.key in ("profile-it", "profile-again")]
    page.button(key="choose-anew").click().run()
    assert page.selectbox(key=f"profile.variant.{MODEL}").value == ""
    assert "profile" not in page.query_params

    page = visit("runs", run=profile_id)
    page.button(key="open-profile").click().run()
    assert page.metric[0].value == "0.550 ms"


def test_a_profile_that_can_be_made_again_is_shown_under_its_controls(visit: Visit, store: Store) -> None:
    page = visit("profile", profile=profiled(store, UNTOUCHED.model_copy(update={"runtime": "pytorch"})))
    assert page.selectbox(key="profile.runtime.cpu").value == "pytorch"
    assert page.button(key="profile-again")
    assert "The profile gone, which the address names, is not here" in visit("profile", profile="gone").warning[0].value


def test_an_address_that_asks_for_what_is_not_here_is_told_once(visit: Visit, store: Store) -> None:
    page = visit("profile", model=MODEL, runtime="nope", batch="abc")
    assert "The address asks for runtime “nope” and batch size “abc”, not to be had here" in page.warning[0].value
    assert page.selectbox(key="profile.runtime.cpu").value == "onnxruntime"
    assert not page.run().warning


def test_a_profile_of_an_earlier_run_s_file_says_so(visit: Visit, store: Store) -> None:
    older = finished(store, INT8)
    newer = finished(store, INT8)
    profiled(store, INT8, profile_result(precision="int8", latency=latency(0.7)), run=newer)
    profiled(store, INT8, profile_result(precision="int8"), run=older)
    page = visit("profile", variant=older)
    assert page.metric[0].value == "0.700 ms"  # of the run that is chosen, though it is not the newest profile
    assert not [each for each in page.info if "earlier run" in each.value]
    newest = finished(store, INT8)
    page = visit("profile", variant=older)
    assert "of the file of an earlier run of this recipe" in page.info[0].value
    page.button(key="profile-again").click().run()
    assert [queued.study for queued in store.queue()] == [ProfileStudy(run=newest)]


def test_a_model_s_card_leads_to_its_profile(visit: Visit) -> None:
    page = visit("models")
    page.button(key=f"profile-{MODEL}").click().run()
    assert page.selectbox(key="profile.model").value == MODEL
