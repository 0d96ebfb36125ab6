from __future__ import annotations

import pytest

from experiments.explained import explanations
from experiments.store import Store
from tests.experiments.explained_runs import INT8, left
from tests.pages.left_behind import finished


def test_a_treated_variant_is_explained_against_its_runtime_s_fp32(store: Store) -> None:
    reference, variant = left(store)
    records = store.runs()
    (explanation,) = explanations(records, store.results([record.id for record in records]))
    by_id = {record.id: record.summary for record in records}
    assert explanation.reference_ms == pytest.approx(by_id[reference].p50_ms)
    assert explanation.measured_ms == pytest.approx(by_id[variant].p50_ms)
    assert any("features.1" in cause.sentence for cause in explanation.causes)


def test_what_has_no_reference_or_no_profile_is_left_out(store: Store) -> None:
    finished(store, INT8)
    records = store.runs()
    assert explanations(records, store.results([record.id for record in records])) == []
