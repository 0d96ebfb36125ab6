from __future__ import annotations

import os

from experiments.recipe import Recipe
from experiments.scan import PHASES
from experiments.store import Store
from experiments.study import ScanStudy
from experiments.worker import execute
from sample_models import card

STUDY = ScanStudy(changes=("w4",), images=32)


def test_a_scan_is_kept_and_what_it_found_serves_the_next(store: Store) -> None:
    results = []
    for runtime in ("onnxruntime", "openvino"):
        recipe = Recipe.model_validate(
            {"model": "student_cnn_fmnist", "runtime": runtime, "measurement": {"threads": 1}}
        )
        run_id = store.enqueue_study(STUDY, recipe)
        store.claim(run_id, os.getpid())
        execute(store, store.run(run_id))
        assert store.run(run_id).error is None
        results.append(store.scan_result(run_id))
    first, second = results
    assert (first.cached, second.cached) == (0, 4)
    assert first.scan == second.scan
    assert (first.scan.images, len(first.scan.cells), first.conditions.threads) == (32, 4, 1)
    norms = 2 * (16 + 32 + 48)
    assert sum(first.scan.parameters) + norms == card("student_cnn_fmnist").parameter_count
    phases = [each.event.title for each in store.events(run_id, kinds=("phase",))]
    assert tuple(phases) == PHASES
