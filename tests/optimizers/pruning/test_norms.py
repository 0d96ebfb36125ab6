from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle
from optimizers.pruning.judge import Judge
from optimizers.pruning.norms import renewed
from optimizers.technique import Context
from tests.optimizers.conftest import TinyNet


@pytest.mark.parametrize("count", [2, 250, 251])
def test_a_last_image_alone_joins_the_batch_before(count: int) -> None:
    """Maps of one pixel, of which a single image has no variance."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Unflatten(1, (4, 1, 1)), nn.BatchNorm2d(4))
    x = np.random.default_rng(0).normal(1, 2, (count, 1, 3, 3)).astype(np.float32)
    seen = network[1](torch.from_numpy(x).flatten(1)).detach().double().numpy()
    norm = renewed(network, x)[3]
    np.testing.assert_allclose(norm.running_mean, seen.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_var, seen.var(0, ddof=1), rtol=1e-4)


def test_a_single_image_changes_nothing() -> None:
    network = TinyNet().eval()
    norm = renewed(network, np.ones((1, 1, 12, 12), np.float32)).stem[1]
    assert torch.equal(norm.running_mean, network.stem[1].running_mean)
    assert torch.equal(norm.running_var, network.stem[1].running_var)


def test_what_a_judge_renews_has_ordinary_weights(bundle: ModelBundle, context: Context) -> None:
    kept = Judge(bundle, context).renewed(bundle.module)
    assert all(weight.is_contiguous() for weight in kept.parameters())
    assert torch.equal(kept.block[0].weight, bundle.module.block[0].weight)
