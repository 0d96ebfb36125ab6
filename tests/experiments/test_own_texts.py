"""A classifier of texts through a run, and out into a package that answers without the studio."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fastapi.testclient import TestClient
from tokenizers import Tokenizer

from core.errors import Unavailable
from core.folders import run_folder
from core.progress import Finished, Progress, Steps
from experiments import models
from experiments import run as run_module
from experiments.checking import check
from experiments.package import Options, Package, build_package
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.run import run
from experiments.store import open_store
from runtimes.sample_code import MOST_LINES
from tests.experiments.own_texts import plant_texts
from tests.experiments.packages import run_alone, unpacked
from tests.intake.tiny_texts import LABELS


@dataclass(frozen=True, eq=False)
class Ran:
    """A run of the planted model, and its package."""

    key: str
    events: list[object]
    result: RunResult
    package: Package
    folder: Path


def not_probed(*_args: object, **_settings: object) -> Steps[None]:
    """Probing what the device attains takes seconds, and tells nothing about texts."""
    yield from ()
    raise Unavailable("not probed here")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    scratch = tmp_path_factory.mktemp("texts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_DATA", str(scratch / "data"))
        patch.delenv("STUDIO_STORE_URL", raising=False)
        patch.setattr(run_module, "peaks_for", not_probed)
        key = plant_texts(scratch)
        measurement = {"latency_seconds": 1, "sweep_seconds": 0, "threads": 1}
        recipe = Recipe.model_validate({"model": key, "runtime": "onnxruntime", "measurement": measurement})
        check(recipe)
        store = open_store()
        run_id = store.begin_here(recipe)
        events = list(run(recipe, run_folder(run_id)))
        assert isinstance(events[-1], Finished)
        result = RunResult.model_validate(events[-1].result)
        store.finish(run_id, result)
        record = store.run(run_id)
        assert record
        package = build_package(record, result, Options(server=True, triton=True))
        store.close()
        yield Ran(key, list(events), result, package, unpacked(package, scratch))


def test_the_run_is_told_in_texts_and_is_faithful(ran: Ran) -> None:
    units = {event.unit for event in ran.events if isinstance(event, Progress)}
    assert "texts" in units
    assert "images" not in units
    assert ran.result.fidelity is not None
    assert not ran.result.fidelity.differs
    assert ran.result.layers is not None
    labelled = models.test_split(ran.key)
    assert ran.result.accuracy.total == len(labelled)
    assert ran.result.accuracy.value > 0.85


def test_pages_find_the_words_of_each_answer(ran: Ran) -> None:
    """Some test texts have no label and no answer, and shift no other."""
    split = models.test_split(ran.key)
    rows = range(len(split))
    assert len(split) < models.find(ran.key).test
    tokenizer = Tokenizer.from_file(str(models.tokenizer(ran.key)))
    for row, text in zip(rows, models.texts(ran.key, rows), strict=True):
        assert tokenizer.encode(text).ids == split.pixels[row, 0].tolist()


def test_the_program_answers_alone_as_it_was_measured(ran: Ran) -> None:
    code = (ran.folder / "run.py").read_text()
    assert len(code.splitlines()) <= MOST_LINES
    done = run_alone(Path(sys.executable), ran.folder, "run.py")
    assert done.returncode == 0, done.stderr
    with np.load(ran.folder / "samples.npz") as samples:
        x = samples["pixels"].astype(np.int64)
    (logits,) = onnxruntime.InferenceSession(ran.folder / "model.onnx").run(None, {"input": x})
    said = [line.split()[1] for line in done.stdout.splitlines()[: len(x)]]
    assert said == [LABELS[answer] for answer in logits.argmax(1)]
    assert "tokenizers==" in (ran.folder / "requirements.txt").read_text()
    own = run_alone(Path(sys.executable), ran.folder, "run.py", "the sugar was very honey", "a shout and a crash")
    assert [line.split()[1] for line in own.stdout.splitlines()] == ["sweet", "loud"]


def test_the_server_answers_texts_and_refuses_the_rest(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ran.folder)
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    try:
        client = TestClient(importlib.import_module("serve").app)
        found = client.post("/classify", json={"texts": ["the sugar was very honey", "a shout and a crash"]})
        assert [each["label"] for each in found.json()["texts"]] == ["sweet", "loud"]
        assert client.post("/classify", json={"texts": []}).status_code == 400
        assert client.post("/classify", json={"texts": ["a"] * 65}).status_code == 413
        assert client.post("/classify", json={"texts": ["a" * 200_000]}).status_code == 413
        assert client.post("/classify", content=b"not json").status_code == 422
    finally:
        for name in ("serve", "run"):
            sys.modules.pop(name, None)


def test_the_package_says_that_it_takes_tokens(ran: Ran) -> None:
    contract = json.loads((ran.folder / "contract.json").read_text())
    assert contract["task"] == "text"
    (config,) = ran.folder.glob("model_repository/*/config.pbtxt")
    assert f'name: "input" data_type: TYPE_INT64 dims: [ 2, {contract["length"]} ]' in config.read_text()
    commands = "".join(way.commands for way in ran.package.usages)
    assert 'python run.py "a text"' in commands
    assert "photo" not in commands
    assert "tokenizer.json" in (ran.folder / "Dockerfile").read_text()
