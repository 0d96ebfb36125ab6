"""The probe for LiteRT computes what the probe of PyTorch computes."""

from __future__ import annotations

import numpy as np
import torch

from core.macs import count_macs
from core.tflite_file import facts_of
from core.tflite_reference import reference
from experiments import peaks
from experiments.peaks import _as_tflite, _probe


def test_the_file_is_the_same_network() -> None:
    probe = _probe()
    content = _as_tflite(probe)
    x = np.random.default_rng(0).normal(size=(2, *probe.contract.shape)).astype(np.float32)
    with torch.inference_mode():
        expected = probe.module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(reference(content)(x), expected, rtol=1e-3, atol=1e-6)
    facts = facts_of(content)
    assert facts.operators == {"CONV_2D": peaks.LAYERS, "MEAN": 1}
    assert facts.macs == count_macs(probe.module, probe.contract)
