"""An engine of another GPU or version is told by the file beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.devices import Device
from core.errors import Unavailable
from runtimes.tensorrt_facts import EngineFacts, read_facts, refuse_elsewhere, write_facts

FACTS = EngineFacts(
    module="tensorrt_rtx",
    version="1.7.1.116",
    compute_capability=(8, 9),
    gpu="NVIDIA L4",
    is_ahead=False,
    precision="fp16",
    batches=(1, 16, 64),
    effort=3,
    workspace_mib=0,
    skips_fours=False,
)


def gpu(name: str, capability: tuple[int, int]) -> Device:
    return Device("cuda:0", "cuda", name, 2**34, capability)


def test_facts_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_facts(tmp_path) is None
    assert write_facts(FACTS, tmp_path) == "engine.json"
    assert read_facts(tmp_path) == FACTS
    (tmp_path / "engine.json").write_text('{"module": "tensorrt"')
    assert read_facts(tmp_path) is None


def test_an_engine_opens_on_another_gpu_of_the_same_kind_in_the_same_version() -> None:
    refuse_elsewhere(FACTS, gpu("NVIDIA GeForce RTX 4090", (8, 9)), "1.7.1.116")


@pytest.mark.parametrize(
    ("name", "capability", "version", "sentence"),
    [
        (
            "NVIDIA A100",
            (8, 0),
            "1.7.1.116",
            r"for NVIDIA L4 \(compute capability 8.9\), and NVIDIA A100 has 8.0",
        ),
        ("NVIDIA L4", (8, 9), "1.8.0.2", r"built by tensorrt_rtx 1.7.1.116, and 1.8.0.2 .* tensorrt-rtx==1.7.1.116"),
    ],
)
def test_one_of_another_kind_or_version_is_refused(
    name: str, capability: tuple[int, int], version: str, sentence: str
) -> None:
    with pytest.raises(Unavailable, match=sentence):
        refuse_elsewhere(FACTS, gpu(name, capability), version)
