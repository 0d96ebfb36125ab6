"""Recordings: what goes in comes out, and nothing else is let in."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput
from core.packed import Packed
from core.progress import Metric, Planned
from experiments.recipe import Recipe
from experiments.recording import FOLDER, LARGEST_BYTES, packed, read, record_run, shipped, unpacked, write
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import finished, running

INT8 = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")


def test_a_run_is_read_as_it_was_written_and_the_store_stays_as_it_was(store: Store, tmp_path: Path) -> None:
    run_id = finished(store, INT8)
    path = tmp_path / "run.json.gz"
    written = write(store, run_id, path)
    again = read(path)
    assert again == written
    assert again.events == tuple(each.event for each in store.events(run_id) if each.event.kind != "finished")
    assert again.found == store.result(run_id)
    assert again.stamp == "Recorded on A CPU, 2026-11-01, commit unknown"
    assert (again.record.title, again.record.summary) == (INT8.title, store.run(run_id).summary)  # type: ignore[union-attr]
    assert [record.id for record in store.runs()] == [run_id]
    assert packed(again) == path.read_bytes()


def test_a_run_without_a_result_is_kept_with_what_it_said_of_its_end(store: Store) -> None:
    run_id = running(store, INT8)
    store.append(run_id, [Metric(name="loss", value=float("nan"), step=1)])
    store.fail(run_id, "The numbers are not finite.")
    again = unpacked(packed(record_run(store, run_id)), "run.json.gz")
    assert (again.state, again.error, again.found) == ("failed", "The numbers are not finite.", None)
    assert again.stamp.startswith("Recorded on ")
    assert "commit" not in again.stamp


def test_of_a_resumed_run_the_last_attempt_is_kept(store: Store) -> None:
    run_id = running(store, INT8)
    store.append(run_id, [Planned(phases=("Load",)), Metric(name="loss", value=1, step=1)])
    store.cancel(run_id)
    assert [event.kind for event in record_run(store, run_id).events] == ["planned", "metric"]


def test_only_a_run_that_has_ended_is_kept(store: Store) -> None:
    for run_id, words in (
        (running(store, INT8), "is running"),
        (store.enqueue(INT8), "is queued"),
        ("no", "no run no"),
    ):
        with pytest.raises(BadInput, match=words):
            record_run(store, run_id)


def content(store: Store) -> dict[str, Any]:
    """A recording as plain data."""
    data: dict[str, Any] = json.loads(gzip.decompress(packed(record_run(store, finished(store, INT8)))))
    return data


def zipped(data: Any) -> bytes:
    """Plain data as the content of a recording's file."""
    return gzip.compress(json.dumps(data).encode())


def test_what_is_no_recording_is_refused_in_a_sentence(store: Store) -> None:
    good = zipped(content(store))
    for bad, words in (
        (b"", "something else"),
        (b"not a recording", "no gzipped file"),
        (pickle.dumps({"version": 1}), "no gzipped file"),
        (good[: len(good) // 2], "cut short"),
        (gzip.compress(pickle.dumps({"version": 1})), "something else"),
        (gzip.compress(b"[" * 100_000), "something else"),
        (gzip.compress(bytes(LARGEST_BYTES + 1)), "more than 20 MiB"),
        (zipped([1, 2]), "damaged"),
        (zipped({"version": 2}), "version 2"),
    ):
        with pytest.raises(BadInput, match=words):
            unpacked(bad, "run.json.gz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": {"model": "resnet_fmnist", "runtime": "nobody's"}}, "runtime"),
        ({"events": [{"kind": "note", "at": 1e300, "text": ""}]}, "30 days"),
        ({"events": [{"kind": "explosion", "at": 0}]}, "events"),
        ({"ended_at": float("inf")}, "30 days"),
        ({"result": {"accuracy": 5}}, "damaged"),
        ({"surprise": 1}, "surprise"),
        ({"events": []}, "nothing that happened in it"),
        ({"result": None, "summary": None}, "nothing that it measured"),
    ],
)
def test_a_damaged_recording_is_refused(store: Store, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        unpacked(zipped(content(store) | change), "run.json.gz")


def test_series_that_would_fill_the_memory_are_refused(store: Store) -> None:
    data = content(store)
    bomb = Packed("<u4", 1, bytes(40 * 2**20)).text
    data["result"] |= {"one": bomb, "two": bomb}
    with pytest.raises(BadInput, match="too long"):
        unpacked(zipped(data), "run.json.gz")


def test_recordings_of_a_gpu_come_first_and_a_broken_one_is_left_out(store: Store, tmp_path: Path) -> None:
    data = content(store)
    (tmp_path / "a.json.gz").write_bytes(zipped(data))
    (tmp_path / "b.json.gz").write_bytes(b"broken")
    data["recipe"]["device"] = "cuda:0"
    (tmp_path / "c.json.gz").write_bytes(zipped(data))
    assert list(shipped(tmp_path)) == ["c", "a"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json.gz")), ids=lambda path: path.name)
def test_what_comes_with_the_project_can_be_read_is_small_and_says_where_it_was_made(path: Path) -> None:
    recording = read(path)
    assert path.stat().st_size < 300_000
    assert recording.conditions
    assert recording.conditions.commit
    assert recording.state == "finished"
    assert recording.found
