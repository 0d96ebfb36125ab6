"""How well a network in training does on images that no training sees. Imports torch: inside functions only."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from core.bundle import ModelBundle
from core.data import Split
from core.quantization import TrainingPrecision
from optimizers.training.arithmetic import arithmetic

_BATCH = 250


def right_answers(network: nn.Module, bundle: ModelBundle, precision: TrainingPrecision) -> NDArray[np.bool_]:
    """bool [N]: which calibration images the network gets right, where it is and in that precision."""
    device, split = next(network.parameters()).device, bundle.data.calibrate
    was_training, right = network.training, [np.zeros(0, bool)]
    network.eval()
    for start in range(0, len(split), _BATCH):
        part = Split(split.pixels[start : start + _BATCH], split.labels[start : start + _BATCH])
        with torch.inference_mode(), arithmetic(device, precision):
            logits = network(torch.from_numpy(bundle.contract.prepare(part.pixels)).to(device))
        right.append(part.is_correct(logits.argmax(1).cpu().numpy()))
    network.train(was_training)
    return np.concatenate(right)
