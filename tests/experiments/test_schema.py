"""Databases that earlier versions left behind."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from experiments.recipe import Recipe
from experiments.store import Store
from tests.pages.left_behind import measured

RECIPE = Recipe(model="resnet_fmnist", seed=3)
VARIANT = Recipe(model="resnet_fmnist", seed=3, runtime="onnxruntime")


def test_a_database_of_version_0_1_is_brought_up_to_date(tmp_path: Path) -> None:
    """The tables as that version made them, with one finished and one failed run."""
    path = tmp_path / "old.db"
    result = measured(VARIANT, wrong=30, p50_ms=2.0, size_bytes=1000)
    plain = result.model_dump(mode="json", context={"plain": True})
    calls = [block.tolist() for block in result.latency.blocks_ms]
    latency = {name: value for name, value in plain["latency"].items() if name not in ("samples", "block_sizes")}
    with sqlite3.connect(path) as old:
        old.executescript(VERSION_0_1)
        for run_id, recipe, content in (
            ("one", VARIANT, plain | {"latency": latency | {"blocks_ms": calls}}),
            ("two", RECIPE, None),
        ):
            row = (run_id, recipe.model_dump_json(), recipe.digest, recipe.model, "cpu", 1.0, json.dumps(content))
            old.execute("INSERT INTO runs VALUES (?,?,?,?,?,'finished',0,'h',1,1.0,?,1.0,1.0,NULL,NULL,?)", row)
    store = Store(f"sqlite:///{path}")
    record = store.run("one")
    assert record
    assert (record.slot, record.summary) == (1, result.summary())
    assert store.result("one") == result
    assert store.result("two") is None
    assert [each.id for each in store.variants("resnet_fmnist", VARIANT.settings, limit=5)] == ["one"]
    lost = store.run("two")
    assert lost
    assert (lost.state, lost.slot) == ("failed", 0)
    Store(f"sqlite:///{path}").close()


def test_digests_made_in_another_way_are_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    store = Store(f"sqlite:///{path}")
    ids = [store.enqueue(recipe) for recipe in (RECIPE, VARIANT)]
    store.close()
    with sqlite3.connect(path) as old:
        old.execute("UPDATE runs SET digest = 'of 0.2: ' || id")
    again = Store(f"sqlite:///{path}")
    assert [run.id for run in again.runs(digest=VARIANT.digest, limit=5)] == [ids[1]]
    assert [run.id for run in again.runs(digest=RECIPE.digest, limit=5)] == [ids[0]]


VERSION_0_1 = """
CREATE TABLE runs (id VARCHAR(32) NOT NULL PRIMARY KEY, recipe JSON NOT NULL, digest VARCHAR(16) NOT NULL,
    model VARCHAR(64) NOT NULL, device VARCHAR(32) NOT NULL, state VARCHAR(16) NOT NULL,
    cancel_requested BOOLEAN NOT NULL, host VARCHAR(255), pid INTEGER, process_started_at FLOAT,
    created_at FLOAT NOT NULL, started_at FLOAT, ended_at FLOAT, error TEXT, details TEXT, result JSON);
CREATE INDEX ix_runs_state ON runs (state);
CREATE TABLE events (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, run_id VARCHAR(32) NOT NULL,
    kind VARCHAR(16) NOT NULL, content JSON NOT NULL, FOREIGN KEY(run_id) REFERENCES runs (id));
"""
