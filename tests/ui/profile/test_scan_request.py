"""How long a scan takes, as told before it is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.scan import Scan, ScanCell
from experiments.recipe import Recipe
from experiments.scan import ScanResult
from experiments.store import Store
from experiments.study import ScanStudy
from tests.experiments.profiled import CONDITIONS, scanned
from ui.profile import scan_request
from ui.profile.scan_request import pace_of, time_in_words

SCAN = Scan(
    images=100, correct=90, layers=("a", "b"), kinds=("Conv2d",) * 2, parameters=(1, 1), changes=("int8",),
    cells=tuple(ScanCell(layer=name, change="int8", correct=90, agreed=100, divergence=0, output_error=0)
                for name in "ab"),
)  # fmt: skip


def test_the_time_follows_the_pace_of_the_last_scan(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    from experiments.store import open_store

    store: Store = open_store()
    record = store.run(scanned(store, Recipe(model="resnet_fmnist").model, SCAN))
    assert record
    record = replace(record, started_at=1000.0, ended_at=1010.0)  # 10 s for 2 cells of 100 images
    found = ScanResult(scan=SCAN, conditions=CONDITIONS)
    monkeypatch.setattr(scan_request, "result_of", lambda run_id: found)
    assert "about 1 min 00 s" in time_in_words(ScanStudy(changes=("int8", "int4", "int3"), images=200), record)
    assert pace_of(record, found) == pytest.approx(0.05)
    assert pace_of(record, found.model_copy(update={"cached": 1})) is None
    assert "seconds to minutes" in time_in_words(ScanStudy(), None)
