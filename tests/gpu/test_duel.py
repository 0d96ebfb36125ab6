from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.devices import find_device
from core.progress import result_of
from experiments.duel import Duel, run_duel
from experiments.run import write_companions
from experiments.server import ServedArtifact
from runtimes import RUNTIMES
from runtimes.runtime import Artifact
from tests.runtimes.conftest import make_bundle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
CONTEXT_BYTES = 50 * 2**20
"""Less than any CUDA context takes."""


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    bundle = make_bundle()
    exported = RUNTIMES["pytorch"].export(bundle, tmp_path)
    write_companions(bundle, tmp_path)
    return exported


def test_a_fresh_process_shows_the_memory_that_the_context_takes_too(artifact: Artifact) -> None:
    with ServedArtifact(artifact, find_device("cuda:0"), threads=1, batch_size=4) as served:
        memory = served.opened().memory
        assert served.block(20.0).calls_ms
    assert memory.peak_allocated_bytes
    if memory.device_delta_bytes is None:
        pytest.skip("this driver does not tell the memory in use")
    assert memory.device_delta_bytes > CONTEXT_BYTES > memory.peak_allocated_bytes


def test_a_duel_on_a_gpu_takes_turns(artifact: Artifact) -> None:
    gpu = find_device("cuda:0")
    duel = Duel(first="a", second="b", rounds=20, starts=2)
    result = result_of(run_duel(duel, artifact, artifact, gpu, threads=1, batch_size=4))
    assert len(result.rounds) == 20
    assert result.conditions.device == "cuda:0"
    assert result.ratio.low <= result.ratio.value <= result.ratio.high
