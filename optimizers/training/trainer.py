"""One network in training, step after step. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.errors import BadInput, RunFailed
from core.packed import Packed
from core.progress import Metric, Progress, Steps
from core.quantization import TrainingRun
from optimizers.teaching.guidance import LabelsAlone, Teaching
from optimizers.teaching.losses import UNLABELLED
from optimizers.training.arithmetic import arithmetic
from optimizers.training.batches import Batch, Examples
from optimizers.training.footprint import StepMemory, Stopwatch
from optimizers.training.judging import right_answers
from optimizers.training.masks import HeldZeros, Masks
from optimizers.training.schedules import optimizer_of, schedule_of

if TYPE_CHECKING:
    from optimizers.training.loop import Plan

OnEpoch = Callable[[nn.Module, float], None]

_REPORT_EVERY_S = 0.25
_IMAGE_AXES = 4
"""Of x[N, C, H, W]."""
_LARGEST_LOSS = 42_949.0
"""That is stored; divergences that round to just below 0 are stored as 0."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of one plan."""

    network: nn.Module
    """On the CPU, in float32 and eval mode."""
    run: TrainingRun
    right: NDArray[np.bool_]
    """bool [N]: which calibration images it gets right, computed in the precision it was trained in."""


@dataclass(frozen=True, eq=False)
class Best:
    """The epoch that was most accurate so far."""

    epoch: int
    """Counted from 1."""
    right: NDArray[np.bool_]
    weights: dict[str, Any]
    """Empty where the last epoch is kept anyway."""


