"""Bringing a model, as a person meets it on the page; the files are real, and were read before."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from bridges.environments import TENSORFLOW
from core.progress import Finished, result_of
from experiments import jobs
from experiments.bringing import keep_checked
from experiments.jobs import AddOrder, DataChoice
from experiments.store import Store
from experiments.turns import turn
from intake import sandbox
from intake.library import own_folder, own_models
from intake.preprocessing import Preprocessing
from intake.sources import Described, OnnxFile
from tests.experiments.brought import image_zip, onnx_file
from tests.experiments.own import INPUT, plant_onnx
from tests.hostile.tflites import plain, taken
from tests.intake.parsing.tflite_metadata_files import metadata, with_metadata

pytestmark = pytest.mark.skipif(sandbox.why_unavailable() is not None, reason="no sandbox on this machine")


@pytest.fixture
def kept(store: Store, tmp_path: Path) -> Callable[..., str]:
    """Makes an item of a file; the store's fixture sets the data folder."""

    def keep(path: Path, wanted: Literal["model", "data"]) -> str:
        draft = tmp_path / f"draft-{wanted}-{time.monotonic_ns()}"
        draft.mkdir()
        return result_of(keep_checked("", wanted, path, draft))

    return keep


def words(page: AppTest) -> str:
    shown = (page.markdown, page.caption, page.warning, page.error, page.info)
    return " ".join(str(each.value) for kind in shown for each in kind)


def test_from_two_files_to_an_order(visit: Callable[..., AppTest], kept: Callable[..., str], tmp_path: Path) -> None:
    kept(onnx_file(tmp_path, outputs=("logits", "others")), "model")
    kept(image_zip(tmp_path), "data")
    page = visit("bring")
    said = words(page)
    assert "is quantized as it stands" in said
    assert "**0** to train on" in said
    assert page.selectbox(key="bring.file").options[0].startswith("net.onnx")
    assert [metric.value for metric in page.metric][:4] == ["9", "9", "3", "17"]
    assert "fine-tuning after pruning are off" in said
    (train,) = (each for each in page.slider if each.label == "To train on")
    train.set_value(30).run()
    assert "fine-tuning after pruning are off" not in words(page)
    height = next(each for each in page.number_input if each.label == "Height")
    assert height.value == 8
    next(each for each in page.text_input if each.label == "Name").set_value("Means <b>").run()
    mean = next(each for each in page.text_input if each.label == "Mean")
    page = mean.set_value("1, 2").run()
    assert "Mean has 2 numbers; expected one, or 3" in words(page)
    assert page.button(key="bring.add").disabled
    page = next(each for each in page.text_input if each.label == "Mean").set_value("0").run()
    assert "seem not to belong together" in words(page)
    assert not page.button(key="bring.add").disabled
    page = page.button(key="bring.add").click().run()
    (job,) = jobs.jobs("")
    assert isinstance(job.order, AddOrder)
    assert job.order.data.train_share == 0.3
    assert job.order.input.mean == (0.0, 0.0, 0.0)
    assert page.button(key="bring.add").disabled  # the very same is being added
    next(each for each in page.text_input if each.label == "Name").set_value("Others").run()
    assert not page.button(key="bring.add").disabled
    jobs.cancel("", job.id)


def test_what_a_tflite_file_says_of_itself_is_offered(
    visit: Callable[..., AppTest], kept: Callable[..., str], tmp_path: Path
) -> None:
    said = metadata(mean=[10], std=[100], labels="labels.txt")
    content = with_metadata(taken("plain"), said, {"labels.txt": "background\nant\nbee"})
    kept(plain(tmp_path, content), "model")
    np.savez(tmp_path / "x.npz", x=np.arange(20 * 192, dtype=np.uint8).reshape(20, 8, 8, 3), y=np.arange(20) % 2)
    kept(tmp_path / "x.npz", "data")
    page = visit("bring")
    assert "Source of these: from the file's metadata" in words(page)
    assert [each.value for each in page.text_input if each.label in ("Mean", "Deviation")] == ["10", "100"]
    assert page.text_area[0].value == "background\nant\nbee"
    assert "0 → 1 · ant · 1 → 2 · bee" in words(page)  # numbers count from the class after the background
    page = page.text_area[0].set_value("a\nb\nc").run()
    assert "0 → 0 · a · 1 → 1 · b" in words(page)


