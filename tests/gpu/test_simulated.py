"""Simulated number formats, exported from the CPU and served on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.devices import find_device
from optimizers import Context
from optimizers.simulated import Simulated
from runtimes import RUNTIMES
from tests.optimizers.conftest import DATA, TinyNet, build_network, bundle_of, events_and_result

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.mark.parametrize(
    "settings", [{"bits": 4}, {"number_format": "fp8"}, {"number_format": "nvfp4"}], ids=["integer", "fp8", "nvfp4"]
)
def test_a_gpu_rounds_as_the_cpu_does(settings: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    context = Context(find_device("cuda:0"), 1, 0, tmp_path, build_network, runtime="pytorch")
    technique = Simulated(activations=True, calibration_images=16, **settings)
    _, result = events_and_result(technique.apply(bundle_of(TinyNet().eval()), context))
    artifact = RUNTIMES["pytorch"].export(result, tmp_path)
    x = result.contract.prepare(DATA.test.pixels)
    logits = []
    for device in ("cpu", "cuda:0"):
        with RUNTIMES["pytorch"].open(artifact, find_device(device), threads=1) as session:
            logits.append(session.run(x))
    # A value on the edge between two steps may fall either way, and the difference then spreads.
    assert np.median(np.abs(logits[1] - logits[0])) < 0.05 * np.abs(logits[0]).max()
    assert np.mean(logits[0].argmax(1) == logits[1].argmax(1)) > 0.9
