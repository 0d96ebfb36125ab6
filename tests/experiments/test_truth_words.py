"""The matrix in sentences and as a table."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.store import Store
from experiments.truth_words import fastest, fastest_in_words, headline, speed, table
from tests.experiments.truths import INT8, PRUNED, UNTOUCHED, at, diverging, fidelity, finished, whole


def test_the_headline_counts_and_names_what_differs(store: Store) -> None:
    finished(store, UNTOUCHED, fidelity())
    finished(store, INT8, fidelity(agreeing=995, relative=0.02))
    assert headline(whole(store)).startswith("All 2 exports answer like the network they were made from")
    finished(store, at(INT8, "openvino"), fidelity(agreeing=610, relative=0.9))
    assert headline(whole(store)) == (
        "2 of 3 exports answer like the network they were made from; INT8 in OpenVINO (agreement 61 %) does not."
    )
    finished(store, at(INT8, "torch_compile"), fidelity(agreeing=5, relative=0.9))
    assert "(agreement 0.5 %) and INT8 in OpenVINO (agreement 61 %) do not" in headline(whole(store))


def test_older_runs_and_none_are_told_apart(store: Store) -> None:
    store.enqueue(INT8)
    assert headline(whole(store)).startswith("No export of this model has been measured")
    finished(store, INT8)
    assert headline(whole(store)) == "1 export was measured before answers were compared: run it again."


def test_the_fastest_is_named_only_where_it_answers_alike_and_is_measurably_so(store: Store) -> None:
    finished(store, UNTOUCHED, fidelity(), p50_ms=4)
    finished(store, at(UNTOUCHED, "onnxruntime"), fidelity(), p50_ms=2)
    finished(store, at(UNTOUCHED, "openvino"), fidelity(agreeing=10, relative=0.9), p50_ms=1)
    row = whole(store).rows[0]
    assert [cell.runtime for cell in fastest(row)] == ["onnxruntime"]
    finished(store, PRUNED, fidelity(), p50_ms=2)
    finished(store, at(PRUNED, "onnxruntime"), fidelity(), p50_ms=2.01)
    words = fastest_in_words(whole(store))
    assert "ONNX Runtime for FP32" in words
    assert "ONNX Runtime or PyTorch for Pruned 50 %. Where two are named" in words
    finished(store, INT8, fidelity())
    assert "INT8" not in fastest_in_words(whole(store))  # measured in one runtime only


def test_what_is_called_faster_or_the_fastest_is_doubted_where_the_timing_was_disturbed(store: Store) -> None:
    finished(store, UNTOUCHED, fidelity(), p50_ms=4)
    run_id = finished(store, at(UNTOUCHED, "onnxruntime"), fidelity(), p50_ms=2)
    calm = fastest_in_words(whole(store))
    latency = store.results([run_id])[run_id].latency.model_copy(update={"contended_share": 0.5})
    finished(store, at(UNTOUCHED, "onnxruntime"), fidelity(), latency=latency)
    found = whole(store)
    assert fastest_in_words(found) == f"{calm} The timing was disturbed for FP32: run again before you trust it."
    cells = {cell.runtime: cell for cell in found.rows[0].cells}
    assert speed(cells["onnxruntime"], cells["pytorch"])[1].endswith("x faster, but the timing was disturbed")
    assert speed(cells["pytorch"], cells["onnxruntime"])[1].endswith("x slower, but the timing was disturbed")


def test_speeds_are_ratios_of_medians_with_a_verdict(store: Store) -> None:
    slow, quick = finished(store, UNTOUCHED, fidelity(), p50_ms=3), finished(store, at(UNTOUCHED, "openvino"), p50_ms=1)
    cells = {cell.runtime: cell for cell in whole(store).rows[0].cells}
    ratio, verdict = speed(cells["openvino"], cells["pytorch"])
    results = store.results([slow, quick])
    medians = [np.median(np.concatenate(results[each].latency.blocks_ms)) for each in (slow, quick)]
    assert ratio == pytest.approx(medians[0] / medians[1], rel=0.01)
    assert verdict == f"{ratio:.2f}x faster"


def test_the_table_has_a_row_for_every_cell_with_all_that_is_known(store: Store) -> None:
    finished(store, UNTOUCHED, fidelity())
    first = diverging(0.01, 0.4, first=1)
    finished(store, INT8, fidelity(agreeing=900, relative=0.4, divergence=first), p50_ms=0.5)
    found = whole(store)
    frame = table(found)
    assert len(frame) == len(found.cells)
    row = frame[(frame.variant == "INT8") & (frame.runtime == "ONNX Runtime")].iloc[0]
    assert (row.agreement, row.tolerance, row.first_diverging_layers) == (0.9, 0.15, "net.1")
    assert row.agreement_low < 0.9 < row.agreement_high
    assert (row.cold_start_ms, row.build_ms, row.size_bytes, row.accuracy) == (900, 12.5, 1000, 0.95)
    assert (row.speed_against, row.state) == ("FP32 in PyTorch", "differs")
    empty = frame[(frame.variant == "INT8") & (frame.runtime == "PyTorch")].iloc[0]
    assert empty.why
    assert np.isnan(empty.p50_ms)
