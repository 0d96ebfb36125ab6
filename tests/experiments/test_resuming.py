"""A run that ended before its result goes on from its checkpoints: the tiny student, few images, real files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cli
import sample_models
from core.bundle import ModelBundle
from core.data import DataSplits
from core.errors import BadInput, Unavailable
from core.folders import run_folder
from core.progress import Event, Finished, Note, PhaseStarted, Planned, Progress, Steps
from experiments.duel import Duel
from experiments.recipe import MeasurementSettings, Recipe
from experiments.resuming import RESUMABLE, can_resume, checkpoints
from experiments.run import run
from experiments.run_record import State
from experiments.store import Store
from experiments.worker import newest_artifact
from optimizers import TECHNIQUES, Context
from optimizers.int8 import Int8
from optimizers.training import checkpoints as keeping
from runtimes import RUNTIMES
from tests.pages.left_behind import finished, measured

MODEL = "student_dw_fmnist"
QUICK = MeasurementSettings(latency_seconds=1, threads=1)
TRAINED = Recipe(
    model=MODEL, runtime="onnxruntime", measurement=QUICK, techniques=(TECHNIQUES["magnitude_pruning"](epochs=6),)
)


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer of them, and a checkpoint after every epoch."""
    whole = sample_models.load(MODEL)
    fewer = {name: getattr(whole.data, name).take(256) for name in ("train", "calibrate", "test")}
    monkeypatch.setattr(sample_models, "load", lambda key: replace(whole, data=DataSplits(**fewer)))
    monkeypatch.setattr(keeping, "SAVE_EVERY_S", 0)


def events_until(folder: Path, ends: Callable[[Event], bool]) -> list[Event]:
    """What a run says until then; there it is left."""
    events: list[Event] = []
    steps = run(TRAINED, folder)
    for event in steps:
        events.append(event)
        if ends(event):
            break
    steps.close()  # type: ignore[attr-defined]
    return events


def is_in_epoch_4(event: Event) -> bool:
    return isinstance(event, Progress) and event.doing == "epoch 4 of 6"


def is_exported(event: Event) -> bool:
    return isinstance(event, PhaseStarted) and event.title == "Memory"


def test_a_run_that_goes_on_ships_what_an_unbroken_one_does(few_images: None, store: Store, tmp_path: Path) -> None:
    run_id = store.begin_here(TRAINED)
    folder = run_folder(run_id)
    events_until(folder, is_in_epoch_4)
    store.fail(run_id, "Its process was killed.")
    record = store.run(run_id)
    assert record
    assert can_resume(record)
    (folder / "artifact").mkdir()
    (folder / "artifact" / "half").write_text("of a file")
    notes = [event.text for event in events_until(folder, is_exported) if isinstance(event, Note)]
    assert "Goes on at epoch 4 of 6, from a checkpoint." in notes
    events_until(tmp_path, is_exported)
    files = sorted(path.name for path in (tmp_path / "artifact").iterdir())
    assert files == sorted(path.name for path in (folder / "artifact").iterdir())
    assert (folder / "artifact" / "model.onnx").read_bytes() == (tmp_path / "artifact" / "model.onnx").read_bytes()


