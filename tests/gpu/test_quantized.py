from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import Situation
from core.devices import find_device
from runtimes import RUNTIMES
from tests.optimizers.conftest import TinyTransformer, bundle_of
from tests.runtimes.quantized import module_logits, quantized

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.mark.parametrize("key", ["pytorch", "torch_compile"])
@pytest.mark.parametrize("scheme", ["w8", "w4"])
def test_weights_in_few_bits_give_the_logits_of_the_cpu(key: str, scheme: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    gpu, bundle = find_device("cuda:0"), bundle_of(TinyTransformer().eval(), "transformer")
    if reason := RUNTIMES[key].why_unavailable(gpu):
        pytest.skip(reason)
    made = quantized(bundle, scheme, tmp_path)
    situation = Situation("transformer", 1, 4, gpu, key, precision=made.precision, applied=("weight_only",))
    RUNTIMES[key].check(situation)
    x = bundle.contract.prepare(bundle.data.test.pixels)
    expected = module_logits(made, x)
    with RUNTIMES[key].open(RUNTIMES[key].export(made, tmp_path), gpu, threads=1) as session:
        for batch in (1, 9):
            np.testing.assert_allclose(session.run(x[:batch]), expected[:batch], atol=5e-3 * np.abs(expected).max())
