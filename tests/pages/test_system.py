"""What this machine offers, as other sources report it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import pandas as pd
import psutil
from streamlit.testing.v1 import AppTest

from experiments.folders import data_folder
from experiments.store import Store
from runtimes import EXTRAS, RUNTIMES

Visit = Callable[..., AppTest]


def frames(page: AppTest) -> list[pd.DataFrame]:
    return [dataframe.value for dataframe in page.dataframe]


def test_the_cpu_is_shown_with_the_memory_of_the_machine(visit: Visit) -> None:
    devices = frames(visit("system"))[0]
    assert devices["Device"][0] == "cpu"
    assert float(devices["Memory"][0].split()[0]) == round(psutil.virtual_memory().total / 2**30, 1)


def test_versions_are_the_installed_ones(visit: Visit) -> None:
    libraries = frames(visit("system"))[1].set_index("Library")["Version"]
    assert libraries["torch"] == version("torch")
    assert libraries["streamlit"] == version("streamlit")


def test_every_runtime_and_extra_has_its_sentence(visit: Visit) -> None:
    page = visit("system")
    shown = "\n".join(markdown.value for markdown in page.markdown)
    assert all(runtime.title in shown for runtime in RUNTIMES.values())
    assert all(extra.adds in shown for extra in EXTRAS.values() if extra.key not in RUNTIMES)
    assert shown.count("**TensorRT**") == 1


def test_the_data_folder_is_added_up(visit: Visit, store: Store) -> None:
    (data_folder() / "runs" / "x").mkdir(parents=True)
    (data_folder() / "runs" / "x" / "model.onnx").write_bytes(bytes(3 * 2**20))
    page = visit("system")
    entries = frames(page)[2].set_index("Entry")["Size"]
    assert entries["runs"] == "3.00 MiB"
    assert page.code[0].value == str(data_folder())
