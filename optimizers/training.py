"""The one fine-tuning loop. Imports torch: import it inside functions only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from core.bundle import ModelBundle
from core.data import Split
from core.errors import RunFailed
from core.packed import Packed
from core.progress import Metric, Progress, Steps
from core.quantization import TrainingPrecision, TrainingRun
from optimizers.arithmetic import arithmetic
from optimizers.footprint import StepMemory, Stopwatch
from optimizers.guidance import Guidance
from optimizers.images import Batch, TrainingImages
from optimizers.state import on_device, torch_state
from optimizers.technique import Context
from optimizers.training_settings import Augmentation, OptimizerName, ScheduleName

OnEpoch = Callable[[nn.Module, float], None]

_WEIGHT_DECAY = 0.01
_REPORT_EVERY_S = 0.25
_EVALUATION_BATCH = 250
_TURNS = 40
"""Roughly how many turns each network has when several are trained: enough to tell how much their pace varies."""
_LARGEST_LOSS = 42_949.0


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
    optimizer: OptimizerName = "adamw"
    schedule: ScheduleName = "one_cycle"
    warm_up: float = 0.3
    """Share of the training in which the learning rate rises."""
    weight_decay: float = 0.01
    augmentation: Augmentation = "mirror"
    accumulate: int = 1
    """Batches whose gradients are averaged for one step of the optimizer."""
    keep: Literal["last", "best"] = "last"
    patience: int = 0
    """Epochs without a better accuracy on calibration images after which it ends; 0 for never."""
    settled_after: float = 0.0
    """Share of the training before which no epoch counts as the best, because the network still changes its form."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of one plan."""

    network: nn.Module
    """On the CPU, in float32 and eval mode."""
    run: TrainingRun
    right: NDArray[np.bool_]
    """bool [N]: which calibration images it gets right, computed in the precision it was trained in."""


@dataclass(frozen=True)
class TrainedTogether:
    """What came of plans that differ in nothing but their precision."""

    each: tuple[Trained, ...]
    """In the order of the plans."""
    turns: tuple[int, ...]
    """Steps of each turn, in order."""


def train(
    network: nn.Module,
    bundle: ModelBundle,
    context: Context,
    plan: Plan,
    *,
    guidance: Guidance | None = None,
    on_epoch: OnEpoch | None = None,
) -> Steps[nn.Module]:
    """A trained copy of `network` on the CPU, in float32 and eval mode; the bundle gives images and contract.

    AdamW under a one-cycle schedule (Smith and Topin 2017, https://arxiv.org/abs/1708.07120); reduced precision is
    autocast, with scaled gradients for fp16 (Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740). Images are
    only mirrored: shifted ones, on which a teacher's cached answers are a little wrong, took twice the epochs. Same
    seed, device, threads and library versions, same weights. `on_epoch` is called before each epoch with the trainee
    and the share of the training that is done. Raises `RunFailed` once a loss is not finite.
    """
    done = yield from train_together(network, bundle, context, (plan,), guidance=guidance, on_epoch=on_epoch)
    return done.each[0].network


def train_together(
    network: nn.Module,
    bundle: ModelBundle,
    context: Context,
    plans: Sequence[Plan],
    *,
    guidance: Guidance | None = None,
    on_epoch: OnEpoch | None = None,
) -> Steps[TrainedTogether]:
    """What `train` makes of each plan, one beside the other; plans may differ in their precision only.

    All start from the same weights and see the same batches in the same order. They take turns of a few steps, in
    alternating order, so that whatever else the machine does strikes all of them alike.
    """
    with torch_state(context):
        images = TrainingImages(bundle.data.train, bundle.contract, torch.device(context.device.id))
        trainers = [
            _Trainer(on_device(network, context), images, plan, guidance, on_epoch, is_alone=len(plans) == 1)
            for plan in plans
        ]
        turns = _turns(trainers[0].epoch_steps, plans[0].epochs, len(plans))
        for number, steps in enumerate(turns):
            for trainer in trainers[:: -1 if number % 2 else 1]:
                yield from trainer.turn(steps, among=trainers)
                if trainer.done % trainer.epoch_steps == 0:
                    yield trainer.judged(bundle)
        return TrainedTogether(tuple(trainer.finished() for trainer in trainers), turns)


