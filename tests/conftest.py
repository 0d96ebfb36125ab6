"""Shared by all tests: a data folder of their own, and what may be skipped where."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core import onnx_export
from core.data import Contract
from experiments.store import Store, open_store

if TYPE_CHECKING:
    from torch import nn
    from torch.onnx import ONNXProgram

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Garbage is not looked for among what is imported, which took half of this time, and seldom among what is made."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _equal_networks_are_exported_once() -> Iterator[None]:
    """As `exported_before` says, which imports torch and so is imported only where something is exported."""
    export = onnx_export.onnx_program

    def program(module: nn.Module, contract: Contract) -> ONNXProgram:
        from tests.exported_before import remember

        remember()
        return export(module, contract)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "onnx_program", program)
        yield


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store in a data folder that lasts as long as the test."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("STUDIO_STORE_URL", raising=False)
    opened = open_store()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def _folder_of_probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("probes")


@pytest.fixture(scope="module")
def shared_probes(_folder_of_probes: Path) -> Iterator[None]:
    """What this machine attains is probed once for all runs of a file and others, with a network that takes no time.

    For tests that do not look at these rates; wherever their data lies, the rates lie elsewhere.
    """
    from experiments import peaks

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CHANNELS": 16, "SIDE": 14, "LAYERS": 2, "LONGEST_SECONDS": 0.02}.items():
            patch.setattr(peaks, name, value)
        patch.setattr(peaks, "WORKING_SETS", peaks.WORKING_SETS | {"cpu": (2**16, 2**20)})
        patch.setattr(peaks, "data_folder", lambda: _folder_of_probes)
        yield
