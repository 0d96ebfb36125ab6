"""Bringing a model, as a person meets it on the page; the files are real, and were read before."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from streamlit.testing.v1 import AppTest

from core.progress import result_of
from experiments import jobs
from experiments.bringing import keep_checked
from experiments.jobs import AddOrder
from experiments.store import Store
from intake import sandbox
from tests.experiments.brought import image_zip, onnx_file

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
    assert "0 to train on" in said
    assert page.selectbox(key="bring.file").options[0].startswith("net.onnx")
    assert [metric.value for metric in page.metric][:4] == ["9", "9", "3", "17"]
    page.slider(key="bring.train").set_value(30).run()
    height = next(each for each in page.number_input if each.label == "Height")
    assert height.value == 8
    page.text_input(key="bring.net.onnx.title").set_value("Means <b>").run()
    mean = next(each for each in page.text_input if each.label == "Mean")
    page = mean.set_value("1, 2").run()
    assert "Mean has 2 numbers; expected one, or 3" in words(page)
    assert page.button(key="bring.add").disabled
    page = next(each for each in page.text_input if each.label == "Mean").set_value("0").run()
    assert not page.button(key="bring.add").disabled
    page = page.button(key="bring.add").click().run()
    (job,) = jobs.jobs("")
    assert isinstance(job.order, AddOrder)
    assert job.order.data.train_share == 0.3
    assert job.order.input.mean == (0.0, 0.0, 0.0)
    jobs.cancel("", job.id)


def test_what_was_refused_stays_until_it_is_dismissed(
    visit: Callable[..., AppTest], kept: Callable[..., str], tmp_path: Path
) -> None:
    kept(onnx_file(tmp_path), "model")
    key = jobs.start("", jobs.CheckOrder(upload="0" * 12, wanted="model"))
    give_up = time.monotonic() + 60
    while jobs.jobs("")[0].state == "running" and time.monotonic() < give_up:
        time.sleep(0.1)
    page = visit("bring")
    assert "That file is not here any more. Upload it again." in [each.value for each in page.error]
    page.button(key=f"dismiss-{key}").click().run()
    assert not page.error


def test_without_a_sandbox_uploads_are_off_and_say_so(
    visit: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "why_unavailable", lambda: "Nothing confines it here")
    page = visit("bring")
    assert "Uploads are off: Nothing confines it here" in [each.value for each in page.error]
    assert not page.selectbox