def test_the_command_line_resumes_and_frees_the_checkpoints(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(store, TRAINED.model_copy(update={"techniques": (), "runtime": "pytorch"}))
    finished(store, TRAINED.model_copy(update={"techniques": ()}))
    run_id = left_behind(store, "cancelled")
    (run_folder(run_id) / "1-magnitude_pruning" / "training-0123456789abcdef.part").write_bytes(b"half")
    result = measured(TRAINED, wrong=10, p50_ms=1.0, size_bytes=1000)
    work: list[Event] = [Planned(phases=("Load",)), Finished(result=result.model_dump(mode="json"))]
    monkeypatch.setattr("experiments.run.run", lambda recipe, folder, artifact_of: iter(work))
    assert cli.main(["resume", run_id]) == 0
    assert TRAINED.title in capsys.readouterr().out
    record = store.run(run_id)
    assert record
    assert (record.state, record.error) == ("finished", None)
    assert checkpoints(run_id) == []
    assert list((run_folder(run_id) / "1-magnitude_pruning").iterdir()) == []


def left_behind(store: Store, how: State, *, keeps: bool = True) -> str:
    """A run that ended so, with a checkpoint in its folder or without; its id."""
    run_id = store.begin_here(TRAINED)
    folder = run_folder(run_id) / "1-magnitude_pruning"
    folder.mkdir()
    if keeps:
        (folder / "training-0123456789abcdef.pt").write_bytes(b"weights")
    store.fail(run_id, "It broke.") if how == "failed" else store.cancel(run_id)
    return run_id


def test_only_what_left_a_checkpoint_goes_on(store: Store) -> None:
    for how in RESUMABLE:
        run_id = left_behind(store, how)
        store.resume(run_id)
        record = store.run(run_id)
        assert record
        assert (record.state, record.error, record.pid, record.started_at) == ("queued", None, None, None)
        assert not record.cancel_requested
        assert [each.id for each in store.queue()][-1] == run_id
    others = left_behind(store, "failed", keeps=False), store.begin_here(TRAINED), finished(store, TRAINED), "nobody"
    for run_id in others:
        with pytest.raises(BadInput, match="cannot go on"):
            store.resume(run_id)
    duel = store.enqueue_duel(Duel(first=finished(store, TRAINED), second=finished(store, TRAINED)))
    store.fail(duel, "It broke.")
    assert not can_resume(store.run(duel))  # type: ignore[arg-type]


def test_a_run_without_a_living_process_is_resumed_too(store: Store) -> None:
    """As after the machine was switched off: it still says that it is running."""
    run_id = store.enqueue(TRAINED)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    store.claim(run_id, process.pid)
    process.communicate(b"\n")
    assert cli.main(["resume", run_id]) == 2  # there is no checkpoint
    record = store.run(run_id)
    assert record
    assert record.state == "failed"


class Asks(Int8):
    """Asks a finished variant, looks at all else it may know of, and ends there."""

    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        assert context.original
        assert context.original().module is bundle.module
        assert context.cache
        assert context.cache.is_dir()
        assert context.finished
        x = bundle.contract.prepare(bundle.data.test.pixels[:4])
        with context.finished("a digest") as served:
            yield Note(text=f"{served.run(x).argmax(1).tolist()} {served.size_bytes} {served.p50_ms() > 0}")
        raise Unavailable("That was all")


def test_a_technique_may_ask_a_finished_variant(few_images: None, store: Store, tmp_path: Path) -> None:
    """It is opened in ONNX Runtime, for which it was made, while this run is for OpenVINO."""
    bundle = sample_models.load(MODEL)
    (tmp_path / "variant").mkdir()
    made = {"a digest": RUNTIMES["onnxruntime"].export(bundle, tmp_path / "variant")}
    recipe = Recipe(model=MODEL, runtime="openvino", measurement=QUICK).model_copy(update={"techniques": (Asks(),)})
    texts = []
    with suppress(Unavailable):
        for event in run(recipe, tmp_path, artifact_of=made.__getitem__):
            texts += [event.text] if isinstance(event, Note) else []
    x = torch.from_numpy(bundle.contract.prepare(bundle.data.test.pixels[:4]))
    with torch.inference_mode():
        expected = bundle.module.eval()(x).argmax(1).tolist()
    assert texts == [f"{expected} {(tmp_path / 'variant' / 'model.onnx').stat().st_size} True"]


def test_the_newest_finished_run_of_a_digest_is_what_is_opened(store: Store) -> None:
    variant = Recipe(model=MODEL, runtime="onnxruntime")
    with pytest.raises(BadInput, match="Run that variant first"):
        newest_artifact(store, MODEL, variant.digest)
    finished(store, variant)
    newest = finished(store, variant)
    assert newest_artifact(store, MODEL, variant.digest).folder == run_folder(newest) / "artifact"
    with pytest.raises(BadInput, match="finished variant of resnet_fmnist"):
        newest_artifact(store, "resnet_fmnist", variant.digest)
    (run_folder(newest) / "artifact" / "model.onnx").unlink()
    with pytest.raises(Unavailable, match="gone"):
        newest_artifact(store, MODEL, variant.digest)