def test_of_two_files_called_alike_each_is_chosen_and_has_an_input_of_its_own(
    visit: Callable[..., AppTest], kept: Callable[..., str], tmp_path: Path
) -> None:
    first, second = (kept(onnx_file(tmp_path), "model") for _ in range(2))
    page = visit("bring")
    assert page.selectbox(key="bring.data").value is None  # nothing that comes with the studio has three classes
    page = page.selectbox(key="bring.data").set_value("fashion_mnist").run()
    assert "The network has 3 classes, and these images 10" in words(page)
    page.text_area[0].set_value("red\ngreen").run()
    assert "The number of names of classes is 2; expected 3, one for each class of the network" in words(page)
    kept(image_zip(tmp_path), "data")
    page = visit("bring")
    options = page.selectbox(key="bring.file").options
    assert options[0] != options[1]
    chosen = []
    for option in options[:2]:
        page.selectbox(key="bring.file").select(option).run()
        chosen.append(page.session_state["bring.file"])
        (mean,) = (each for each in page.text_input if each.label == "Mean")
        assert mean.value != "7"
        mean.set_value("7").run()
    assert set(chosen) == {first, second}


def test_one_class_is_added_as_the_class_of_the_network_that_it_is_said_to_be(
    visit: Callable[..., AppTest], kept: Callable[..., str], tmp_path: Path
) -> None:
    kept(onnx_file(tmp_path), "model")
    kept(image_zip(tmp_path, colours=("red",)), "data")
    page = visit("bring")
    assert "There is one class only, red, so accuracy means nothing" in words(page)
    assert not any(each.label == "Name" for each in page.text_input)  # nothing is settled yet
    (which,) = (each for each in page.selectbox if each.label == "red")
    which.set_value(2).run()
    page.text_area[0].set_value("blue\ngreen\nred").run()
    assert "red → 2 · red" in words(page)
    page.text_area[0].set_value("blue\ngreen\nrose").run()
    assert "red → 2" not in words(page)
    (which,) = (each for each in page.selectbox if each.label == "red")
    which.set_value(2).run()
    page.button(key="bring.add").click().run()
    (job,) = jobs.jobs("")
    assert isinstance(job.order, AddOrder)
    assert job.order.data.match == (2,)
    assert job.order.labels == ("blue", "green", "rose")
    jobs.cancel("", job.id)


def test_what_was_refused_stays_until_it_is_dismissed(
    visit: Callable[..., AppTest], kept: Callable[..., str], tmp_path: Path
) -> None:
    kept(onnx_file(tmp_path), "model")
    key = jobs.start("", jobs.CheckOrder(upload="0" * 12, wanted="data"))
    give_up = time.monotonic() + 60
    while jobs.jobs("")[0].state == "running" and time.monotonic() < give_up:
        time.sleep(0.1)
    page = visit("bring")
    drawn = [str(getattr(each, "value", "")) for each in page.main]
    assert "**Not taken\\: the uploaded file**" in drawn
    assert drawn.index("2 · The images") < drawn.index("That file is not here any more. Upload it again.")
    page.button(key=f"dismiss-{key}").click().run()
    assert not page.error


