from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from experiments.module_tree import module_paths
from experiments.trace_file import WHAT_IT_IS, write_trace
from tests.experiments.profiled import LAYERS, layer_profile

REQUIRED = {"M": {"name", "ph", "pid", "tid", "args"}, "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"}}
"""What the Trace Event Format asks of metadata and of complete events."""


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """The trace of the small profile, read again."""
    profile = layer_profile()
    modules = module_paths(profile, None)
    write_trace(tmp_path / "trace.json", profile, modules, title="A net", facts={"variant": "Untouched"})
    return json.loads((tmp_path / "trace.json").read_text())


def spans(content: dict[str, Any], row: int) -> list[dict[str, Any]]:
    return [each for each in content["traceEvents"] if each["ph"] == "X" and each["tid"] == row]


def test_every_event_has_what_the_format_asks_for_in_the_order_of_time(content: dict[str, Any]) -> None:
    events = content["traceEvents"]
    assert all(REQUIRED[each["ph"]] <= each.keys() for each in events)
    began = [each["ts"] for each in events if each["ph"] == "X"]
    assert began == sorted(began)
    assert {each["args"]["name"] for each in events if each["name"] == "process_name"} == {"A net"}


def test_layers_lie_end_to_end_and_add_up(content: dict[str, Any]) -> None:
    rows = spans(content, 1)
    assert [each["name"] for each in rows] == [layer.name for layer in LAYERS]
    assert sum(each["dur"] for each in rows) == pytest.approx(1000 * 0.5)
    for earlier, later in pairwise(rows):
        assert earlier["ts"] + earlier["dur"] == pytest.approx(later["ts"], abs=1e-6)
    facts = rows[1]["args"]
    assert (facts["operation"], facts["precision"], facts["multiply_accumulates"]) == ("Conv", "fp32", 8_000_000)
    assert (facts["output_shape"], facts["share_of_layers"]) == ([1, 10, 16, 16], pytest.approx(0.2))


def test_modules_lie_around_the_layers_in_them(content: dict[str, Any]) -> None:
    modules = {each["name"]: each for each in spans(content, 2)}
    body = modules["body"]
    assert (body["ts"], body["dur"]) == (pytest.approx(15), pytest.approx(320))
    assert body["args"]["layers"] == 3
    for name in ("body.0", "body.0.conv1", "body.0.conv2"):
        inner = modules[name]
        assert body["ts"] <= inner["ts"]
        assert inner["ts"] + inner["dur"] <= body["ts"] + body["dur"] + 1e-6


def test_the_file_says_what_it_is(content: dict[str, Any]) -> None:
    assert content["otherData"]["what"] == WHAT_IT_IS
    assert "not a recording" in WHAT_IT_IS
    assert content["otherData"]["variant"] == "Untouched"
    assert content["otherData"]["layers_ms"] == pytest.approx(0.5)
