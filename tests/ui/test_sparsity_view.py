"""A sparse network on the run's page."""

from __future__ import annotations

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.devices import Device
from core.sparsity import Pattern, SchedulePoint, SparseLayer, SparsityReport
from experiments.recipe import Recipe
from experiments.references import reference_of
from experiments.run_record import RunRecord
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import MIB, finished
from ui.sparsity_view import dense_run, differences, headline, layer_table, places, without_zeros

CPU = Device("cpu", "cpu", "A CPU", 2**30)
HOPPER = Device("cuda:0", "cuda", "A GPU", 2**30, compute_capability=(9, 0))
SPARSE = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["magnitude_pruning"](),), runtime="onnxruntime")


def report(pattern: Pattern = "scattered", *, gradual: bool = False, measured: bool = True) -> SparsityReport:
    """A stem that stays dense and two layers with half of their weights zero."""
    whole = 16 if pattern == "2:4" else 3
    error = 0.1 if measured else None
    steps = tuple(SchedulePoint(step=step, sparsity=share) for step, share in ((1, 0.1), (5, 0.5), (9, 0.5)))
    return SparsityReport(
        pattern=pattern, method="Magnitude, one ranking for all",
        layers=(
            SparseLayer(name="stem", kind="Conv2d", weights=64, zeros=0, why_dense="It has one input channel."),
            SparseLayer(name="body", kind="Conv2d", shape=(8, 8), weights=64, zeros=32, blocks=16,
                        blocks_with_pattern=whole, output_error=error),
            SparseLayer(name="head", kind="Linear", shape=(16, 64), weights=1024, zeros=512, blocks=256,
                        blocks_with_pattern=256 if pattern == "2:4" else 90, output_error=error),
        ),
        schedule=steps if gradual else (),
    )  # fmt: skip


def page(content: str, run_id: str) -> None:
    from core.sparsity import SparsityReport
    from ui.sparsity_view import draw_sparsity
    from ui.state import store

    record = store().run(run_id)
    assert record
    draw_sparsity(SparsityReport.model_validate_json(content), record)


@pytest.fixture
def record(store: Store) -> RunRecord:
    """A finished run with zeros."""
    found = store.run(finished(store, SPARSE, p50_ms=1.01, wrong=400))
    assert found
    return found


def drawn(content: SparsityReport, record: RunRecord, tab: str = "") -> AppTest:
    """The view after its first run, with a tab opened."""
    test = AppTest.from_function(
        page, kwargs={"content": content.model_dump_json(), "run_id": record.id}, default_timeout=60
    )
    if tab:
        test.session_state["sparsity.tab"] = tab
    test.run(timeout=60)
    assert not test.exception
    return test


def test_the_headline_counts_zeros_and_layers_with_the_pattern() -> None:
    assert headline(report()) == "47.2 % of 1,152 weights are zero. Magnitude, one ranking for all."
    assert headline(report("2:4")).endswith("2 of 3 layers have the 2:4 pattern.")


def test_tabs_without_content_are_left_out(record: RunRecord) -> None:
    assert [tab.label for tab in drawn(report(measured=False), record).tabs] == [
        "What it brings",
        "Layers",
        "All layers",
    ]
    test = drawn(report("2:4", gradual=True), record, "Layers")
    assert [tab.label for tab in test.tabs] == ["What it brings", "Layers", "Output error", "Schedule", "All layers"]
    assert len(test.get("plotly_chart")) == 2
    assert "It reached 50.0 % at step 5" in drawn(report(gradual=True), record, "Schedule").caption[0].value


def test_the_truth_compares_with_the_dense_network_and_waits_for_it(record: RunRecord, store: Store) -> None:
    assert "Appears once" in drawn(report(), record).caption[0].value
    finished(store, reference_of(SPARSE), p50_ms=1.0, size_bytes=6 * MIB)
    test = drawn(report(), record)
    assert len(test.table) == 2
    table = test.table[0].value.set_index("Measured")
    assert table.Difference["Latency p50"] == "no measurable difference"
    assert table.Difference["File"] == table.Difference["File, gzip"] == "2.00x smaller"
    assert table.Difference["Accuracy"] == "-13.00 points"


def test_the_same_recipe_without_zeros_is_compared_with_where_it_has_finished(store: Store) -> None:
    both = SPARSE.model_copy(update={"techniques": (TECHNIQUES["structured_pruning"](), *SPARSE.techniques)})
    twin = SPARSE.model_copy(update={"techniques": (TECHNIQUES["structured_pruning"](),)})
    assert without_zeros(both) == twin
    record = store.run(finished(store, both))
    assert record
    assert dense_run(record) == (None, False)
    reference = finished(store, reference_of(both))
    assert [each.id if isinstance(each, RunRecord) else each for each in dense_run(record)] == [reference, False]
    found = finished(store, twin, p50_ms=1.5)
    dense, is_twin = dense_run(record)
    assert dense
    assert (dense.id, is_twin) == (found, True)
    assert differences(record, dense).Difference[2] == "1.50x faster"


def test_it_pays_nowhere_on_a_cpu_and_on_gpus_only_with_the_pattern() -> None:
    assert set(places(report(), [CPU])["Can pay"]) == {"no"}
    table = places(report("2:4"), [CPU])
    assert table["Can pay"].tolist() == sorted(table["Can pay"], reverse=True)
    pays = table[table["Can pay"] == "yes"]["Runtime and device"]
    assert any("TensorRT on an NVIDIA GPU from Ampere on, none here" in place for place in pays)
    assert not any("A CPU" in place for place in pays)


def test_a_gpu_that_is_here_stands_for_itself() -> None:
    assert not any("none here" in place for place in places(report("2:4"), [CPU, HOPPER])["Runtime and device"])


def test_the_table_has_every_layer_with_its_reason() -> None:
    table = layer_table(report())
    assert table.sparsity.tolist() == [0, 50, 50]
    assert pd.isna(table.pattern[0])
    assert table.why_dense[0] == "It has one input channel."


def test_bytes_and_speed_of_another_number_format_are_not_told_as_those_of_zeros(store: Store) -> None:
    both = SPARSE.model_copy(update={"techniques": (*SPARSE.techniques, TECHNIQUES["int8"]())})
    record = store.run(finished(store, both, p50_ms=1.0))
    assert record
    finished(store, reference_of(both), p50_ms=2.0, size_bytes=6 * MIB)
    test = drawn(report(), record)
    assert test.table[0].value["Measured"].tolist() == ["File, gzip", "Accuracy"]
    assert "File size and latency are left out" in test.caption[0].value
    finished(store, without_zeros(both), p50_ms=1.0)
    test = drawn(report(), record)
    assert test.table[0].value["Measured"].tolist() == ["File", "File, gzip", "Latency p50", "Accuracy"]
    assert "left out" not in test.caption[0].value
