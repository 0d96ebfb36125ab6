"""Shared by all tests: a data folder of their own, and what may be skipped where."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.store import Store, open_store

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store in a data folder that lasts as long as the test."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("STUDIO_STORE_URL", raising=False)
    opened = open_store()
    yield opened
    opened.close()