class Trainer:
    """One step after another along the schedule, with what there is to tell about them."""

    def __init__(
        self,
        network: nn.Module,
        examples: Examples,
        plan: Plan,
        *,
        guidance: Teaching | None = None,
        masks: Masks | None = None,
        on_epoch: OnEpoch | None = None,
        is_alone: bool = True,
    ) -> None:
        self.network, self.examples, self.plan = network.train(), examples, plan
        self.guidance: Teaching = guidance or LabelsAlone()
        _require_targets(examples, self.guidance)
        self.on_epoch, self.is_alone, self.done, self.skipped, self.is_over = on_epoch, is_alone, 0, 0, False
        self.batch_size = min(plan.batch_size, len(examples))
        batches = len(examples) // self.batch_size
        self.accumulate = min(plan.accumulate, batches)
        self.epoch_steps = batches // self.accumulate
        self.steps = plan.epochs * self.epoch_steps
        self.device = next(network.parameters()).device
        self.masks: list[Masks] = ([HeldZeros()] if plan.keep_zeros else []) + ([masks] if masks else [])
        for each in self.masks:
            each.attach(network)
        beside = self.guidance.attach(network)
        self.optimizer = optimizer_of([*network.parameters(), *beside], plan)
        self.schedule = schedule_of(self.optimizer, plan, self.steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.precision == "fp16")
        self.losses: list[float] = []
        self.scales: list[float] = []
        self.step_ms: list[float] = []
        self.right: NDArray[np.bool_] = np.zeros(0, bool)
        self.best: Best | None = None
        self.memory, self.memory_bytes = StepMemory(network, self.optimizer), 0
        self._stopwatch, self._batches = Stopwatch(self.device), self._all_batches()
        self._random = _random_state(self.device)
        self._unread: list[Tensor] = []
        self._reported = -math.inf

    @property
    def epoch(self) -> int:
        """How many epochs are complete."""
        return self.done // self.epoch_steps

    @property
    def title(self) -> str:
        """`BF16`."""
        return self.plan.precision.upper()

    def turn(self, steps: int, *, among: Sequence[Trainer]) -> Steps[None]:
        """So many steps, with reports in between. Raises `RunFailed` when a loss is not finite."""
        with self._own_random_numbers(), self.memory.during_turn():
            for _ in range(steps):
                self._stopwatch.start()
                self._step(next(self._batches))
                self._stopwatch.stop()
                if self.done % self.epoch_steps == 0 or time.monotonic() - self._reported >= _REPORT_EVERY_S:
                    yield from self._report(among)

    def _all_batches(self) -> Iterator[Iterable[Batch]]:
        """The batches of each step that is to come."""
        for epoch in range(self.epoch, self.plan.epochs):
            if self.on_epoch:
                self.on_epoch(self.network, epoch / self.plan.epochs)
            batches = self.examples.batches(self.batch_size, self.plan.augmentation)
            for _ in range(self.epoch_steps):
                yield islice(batches, self.accumulate)

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Let those who take turns draw the same numbers, as if each were alone."""
        _set_random_state(self._random, self.device)
        yield
        self._random = _random_state(self.device)

    def _step(self, batches: Iterable[Batch]) -> None:
        """One update of the weights."""
        losses = []
        for number, batch in enumerate(batches):
            loss = self._loss(batch, is_first=self.done == number == 0)
            if number == 0:
                self.optimizer.zero_grad()
            self.scaler.scale(loss / self.accumulate).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        scale = self.scaler.get_scale()
        self._show_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # Gradients that overflowed were skipped, and the scale halved: the schedule waits with the optimizer.
        if self.scaler.get_scale() >= scale:
            self.schedule.step()
        else:
            self.skipped += 1
        self.done += 1
        with torch.no_grad():
            for masks in self.masks:
                masks.after_step(self.done / self.steps)
        self.scales.append(scale)
        self._unread.append(torch.stack(losses).mean())

    def _loss(self, batch: Batch, *, is_first: bool) -> Tensor:
        with self.memory.counted() if is_first and not self.is_alone else nullcontext():
            with arithmetic(self.device, self.plan.precision):
                logits = self.network(_laid_out(batch.x)).float()
            return self.guidance.loss(logits, batch)

    def _show_gradients(self) -> None:
        """Let masks see what the optimizer will see, where it will see anything."""
        if not self.masks:
            return
        self.scaler.unscale_(self.optimizer)
        if self.scaler.is_enabled():
            gradients = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
            if not nn.utils.get_total_norm(gradients).isfinite():
                return
        for masks in self.masks:
            masks.after_backward()

    def _report(self, among: Sequence[Trainer]) -> Steps[None]:
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
            images = self.batch_size * self.accumulate * len(laps)
            yield self._metric("samples_per_s", 1000 * images / sum(laps))
            yield self._metric("training_bytes", self.memory.peak_bytes)

    def _metric(self, name: str, value: float) -> Metric:
        return Metric(name=name, value=value, step=self.done, series="train" if self.is_alone else self.title)

    def judged(self, bundle: ModelBundle) -> Iterator[Metric]:
        """The accuracy on images that no training sees, after an epoch; the best is remembered."""
        self.right = right_answers(self.network, bundle, self.plan.precision)
        if not (bundle.data.calibrate.labels >= 0).any():
            return
        is_settled = self.done >= self.plan.settled_after * self.steps
        if is_settled and (self.best is None or self.right.sum() > self.best.right.sum()):
            keeps = self.plan.keep == "best"
            weights = copy.deepcopy(self.network.state_dict()) if keeps else {}
            self.best = Best(self.epoch, self.right, weights)
        series = "validation" if self.is_alone else f"validation, {self.title}"
        yield Metric(name="accuracy", value=float(self.right.mean()), step=self.done, series=series)

    @property
    def has_lost_patience(self) -> bool:
        """Whether so many epochs brought nothing that the plan ends here, before its time."""
        patience, best = self.plan.patience, self.best
        return bool(patience and best and self.epoch < self.plan.epochs and self.epoch - best.epoch >= patience)

    def settle(self) -> None:
        """End the training: take the best weights if those are wanted."""
        self.memory_bytes = self.memory.peak_bytes
        if self.best and self.best.weights:
            self.network.load_state_dict(self.best.weights)
            self.right = self.best.right
        self.is_over = True

    def finished(self) -> Trained:
        """What came of it, once settled. Raises `RunFailed` when scaled gradients overflowed in every step."""
        if self.skipped == self.done:
            raise RunFailed(
                f"The gradients overflowed fp16 in every one of {self.done} steps, so that no weight changed",
                action="Train in bf16 or fp32, or for more epochs",
            )
        log2_scales = np.log2(self.scales) if self.scaler.is_enabled() else None
        run = TrainingRun(
            precision=self.plan.precision,
            losses=Packed.of(np.clip(self.losses, 0, _LARGEST_LOSS), "<u4", 100_000),
            log2_scales=None if log2_scales is None else Packed.of(log2_scales, "<i4"),
            step_ms=Packed.of(self.step_ms, "<u4", 1000),
            batch_size=self.batch_size * self.accumulate,
            skipped_steps=self.skipped,
            memory_bytes=self.memory_bytes,
            correct=int(self.right.sum()),
            images=len(self.right),
        )
        moved: nn.Module = self.network.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        return Trained(moved, run, self.right)

    def state_dict(self) -> dict[str, Any]:
        """Between two epochs, all that another trainer of the same plan needs to go on; once settled, the outcome."""
        outcome = {
            "network": self.network.state_dict(),
            "done": self.done,
            "skipped": self.skipped,
            "memory_bytes": self.memory_bytes,
            "series": {name: torch.tensor(getattr(self, name), dtype=torch.float64) for name in _SERIES},
            "right": torch.from_numpy(self.right),
            "best": self.best and {"epoch": self.best.epoch, "right": torch.from_numpy(self.best.right)},
            "masks": [masks.state_dict() for masks in self.masks],
        }
        if self.is_over:
            return outcome
        return outcome | {
            "best_weights": self.best.weights if self.best else {},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": self._random,
            "memory": self.memory.state_dict(),
            "guidance": self.guidance.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another left off. What is wrong with a state that does not fit, its parts say."""
        self.network.load_state_dict(state["network"])
        self.done, self.skipped, self.memory_bytes = state["done"], state["skipped"], state["memory_bytes"]
        for name in _SERIES:
            setattr(self, name, state["series"][name].tolist())
        self.right, best = state["right"].numpy(), state["best"]
        self.best = Best(best["epoch"], best["right"].numpy(), state.get("best_weights", {})) if best else None
        for masks, masks_state in zip(self.masks, state["masks"], strict=True):
            masks.load_state_dict(masks_state)
        self.is_over = "optimizer" not in state
        if self.is_over:
            return
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.memory.load_state_dict(state["memory"])
        self._random = state["random"]
        _set_random_state(self._random, self.device)
        self.guidance.load_state_dict(state["guidance"])


def _laid_out(x: Tensor) -> Tensor:
    """Images in the memory layout that convolutions run fastest in; texts as they are."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == _IMAGE_AXES else x


def _require_targets(examples: Examples, guidance: Teaching) -> None:
    """Raises `BadInput` where there is nothing to learn: labels alone teach, and no example has one."""
    if isinstance(guidance, LabelsAlone) and not (examples.targets != UNLABELLED).any():
        raise BadInput(
            f"{len(examples)} training examples, none of them with a label",
            expected="labels, or a teacher whose answers take their place",
            action="Give the training examples labels, or give the teacher a weight above 0",
        )


_SERIES = ("losses", "scales", "step_ms")


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
