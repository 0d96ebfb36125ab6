"""A GPU that is really too small for what is asked of it."""

from __future__ import annotations

import pytest
import torch

from core.devices import find_device
from experiments.shortage import shortage_of
from profiling.memory import return_free_memory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
MIB = 2**20


def test_the_peak_on_the_gpu_is_told_and_memory_can_be_had_again() -> None:
    device = find_device("cuda:0")
    return_free_memory(device)
    held = torch.zeros(256 * MIB, dtype=torch.uint8, device="cuda:0")
    with pytest.raises(torch.cuda.OutOfMemoryError) as error:
        torch.zeros(2 * device.memory_bytes, dtype=torch.uint8, device="cuda:0")
    found = shortage_of(error.value, device)
    assert found
    assert found.peak_bytes
    assert found.total_bytes
    assert found.memory == "GPU"
    assert held.numel() <= found.peak_bytes < found.total_bytes
    del held
    return_free_memory(device)
    assert torch.zeros(MIB, device="cuda:0").sum() == 0
