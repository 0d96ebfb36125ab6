"""Networks judged on calibration images in passing. Imports torch: import it inside functions only."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.data import Inputs, Labels, Split
from optimizers.pruning.norms import renewed
from optimizers.state import on_device, torch_state
from optimizers.technique import Context

JUDGED_IMAGES = 1000
_BATCH = 250


class Judge:
    """Calibration images with labels, as many as are quickly seen."""

    def __init__(self, bundle: ModelBundle, context: Context) -> None:
        split, self._context = bundle.data.calibrate, context
        labelled = np.flatnonzero((split.labels >= 0).any(1))[:JUDGED_IMAGES]
        self._split = Split(split.pixels[labelled], split.labels[labelled])
        self._x = bundle.contract.prepare(self._split.pixels)
        self._all = bundle.contract.prepare(split.pixels[:JUDGED_IMAGES])

    def __len__(self) -> int:
        return len(self._split)

    def correct(self, network: nn.Module) -> int:
        """Images that the network gets right; 0 where there are none."""
        if not len(self):
            return 0
        with torch_state(self._context), torch.inference_mode():
            moved = on_device(network, self._context).eval()
            answers = [self._answers(moved, self._x[at : at + _BATCH]) for at in range(0, len(self), _BATCH)]
        return int(self._split.is_correct(np.concatenate(answers)).sum())

    def renewed(self, network: nn.Module) -> nn.Module:
        """A copy on the CPU whose BatchNorm layers hold what calibration images, labelled or not, give them now."""
        with torch_state(self._context):
            found = renewed(on_device(network, self._context), self._all)
            back: nn.Module = found.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            return back

    def _answers(self, network: nn.Module, x: Inputs) -> Labels:
        logits: Tensor = network(torch.from_numpy(x).to(self._context.device.id))
        answers: Labels = logits.argmax(1).cpu().numpy()
        return answers