def _turns(epoch_steps: int, epochs: int, trainees: int) -> tuple[int, ...]:
    """Steps of each turn: none goes beyond an epoch, and one that trains alone has turns of an epoch."""
    longest = epoch_steps if trainees == 1 else -(-epoch_steps // -(-_TURNS // epochs))
    full, rest = divmod(epoch_steps, longest)
    return ((longest,) * full + ((rest,) if rest else ())) * epochs


def evaluate(network: nn.Module, bundle: ModelBundle, precision: TrainingPrecision = "fp32") -> float:
    """Share of the calibration images, which no training sees, that the network gets right where it is."""
    return float(_right(network, bundle, precision).mean())


def _right(network: nn.Module, bundle: ModelBundle, precision: TrainingPrecision) -> NDArray[np.bool_]:
    device, split = next(network.parameters()).device, bundle.data.calibrate
    was_training, right = network.training, []
    network.eval()
    for start in range(0, len(split), _EVALUATION_BATCH):
        part = Split(split.pixels[start : start + _EVALUATION_BATCH], split.labels[start : start + _EVALUATION_BATCH])
        with torch.inference_mode(), arithmetic(device, precision):
            logits = network(torch.from_numpy(bundle.contract.prepare(part.pixels)).to(device))
        right.append(part.is_correct(logits.argmax(1).cpu().numpy()))
    network.train(was_training)
    return np.concatenate(right)


class _Trainer:
    """One step after another along the schedule, with what there is to tell about them."""

    def __init__(
        self,
        network: nn.Module,
        images: TrainingImages,
        plan: Plan,
        guidance: Guidance | None,
        on_epoch: OnEpoch | None,
        *,
        is_alone: bool,
    ) -> None:
        self.network, self.images, self.plan, self.guidance = network.train(), images, plan, guidance
        self.on_epoch, self.is_alone, self.done, self.skipped = on_epoch, is_alone, 0, 0
        self.batch_size = min(plan.batch_size, len(images))
        self.epoch_steps = len(images) // self.batch_size
        self.steps = plan.epochs * self.epoch_steps
        self.device = next(network.parameters()).device
        self.optimizer = torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=_WEIGHT_DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, plan.learning_rate, total_steps=self.steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.precision == "fp16")
        weights = [weight for weight in network.parameters() if plan.keep_zeros and weight.ndim > 1]
        self._zeros = [(weight, weight == 0) for weight in weights if (weight == 0).any()]
        self.losses: list[float] = []
        self.scales: list[float] = []
        self.step_ms: list[float] = []
        self.right: NDArray[np.bool_] = np.zeros(0, bool)
        self.memory, self._stopwatch = StepMemory(network, self.optimizer), Stopwatch(self.device)
        self._batches, self._random = self._all_batches(), _random_state(self.device)
        self._unread: list[Tensor] = []
        self._reported = -math.inf

    def turn(self, steps: int, *, among: Sequence[_Trainer]) -> Steps[None]:
        """So many steps, with reports in between. Raises `RunFailed` when a loss is not finite."""
        with self._own_random_numbers(), self.memory.during_turn():
            for _ in range(steps):
                self._stopwatch.start()
                self._step(next(self._batches))
                self._stopwatch.stop()
                if self.done == self.steps or time.monotonic() - self._reported >= _REPORT_EVERY_S:
                    yield from self._report(among)

    def _all_batches(self) -> Iterator[Batch]:
        for epoch in range(self.plan.epochs):
            if self.on_epoch:
                self.on_epoch(self.network, epoch / self.plan.epochs)
            yield from self.images.batches(self.batch_size)

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Let those who take turns draw the same numbers, as if each were alone."""
        _set_random_state(self._random, self.device)
        yield
        self._random = _random_state(self.device)

    def _step(self, batch: Batch) -> None:
        """One update of the weights."""
        loss = self._loss(batch)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # Gradients that overflowed were skipped, and the scale halved: the schedule waits with the optimizer.
        if self.scaler.get_scale() >= scale:
            self.schedule.step()
        else:
            self.skipped += 1
        with torch.no_grad():
            for weight, zeros in self._zeros:
                weight.masked_fill_(zeros, 0)
        self.done += 1
        self.scales.append(scale)
        self._unread.append(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        is_counted = self.done == 0 and not self.is_alone
        with self.memory.counted() if is_counted else nullcontext():
            with arithmetic(self.device, self.plan.precision):
                logits = self.network(batch.x.contiguous(memory_format=torch.channels_last)).float()
            return self.guidance.loss(logits, batch) if self.guidance else cross_entropy(logits, batch.targets)

    def _report(self, among: Sequence[_Trainer]) -> Steps[None]:
        """Progress, and what became of the steps since the last report. Raises `RunFailed` on a loss not finite."""
        losses, laps = torch.stack(self._unread).tolist(), self._stopwatch.read()
        self._unread, self._reported = [], time.monotonic()
        self.losses += losses
        self.step_ms += laps
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss):
            raise RunFailed(
                f"The training loss became {loss} at step {self.done}", action="Lower the learning rate and run again"
            )
        doing = f"epoch {-(-self.done // self.epoch_steps)} of {self.plan.epochs}"
        done, total = sum(each.done for each in among), sum(each.steps for each in among)
        yield Progress(done=done, total=total, unit="steps", doing=doing)
        yield self._metric("loss", loss)
        if self.scaler.is_enabled():
            yield self._metric("loss_scale", self.scaler.get_scale())
        if not self.is_alone:
            yield self._metric("samples_per_s", 1000 * self.batch_size * len(laps) / sum(laps))
            yield self._metric("training_bytes", self.memory.peak_bytes)

    def _metric(self, name: str, value: float) -> Metric:
        return Metric(name=name, value=value, step=self.done, series="train" if self.is_alone else self.title)

    @property
    def title(self) -> str:
        """`BF16`."""
        return self.plan.precision.upper()

    def judged(self, bundle: ModelBundle) -> Metric:
        """The accuracy on images that no training sees, which is remembered too."""
        self.right = _right(self.network, bundle, self.plan.precision)
        series = "validation" if self.is_alone else f"validation, {self.title}"
        return Metric(name="accuracy", value=float(self.right.mean()), step=self.done, series=series)

    def finished(self) -> Trained:
        """What came of it. Raises `RunFailed` when scaled gradients overflowed in every step."""
        if self.skipped == self.done:
            raise RunFailed(
                f"The gradients overflowed fp16 in every one of {self.done} steps, so that no weight changed",
                action="Train in bf16 or fp32, or for more epochs",
            )
        log2_scales = np.log2(self.scales) if self.scaler.is_enabled() else None
        run = TrainingRun(
            precision=self.plan.precision,
            losses=Packed.of(np.minimum(self.losses, _LARGEST_LOSS), "<u4", 100_000),
            log2_scales=None if log2_scales is None else Packed.of(log2_scales, "<i4"),
            step_ms=Packed.of(self.step_ms, "<u4", 1000),
            batch_size=self.batch_size,
            skipped_steps=self.skipped,
            memory_bytes=self.memory.peak_bytes,
            correct=int(self.right.sum()),
            images=len(self.right),
        )
        moved: nn.Module = self.network.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        return Trained(moved, run, self.right)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