def test_the_better_preparation_is_one_click_away_and_takes_the_place_of_the_other(
    visit: Callable[..., AppTest], kept: Callable[..., str], tmp_path: Path
) -> None:
    better = INPUT.model_copy(update={"mean": (0.0,) * 3, "std": (255.0,) * 3})
    source = OnnxFile(item=kept(onnx_file(tmp_path), "model"))
    facts = {"advised": better, "warnings": ("Another is *better*.",), "notes": ("64 % and 99 %.",)}
    key = plant_onnx(title="Net (2)", source=source, **facts)
    order = AddOrder(title="Net", source=source, input=INPUT, data=DataChoice(item=kept(image_zip(tmp_path), "data")))
    folder = own_folder("") / "jobs" / f"{time.time_ns():019d}-00000000"
    folder.mkdir(parents=True)
    (folder / jobs.ORDER_FILE).write_text(order.model_dump_json())
    (folder / jobs.EVENTS_FILE).write_text(Finished(result={"model": key}).model_dump_json() + "\n")
    page = visit("bring")
    said = words(page)
    assert "**Net \\(2\\)** was added" in said
    assert "Another is \\*better\\*." in said
    assert "64 % and 99 %." in said
    button = page.button(key=f"again-{folder.name}")
    assert button.label == "Add it again with mean 0, deviation 255"
    button.click().run()
    (job,) = jobs.jobs("")
    assert job.order == order.model_copy(update={"input": better})
    assert own_models() == []
    jobs.cancel("", job.id)
    (folder := own_folder("") / "jobs" / f"{time.time_ns():019d}-00000001").mkdir()
    gone = order.model_copy(update={"source": OnnxFile(item="0" * 12)})
    (folder / jobs.ORDER_FILE).write_text(gone.model_dump_json())
    key = plant_onnx(title="Net (3)", **facts)
    (folder / jobs.EVENTS_FILE).write_text(Finished(result={"model": key}).model_dump_json() + "\n")
    page = visit("bring")
    assert "**Net \\(3\\)** was added" in words(page)
    assert not any(each.key == f"again-{folder.name}" for each in page.button)  # its file was deleted meanwhile


def test_without_tensorflow_what_needs_it_is_said_before_anything_is_uploaded(
    visit: Callable[..., AppTest], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(TENSORFLOW), "is_installed", property(lambda _self: False))
    page = visit("bring")
    assert "Only TensorFlow reads .keras and .h5 files and SavedModels" in words(page)
    assert page.button(key="install-tensorflow")
    monkeypatch.setattr(type(TENSORFLOW), "is_installed", property(lambda _self: True))
    assert "Only TensorFlow reads" not in words(visit("bring"))


def test_what_was_looked_up_is_kept_by_the_session_alone(
    visit: Callable[..., AppTest], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    described, asked = Described(classes=1000, input=Preprocessing(), notes=("It is *known*.",)), []

    def answered(owner: str, order: jobs.Order) -> str:
        asked.append(order)
        folder = own_folder(owner) / "jobs" / f"{time.time_ns():019d}-{len(asked):08x}"
        folder.mkdir(parents=True)
        (folder / jobs.ORDER_FILE).write_text(order.model_dump_json())
        done = Finished(result=described.model_dump(mode="json"))
        (folder / jobs.EVENTS_FILE).write_text(done.model_dump_json() + "\n")
        return folder.name

    monkeypatch.setattr("ui.bring.model.start", answered)
    page = visit("bring")
    page.selectbox(key="bring.architecture").set_value("timm/resnet18").run()
    assert "It is \\*known\\*." in words(page)
    assert jobs.jobs("") == []
    page.run()
    assert "It is \\*known\\*." in words(page)
    assert len(asked) == 1


def test_a_job_that_waits_says_so(visit: Callable[..., AppTest], store: Store, tmp_path: Path) -> None:
    with turn("", "work", tmp_path / "sign"):
        key = jobs.start("", jobs.CheckOrder(upload="0" * 12, wanted="model"))
        give_up = time.monotonic() + 60
        while not jobs.jobs("")[0].waits and time.monotonic() < give_up:
            time.sleep(0.02)
        assert "Waits its turn" in words(visit("bring"))
        jobs.cancel("", key)


def test_a_brought_model_is_deleted_and_its_title_is_no_anchor(visit: Callable[..., AppTest], store: Store) -> None:
    key = plant_onnx(title="# www.evil.test")
    page = visit("models")
    (heading,) = [each for each in page.subheader if "evil" in each.value]
    assert heading.hide_anchor
    page.button(key=f"really-{key}").click().run()
    assert not page.exception
    assert own_models() == []


def test_without_a_sandbox_uploads_are_off_and_say_so(
    visit: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "why_unavailable", lambda: "Nothing confines it here")
    page = visit("bring")
    assert "Uploads are off: Nothing confines it here" in [each.value for each in page.error]
    assert not page.selectbox
