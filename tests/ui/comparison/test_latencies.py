"""What stands out among the calls."""

from __future__ import annotations

import numpy as np

from tests.ui.figures.test_bars import variants
from ui.comparison.latencies import findings

DRAW = np.random.default_rng(0)
STEADY = DRAW.normal(1, 0.01, 2000)
TWO_KINDS = np.append(STEADY[:1200], DRAW.normal(3, 0.05, 800))


def test_tails_mixtures_and_disturbances_are_put_into_words() -> None:
    frame = variants(p95_ms=[2.2, np.nan, 3.1], is_disturbed=[False, False, True])
    tail, kinds, disturbed = findings(frame, {"r1": STEADY, "r2": STEADY, "r3": TWO_KINDS})
    assert tail == "Pruned <b>50 %</b> & more has the longest tail: its p95 is 3.1x its p50."
    assert kinds.startswith("Pruned <b>50 %</b> & more: calls of 2 kinds, around 1.00 and 2.99 ms")
    assert disturbed.startswith("Disturbed by other work on the machine: Pruned <b>50 %</b> & more.")


def test_quiet_runs_are_said_to_have_no_tails() -> None:
    frame = variants(p95_ms=[2.2, 0.51, 1.1], is_disturbed=[False] * 3)
    assert findings(frame, dict.fromkeys(frame.run_id, STEADY)) == ["No long tails: no p95 is more than 1.10x its p50."]


def test_too_few_calls_for_any_tail_leave_nothing_to_say() -> None:
    frame = variants(p95_ms=[np.nan] * 3, is_disturbed=[False] * 3)
    assert findings(frame, dict.fromkeys(frame.run_id, STEADY)) == []
