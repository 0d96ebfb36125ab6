"""What this machine offers, as other sources report it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

import pandas as pd
import psutil
import pytest
from packaging.version import Version
from streamlit.testing.v1 import AppTest

from core.devices import Device
from core.folders import data_folder
from experiments.libraries import LIBRARIES
from experiments.package_index import Offer
from experiments.store import Store
from runtimes import EXTRAS, RUNTIMES
from ui import state, whats_new_view

Visit = Callable[..., AppTest]
LIBRARY_COLUMNS = ["Library", "Installed", "Tests ran on", "What it is for"]


def frames(page: AppTest) -> list[pd.DataFrame]:
    return [dataframe.value for dataframe in page.dataframe]


def test_the_cpu_is_shown_with_the_memory_of_the_machine(visit: Visit) -> None:
    devices = frames(visit("system"))[0]
    assert devices["Device"][0] == "cpu"
    assert float(devices["Memory"][0].split()[0]) == round(psutil.virtual_memory().total / 2**30, 1)


def table(page: AppTest, column: str) -> pd.DataFrame:
    """The one that begins with that column and the columns after it."""
    return next(each.value for each in page.table if column in each.value)


def test_versions_are_the_installed_ones(visit: Visit) -> None:
    shown = table(visit("system"), "What it unlocks here").set_index("Library")["Installed"]
    assert shown["**torch**"] == version("torch")
    alike = [each.value for each in visit("system").table if list(each.value) == LIBRARY_COLUMNS][-1]
    assert alike.set_index("Library")["Installed"]["**streamlit**"] == version("streamlit")


def test_each_device_says_what_it_unlocks(visit: Visit) -> None:
    shown = table(visit("system"), "What it brings")
    cpu = next(column for column in shown if column.startswith("cpu"))
    assert shown[cpu].str.contains("badge").all()
    assert shown.set_index("")[cpu]["**FP8**"].startswith(":gray-badge[no]")


def test_nothing_is_asked_until_the_button_is_pressed(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answered(names: Sequence[str]) -> Iterator[tuple[str, Offer]]:
        asked.extend(names)
        yield from ((name, Offer((Version("9999.0"),))) for name in names)

    monkeypatch.setattr(whats_new_view, "ask_for", answered)
    page = visit("system")
    assert not asked
    page.button(key="whats_new.ask").click().run()
    assert asked == [library.name for library in LIBRARIES]
    shown = table(page.run(), "What follows").set_index("Library")
    assert len(asked) == len(LIBRARIES)  # not asked again by another look
    assert shown["Newest"]["**plotly**"] == "9999.0"
    assert "stop below 7" in shown["What follows"]["**plotly**"]
    assert "Asked just now" in " ".join(caption.value for caption in page.caption)


def test_a_silent_index_is_one_sentence_and_the_page_stays(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Offer(problem="The package index did not answer.")
    monkeypatch.setattr(whats_new_view, "ask_for", lambda _names: iter([("torch", silent), ("numpy", silent)]))
    page = visit("system")
    page.button(key="whats_new.ask").click().run()
    assert [warning.value.split(".")[0] for warning in page.warning] == ["The package index did not answer"]
    assert not any("What follows" in each.value for each in page.table)
    assert page.code
    assert not page.exception


def test_every_runtime_and_extra_has_its_sentence(visit: Visit) -> None:
    page = visit("system")
    shown = "\n".join(markdown.value for markdown in page.markdown)
    assert all(runtime.title in shown for runtime in RUNTIMES.values())
    assert all(extra.adds in shown for extra in EXTRAS.values() if extra.key not in RUNTIMES)
    assert shown.count("**TensorRT**") == 1


def test_a_runtime_is_ready_where_one_of_the_devices_can_run_it(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device("cuda:0", "cuda", "A GPU", 2**34, (8, 9))
    monkeypatch.setattr(state, "list_devices", lambda: [Device("cpu", "cpu", "A CPU", 2**34), gpu])
    shown = [markdown.value for markdown in visit("system").markdown]
    assert next(words for words in shown if "**OpenVINO**" in words).startswith(":green-badge")
    engines = next(words for words in shown if "**TensorRT**" in words)
    assert engines.startswith(":green-badge") is EXTRAS["tensorrt"].is_installed


def test_the_data_folder_is_added_up(visit: Visit, store: Store) -> None:
    (data_folder() / "runs" / "x").mkdir(parents=True)
    (data_folder() / "runs" / "x" / "model.onnx").write_bytes(bytes(3 * 2**20))
    page = visit("system")
    entries = frames(page)[1].set_index("Entry")["Size"]
    assert entries["runs"] == "3.00 MiB"
    assert page.code[0].value == str(data_folder())
