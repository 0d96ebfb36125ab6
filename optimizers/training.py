"""The one fine-tuning loop. Imports torch: import it inside functions only."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from core.bundle import ModelBundle
from core.data import Split
from core.errors import RunFailed
from core.progress import Metric, Progress, Steps
from optimizers.guidance import Guidance
from optimizers.images import Batch, TrainingImages
from optimizers.state import on_device, torch_state
from optimizers.technique import Context

TrainingPrecision = Literal["fp32", "bf16", "fp16"]

_WEIGHT_DECAY = 0.01
_REPORT_EVERY_S = 0.25
_EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Plan:
    """How long and how strongly to train."""

    epochs: int
    learning_rate: float
    """The peak of the one-cycle schedule."""
    batch_size: int = 64
    precision: TrainingPrecision = "fp32"
    keep_zeros: bool = False
    """Whether weights that are exactly zero at the start are so after every step; biases and norms always move."""


def train(
    network: nn.Module, bundle: ModelBundle, context: Context, plan: Plan, *, guidance: Guidance | None = None
) -> Steps[nn.Module]:
    """A trained copy of `network` on the CPU, in float32 and eval mode; the bundle gives images and contract.

    AdamW under a one-cycle schedule (Smith and Topin 2017, https://arxiv.org/abs/1708.07120); reduced precision is
    autocast, with scaled gradients for fp16 (Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740). Images are
    only mirrored: shifted ones, on which a teacher's cached answers are a little wrong, took twice the epochs. Same
    seed, device, threads and library versions, same weights. Raises `RunFailed` once a loss is not finite.
    """
    with torch_state(context):
        trainee = on_device(network, context)
        images = TrainingImages(bundle.data.train, bundle.contract, torch.device(context.device.id))
        batch_size = min(plan.batch_size, len(images))
        trainer = _Trainer(trainee, plan, guidance, steps=plan.epochs * (len(images) // batch_size))
        for epoch in range(1, plan.epochs + 1):
            for batch in images.batches(batch_size):
                trainer.step(batch)
                if trainer.report_is_due:
                    yield from trainer.report(f"epoch {epoch} of {plan.epochs}")
            accuracy = evaluate(trainee, bundle, plan.precision)
            yield Metric(name="accuracy", value=accuracy, step=trainer.done, series="validation")
        trained: nn.Module = trainee.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    return trained


def evaluate(network: nn.Module, bundle: ModelBundle, precision: TrainingPrecision = "fp32") -> float:
    """Share of the calibration images, which no training sees, that the network gets right where it is."""
    device, split = next(network.parameters()).device, bundle.data.calibrate
    was_training, correct = network.training, 0
    network.eval()
    for start in range(0, len(split), _EVALUATION_BATCH):
        part = Split(split.pixels[start : start + _EVALUATION_BATCH], split.labels[start : start + _EVALUATION_BATCH])
        with torch.inference_mode(), autocast(device, precision):
            logits = network(torch.from_numpy(bundle.contract.prepare(part.pixels)).to(device))
        correct += int(part.is_correct(logits.argmax(1).cpu().numpy()).sum())
    network.train(was_training)
    return correct / len(split)


def autocast(device: torch.device, precision: TrainingPrecision) -> torch.autocast:
    """Convolutions and matrix products in `precision`, what needs the range in float32."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


class _Trainer:
    """One step after another along the schedule, with what there is to tell about them."""

    def __init__(self, network: nn.Module, plan: Plan, guidance: Guidance | None, *, steps: int) -> None:
        self.network, self.plan, self.guidance, self.steps, self.done = network.train(), plan, guidance, steps, 0
        self.device = next(network.parameters()).device
        self.optimizer = torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=_WEIGHT_DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, plan.learning_rate, total_steps=steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.precision == "fp16")
        weights = [weight for weight in network.parameters() if plan.keep_zeros and weight.ndim > 1]
        self._zeros = [(weight, weight == 0) for weight in weights if (weight == 0).any()]
        self._losses: list[Tensor] = []
        self._reported = -math.inf

    def step(self, batch: Batch) -> None:
        """One update of the weights."""
        with autocast(self.device, self.plan.precision):
            logits = self.network(batch.x.contiguous(memory_format=torch.channels_last)).float()
        loss = self.guidance.loss(logits, batch) if self.guidance else cross_entropy(logits, batch.targets)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # Gradients that overflowed were skipped, and the scale halved: the schedule waits with the optimizer.
        if self.scaler.get_scale() >= scale:
            self.schedule.step()
        with torch.no_grad():
            for weight, zeros in self._zeros:
                weight.masked_fill_(zeros, 0)
        self.done += 1
        self._losses.append(loss.detach())

    @property
    def report_is_due(self) -> bool:
        """After the first and the last step, and often enough for a live curve in between."""
        return self.done == self.steps or time.monotonic() - self._reported >= _REPORT_EVERY_S

    def report(self, doing: str) -> Steps[None]:
        """Progress and the mean loss since the last report. Raises `RunFailed` when that is not finite."""
        loss = float(torch.stack(self._losses).mean())
        if not math.isfinite(loss):
            raise RunFailed(
                f"The training loss became {loss} at step {self.done}", action="Lower the learning rate and run again"
            )
        self._losses, self._reported = [], time.monotonic()
        yield Progress(done=self.done, total=self.steps, unit="steps", doing=doing)
        yield Metric(name="loss", value=loss, step=self.done, series="train")
        if self.scaler.is_enabled():
            yield Metric(name="loss_scale", value=self.scaler.get_scale(), step=self.done, series="train")
