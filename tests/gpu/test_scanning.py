"""Layers changed alone on a GPU, beside the same on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.devices import find_device
from core.progress import result_of
from core.scan import CHANGES
from optimizers.scanning import Cache, scan_layers
from tests.optimizers.conftest import TinyNet, TinyTransformer, bundle_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.mark.parametrize("kind", [TinyNet, TinyTransformer])
def test_a_gpu_finds_what_the_cpu_finds(kind: type[torch.nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle, cache = bundle_of(kind().eval()), Cache(tmp_path)
    on_cpu, on_gpu = (
        result_of(scan_layers(bundle, tuple(CHANGES), images=64, device=find_device(place), threads=1, cache=cache))
        for place in ("cpu", "cuda:0")
    )
    assert cache.found == 0
    assert on_gpu.layers == on_cpu.layers
    for here, there in zip(on_cpu.cells, on_gpu.cells, strict=True):
        assert (there.layer, there.change) == (here.layer, here.change)
        # A value on the edge between two steps of a grid may fall either way.
        assert there.output_error == pytest.approx(here.output_error, rel=0.1, abs=2e-3)
        assert abs(there.agreed - here.agreed) <= 3
