from __future__ import annotations

import pytest

from runtimes import onnx_profiler_cost
from runtimes.onnx_profiler_cost import profiler_cost_us


def test_the_profiler_takes_microseconds_in_every_node() -> None:
    assert 0 < profiler_cost_us(1) < 100


def test_the_cost_is_what_is_reported_beyond_what_a_node_takes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 nodes take 60 times 0.2 microseconds longer than 4; reported are 2 each."""
    monkeypatch.setattr(onnx_profiler_cost, "_call_us", lambda model, threads: 17.0 if len(model) > 500 else 5.0)
    monkeypatch.setattr(onnx_profiler_cost, "_reported_us", lambda model, threads: 2.0)
    assert profiler_cost_us(1) == pytest.approx(1.8)
