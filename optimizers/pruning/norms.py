"""BatchNorm's statistics after a network lost channels. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from core.data import Inputs

_BATCH = 250


def renewed(network: nn.Module, x: Inputs) -> nn.Module:
    """A copy in eval mode whose BatchNorm layers hold the means and variances that x[N, C, H, W] gives them now.

    After a cut the layers behind see other sums than those whose statistics were stored; no weight changes: Li et al.
    2020, EagleEye, https://arxiv.org/abs/2007.02491. Nothing changes without such layers, or with fewer than two
    images, because a single one has no variance where maps are 1x1.
    """
    network = copy.deepcopy(network).eval()
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not norms or len(x) < 2:
        return network
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches alike
        layer.train()
    device = next(network.parameters()).device
    with torch.no_grad():
        for batch in np.split(x, range(_BATCH, len(x) - 1, _BATCH)):  # a last image alone joins the batch before
            network(torch.from_numpy(batch).to(device))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return network.eval()
