"""Replays and recordings in the pages: the same as live, always stamped, never among what was measured here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.errors import BadInput
from experiments.recipe import Recipe
from experiments.recording import packed, record_run, shipped, write
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.own import plant_onnx
from tests.pages.left_behind import finished
from tests.pages.test_runs import metrics, words
from ui import recording_view

Visit = Callable[..., AppTest]
INT8 = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
STAMP = "Recorded on A CPU, 2026-11-01, commit unknown"


@pytest.fixture
def elsewhere(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one recording named `int8`, of a run that is in no store."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    run_id = finished(store, INT8)
    write(store, run_id, folder / "int8.json.gz")
    store.delete(run_id)
    monkeypatch.setattr(recording_view, "FOLDER", folder)
    return folder


def said(page: AppTest) -> str:
    """All text of the page, with its escapes undone."""
    return words(page).replace("\\", "")


def charts(page: AppTest) -> list[str]:
    """The keys of the charts."""
    return [str(chart.proto.id).rsplit("-curve-", 1)[-1] for chart in page.get("echarts_chart")]


def test_a_run_is_replayed_with_its_stamp_and_leads_back(visit: Visit, store: Store) -> None:
    run_id = finished(store, INT8)
    live = visit("runs", run=run_id)
    assert len(live.get("download_button"))
    expected = charts(live)
    page = live.button(key="replay").click().run()
    assert not page.exception
    assert page.query_params["replay"] == "10"
    assert STAMP in said(page)
    assert not page.metric
    page = visit("runs", run=run_id, replay="2", at="6")
    assert STAMP in said(page)
    assert charts(page) == expected
    assert ":green-badge[:material/check: Load 1.0 s]" in said(page)
    assert ":blue-badge[:material/play_arrow: Accuracy 1.0 s]" in said(page)
    assert "21 of 22 layers quantized" in said(page)
    assert "256 of 2,000 images" in page.progress[0].proto.text
    assert "Shaded bands" in said(page)
    assert "Orange bands" not in said(page)  # no phase was timed
    page.slider(key="replay.position").set_value(2.0).run()
    assert page.query_params["at"] == "2"
    assert "21 of 22 layers quantized" not in said(page)
    page.button(key="back").click().run()
    assert "replay" not in page.query_params
    assert metrics(page)["Accuracy"][0] == "93.00 %"


def test_a_recording_shows_what_came_of_it_and_enters_no_list(visit: Visit, store: Store, elsewhere: Path) -> None:
    page = visit("runs", recording="int8")
    assert STAMP in said(page)
    assert "Not measured on this machine" in said(page)
    shown = metrics(page)
    assert shown["Accuracy"] == ("93.00 %", "")
    assert {"Latency p50", "Throughput", "File size", "Memory", "Energy"} <= set(shown)
    assert page.slider(key="replay.position").value == page.slider(key="replay.position").max
    assert store.runs() == []
    assert "Recorded" in page.table[-1].value.columns
    page.button(key="run-here").click().run()
    assert page.title[0].value == "Optimise"
    assert "int8" in page.code[0].value
    assert store.runs() == []
    assert STAMP not in said(visit("compare"))


def test_home_offers_recordings_where_there_is_no_gpu(
    visit: Visit, store: Store, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.state.why_no_gpu", lambda: "There is no driver")
    page = visit("home")
    assert STAMP in said(page)
    assert "recorded on one" not in said(page)
    page.button(key="play-int8").click().run()
    assert page.query_params["recording"] == "int8"
    assert "Not measured on this machine" in said(page)
    monkeypatch.setattr("ui.state.why_no_gpu", lambda: None)
    st.cache_data.clear()
    assert STAMP not in said(visit("home"))


def test_an_unknown_recording_is_one_sentence(visit: Visit, store: Store) -> None:
    assert "no recording of this name" in visit("runs", recording="file-<b>").warning[0].value


def test_a_replay_of_an_unknown_run_leads_to_all_runs(visit: Visit, store: Store) -> None:
    page = visit("runs", run="nowhere", replay="10")
    assert "There is no run nowhere here" in page.warning[0].value
    assert page.button(key="back").label == "All runs"
    page.button(key="back").click().run()
    assert "run" not in page.query_params


def test_what_a_recording_lacks_is_said_at_once(store: Store) -> None:
    recording = record_run(store, finished(store, INT8))
    assert recording_view.what_it_lacks(recording) == ""
    foreign = INT8.model_copy(update={"model": "somebodys"})
    lacking = recording.model_copy(update={"recipe": foreign, "result": None})
    words = recording_view.what_it_lacks(lacking)
    assert "somebodys, is not among those of this studio" in words
    assert "only a summary was kept" in words


def test_a_recording_of_another_persons_model_tells_no_more_than_its_key(visit: Visit, store: Store) -> None:
    key = plant_onnx(owner="ada", title="Secret")
    recording = record_run(store, finished(store, INT8))
    foreign = INT8.model_copy(update={"model": key})
    theirs = recording.model_copy(update={"recipe": foreign})
    assert f"{key}, is not among those of this studio" in recording_view.what_it_lacks(theirs)
    assert recording_view.what_it_shows(theirs).startswith(key)
    page = visit("optimise")
    chosen = page.selectbox(key="model").value
    page.session_state["optimise.open"] = foreign
    page.run()
    assert not page.exception
    assert f"There is no model {key}" in said(page)
    assert "Secret" not in said(page)
    assert page.selectbox(key="model").value == chosen


def test_a_recording_without_events_has_no_player(visit: Visit, store: Store, elsewhere: Path) -> None:
    run_id = store.begin_here(INT8)
    store.fail(run_id, "There was no memory left.")
    write(store, run_id, elsewhere / "empty.json.gz")
    page = visit("runs", recording="empty")
    assert not page.exception
    assert any("there is nothing to play" in each.value for each in page.warning)
    assert "There was no memory left." in page.error[0].value
    assert not page.slider


def test_an_upload_is_opened_by_its_content_and_refused_in_a_sentence(store: Store) -> None:
    content = packed(record_run(store, finished(store, INT8)))
    name, recording = recording_view.open_upload(content, "a.json.gz")
    assert name.startswith("file-")
    assert recording.recipe == INT8
    with pytest.raises(BadInput, match=r"notes\.gz is no gzipped file"):
        recording_view.open_upload(b"notes", "notes.gz")


def test_a_folder_without_recordings_offers_none(tmp_path: Path) -> None:
    assert shipped(tmp_path) == {}
