"""Jobs as their folders tell them: real processes, read like the pages read them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from core.errors import BadInput
from core.folders import data_folder
from core.processes import kill_family
from core.progress import Finished
from experiments import jobs
from experiments.jobs import CheckOrder, DescribeOrder, Job
from experiments.turns import turn
from intake import sandbox, shelf, uploads
from intake.items import Weights
from intake.sources import Architecture
from tests.experiments.brought import safetensors_file

pytestmark = pytest.mark.skipif(sandbox.why_unavailable() is not None, reason="no sandbox on this machine")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    return tmp_path


def uploaded(path: Path, owner: str = "") -> str:
    upload = uploads.begin(owner, path.name, path.stat().st_size, "model")
    with uploads.Part(upload) as part:
        part.write(path.read_bytes())
        part.finish()
    return upload.id


def ended(key: str, owner: str = "") -> Job:
    give_up = time.monotonic() + 60
    while (found := jobs.job(owner, key)) and found.state == "running" and time.monotonic() < give_up:
        time.sleep(0.02)
    assert found
    return found


def test_an_upload_becomes_an_item_of_whoever_brought_it(tmp_path: Path) -> None:
    upload = uploaded(safetensors_file(tmp_path), "ada")
    found = ended(jobs.start("ada", CheckOrder(upload=upload, wanted="model")), "ada")
    assert found.state == "finished", found.sentence
    item = shelf.item("ada", found.result["item"])
    assert isinstance(item, Weights)
    assert item.name == "weights.safetensors"
    assert item.tensors["head.weight"].shape == (2, 3)
    assert shelf.items("") == {}
    assert uploads.waiting("ada") == []
    assert jobs.jobs("") == []
    jobs.forget("ada", found.id)
    assert jobs.jobs("ada") == []


def test_a_refused_upload_leaves_its_sentence_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "weights.pt"
    page.write_text("<!DOCTYPE html><html><body>404</body></html>")
    found = ended(jobs.start("", CheckOrder(upload=uploaded(page), wanted="model")))
    assert found.state == "failed"
    assert "heckpoint" in found.sentence
    assert "weights_only=False" not in found.sentence + found.snippet
    assert uploads.waiting("") == []
    assert shelf.items("") == {}
    left = {path.name for path in (data_folder() / "own" / "everyone" / "jobs" / found.id).iterdir()}
    assert jobs.DRAFT not in left


def test_a_cancelled_job_ends_and_takes_its_upload_along(tmp_path: Path) -> None:
    upload = uploaded(safetensors_file(tmp_path))
    key = jobs.start("", CheckOrder(upload=upload, wanted="model"))
    jobs.cancel("", key)
    found = jobs.job("", key)
    assert found
    assert found.state in ("cancelled", "finished")
    assert uploads.waiting("") == []


def test_a_job_waits_its_turn_and_leaves_nothing_when_it_dies_there(tmp_path: Path) -> None:
    upload = uploaded(safetensors_file(tmp_path))
    with turn("", "work", tmp_path / "sign"):
        key = jobs.start("", CheckOrder(upload=upload, wanted="model"))
        give_up = time.monotonic() + 60
        while (found := jobs.job("", key)) and not found.waits and time.monotonic() < give_up:
            time.sleep(0.02)
        assert found
        assert (found.waits, found.state, found.events) == (True, "running", ())
        process = json.loads((data_folder() / "own" / "everyone" / "jobs" / key / jobs.PROCESS_FILE).read_text())
        kill_family(process["pid"])
        assert ended(key).sentence == jobs.DIED
    jobs.forget("", key)
    assert jobs.jobs("") == []
    assert uploads.waiting("") == []


def test_too_many_are_not_begun_and_answers_that_nobody_took_go(monkeypatch: pytest.MonkeyPatch) -> None:
    old = data_folder() / "own" / "everyone" / "jobs" / f"{1:019d}-{'0' * 8}"
    old.mkdir(parents=True)
    asked = DescribeOrder(source=Architecture(library="timm", name="resnet18"))
    (old / jobs.ORDER_FILE).write_text(asked.model_dump_json())
    (old / jobs.EVENTS_FILE).write_text(Finished(result={}).model_dump_json() + "\n")
    assert len(jobs.jobs("")) == 1
    monkeypatch.setattr(jobs, "MOST_LIVE", 0)
    with pytest.raises(BadInput, match="wait for their turn already"):
        jobs.start("", asked)
    assert jobs.jobs("") == []


def test_a_job_whose_process_is_gone_has_failed(tmp_path: Path) -> None:
    key = jobs.start("", CheckOrder(upload=uploaded(safetensors_file(tmp_path)), wanted="model"))
    ended(key)
    folder = data_folder() / "own" / "everyone" / "jobs" / key
    (folder / jobs.EVENTS_FILE).write_text("")
    (folder / jobs.PROCESS_FILE).write_text(f'{{"pid": {os.getpid()}, "started_at": 0}}')
    found = jobs.job("", key)
    assert found
    assert (found.state, found.sentence) == ("failed", jobs.DIED)


@pytest.mark.parametrize("key", ["", "..", "0" * 19, "../../etc"])
def test_what_is_no_job_is_none(key: str) -> None:
    assert jobs.job("", key) is None
