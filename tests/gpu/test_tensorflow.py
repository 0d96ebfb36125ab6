"""TensorFlow on a GPU that was granted to it, within the memory granted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bridges import asking
from bridges.environments import TENSORFLOW
from bridges.keras.granted import GPU_VARIABLE
from core.data import DataSplits
from core.devices import find_device
from core.progress import Metric
from optimizers.keras_fine_tuning import KerasFineTuning
from optimizers.technique import Context
from profiling.gpu import GpuSampler
from sample_models.registry import load
from tests.optimizers.conftest import events_and_result

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
    pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing)),
]
MIB = 2**20
GRANTED_MIB, CONTEXT_MIB = 2048, 1536
"""What TensorFlow may take for tensors, and what CUDA and its libraries may take beside."""


@pytest.fixture
def granted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A TensorFlow that starts with the grant, and ends with the test."""
    monkeypatch.setenv(GPU_VARIABLE, str(GRANTED_MIB))
    asking._waiting().clear()
    yield
    for process in asking._waiting().values():
        process.end()
    asking._waiting().clear()


@pytest.mark.usefixtures("granted")
def test_training_on_a_gpu_learns_and_stays_within_the_grant(tmp_path: Path) -> None:
    whole = load("keras_cnn_fmnist")
    bundle = replace(whole, data=DataSplits(whole.data.train.take(512), whole.data.calibrate.take(64), whole.data.test))
    context = Context(find_device("cuda:0"), 1, 0, tmp_path, lambda key: None, runtime="litert")  # type: ignore[arg-type,return-value]
    with GpuSampler(0) as gpu:
        before = gpu.sample().used_bytes
        events, _ = events_and_result(KerasFineTuning(epochs=1).apply(bundle, context))
        after = gpu.sample().used_bytes
    assert before is not None
    assert after is not None
    assert 0 < after - before < (GRANTED_MIB + CONTEXT_MIB) * MIB
    assert any(isinstance(event, Metric) and event.name == "loss" for event in events)
