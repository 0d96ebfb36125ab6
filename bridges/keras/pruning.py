"""Magnitude pruning by TensorFlow's Model Optimization Toolkit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bridges.keras.kernels import Which, chosen, counted, share_of_zeros, wrapped
from bridges.keras.training import MODEL, Watch, lesson_of, save, train
from core.errors import NothingDone, RunFailed
from core.progress import Steps

_PATTERN = (2, 4)
_PATTERN_SHARE = 0.5
_POWER = 3
_MOST_POINTS = 50
_TOLERANCE = 0.01
"""Of the reached from the asked share; the last weight of a layer never goes."""


@dataclass(frozen=True)
class Wish:
    """Which share of which weights shall become zero, and when."""

    zeros: Literal["polynomial", "constant", "2:4"]
    sparsity: float
    initial_sparsity: float
    begin: float
    """Share of the training after which the first weights go."""
    end: float
    """Share of the training after which no further ones are chosen."""
    frequency: int
    """Steps between two choices."""
    layers: Which
    keep_ends: bool

    @property
    def wanted(self) -> float:
        """Share of the weights of the pruned layers."""
        return _PATTERN_SHARE if self.zeros == "2:4" else self.sparsity


@dataclass(frozen=True)
class Times:
    """When weights are chosen, in steps of the training, the first being 1."""

    begin: int
    end: int
    """A choice falls on this one, so that the whole share is reached."""
    frequency: int

    @classmethod
    def of(cls, wish: Wish, steps: int) -> Times:
        """Within a training of so many steps; choices come closer together where it is short."""
        begin = min(steps, max(1, round(wish.begin * steps)))
        last = min(steps, max(begin, round(wish.end * steps)))
        frequency = max(1, min(wish.frequency, last - begin))
        return cls(begin, begin + (last - begin) // frequency * frequency, frequency)

    def schedule(self, wish: Wish) -> list[list[float]]:
        """At most fifty pairs of a step and the share of zeros from it on, by Zhu and Gupta's cubic (1710.01878)."""
        if wish.zeros != "polynomial" or self.begin == self.end:
            return [[self.begin, wish.sparsity]]
        steps = [*range(self.begin, self.end + 1, self.frequency)]
        shown = [*steps[: -1 : -(-len(steps) // _MOST_POINTS)], self.end]
        lacking = wish.initial_sparsity - wish.sparsity
        return [[step, wish.sparsity + lacking * (1 - self._share(step)) ** _POWER] for step in shown]

    def _share(self, step: int) -> float:
        return (step - self.begin) / (self.end - self.begin)


def prune(
    folder: str, *, mean: list[float], std: list[float], plan: Mapping[str, Any], wish: Mapping[str, Any]
) -> Steps[dict[str, Any]]:
    """Task: prune the network in `model.npz` of the folder while it trains; writes what `fine_tune` writes.

    `wish` has the fields of `Wish`. Returns the `layers` as `counted` does, the share `reached` in those pruned, the
    `times`, and the `schedule` as pairs of a step and the share of zeros from it on. Raises `NothingDone`, and
    `RunFailed` where another share was reached than the one asked for.
    """
    from bridges.keras.form import read

    asked, lesson = Wish(**wish), lesson_of(folder, mean, std, plan)
    model = read(Path(folder) / MODEL)
    names = chosen(model, asked.layers, keep_ends=asked.keep_ends)
    before = _share_before(model, names, asked)
    times = Times.of(asked, lesson.steps)
    model = wrapped(model, names, lambda layer: prunable(layer, asked, times))
    yield from train(model, lesson, _watch(model))
    model = stripped(model)
    reached = share_of_zeros(model, names)
    _check(reached, before, asked)
    save(model, folder)
    return {
        "layers": counted(model, names, "It was left out by the settings."),
        "reached": reached,
        "times": asdict(times),
        "schedule": [] if asked.zeros == "2:4" else times.schedule(asked),
    }


def prunable(layer: Any, wish: Wish, times: Times) -> Any:
    """The layer in the toolkit's wrapper, which zeroes weights while it is trained."""
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity, PolynomialDecay, prune_low_magnitude

    span = {"begin_step": times.begin, "end_step": times.end, "frequency": times.frequency}
    if wish.zeros == "2:4":
        return prune_low_magnitude(layer, ConstantSparsity(_PATTERN_SHARE, 1), sparsity_m_by_n=_PATTERN)
    if wish.zeros == "constant" or times.begin == times.end:
        return prune_low_magnitude(layer, ConstantSparsity(wish.sparsity, **span))
    return prune_low_magnitude(layer, PolynomialDecay(wish.initial_sparsity, wish.sparsity, power=_POWER, **span))


def stripped(model: Any) -> Any:
    """The network without the wrappers, its zeros in place."""
    from tensorflow_model_optimization.sparsity.keras import strip_pruning

    return strip_pruning(model)


def _watch(model: Any) -> Watch:
    """Sets the steps of the wrappers going, and puts zeros back that the last gradient moved."""
    from tensorflow_model_optimization.sparsity.keras import UpdatePruningStep

    update = UpdatePruningStep()
    update.set_model(model)
    update.on_train_begin()
    masks = [mask for layer in update.prunable_layers for _, mask, _ in layer.pruning_vars]

    def sparsity() -> float:
        kept = sum(float(np.sum(mask.numpy())) for mask in masks)
        return 1 - kept / sum(int(np.prod(mask.shape)) for mask in masks)

    return Watch(after_epoch=lambda: update.on_epoch_end(None), sparsity=sparsity)


def _share_before(model: Any, names: list[str], wish: Wish) -> float:
    """The share of zeros among the weights to prune. Raises `NothingDone` where there are none to prune."""
    if not names:
        raise NothingDone("There is no such layer to prune", action="Prune other layers too, or leave out pruning")
    return share_of_zeros(model, names)


def _check(reached: float, before: float, wish: Wish) -> None:
    if reached <= before:
        raise NothingDone(
            f"{100 * before:.1f} % of these weights were zero before, and no more are now", action="Raise the sparsity"
        )
    if abs(reached - wish.wanted) > _TOLERANCE:
        raise RunFailed(
            f"{100 * reached:.1f} % of the weights became zero instead of {100 * wish.wanted:.0f} %",
            expected="the asked share within one point",
            action="Prune all layers, or train for more epochs"
            if wish.zeros != "2:4"
            else "Keep the first and the last layer dense: groups of four need inputs that four divides",
        )
