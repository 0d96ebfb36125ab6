"""What the rules of `experiments.advice` know of a profile, computed once, and what a rule answers with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from core.anatomy import ModuleFacts
from core.layers import Layer, sum_ms
from experiments.checking import why_refused
from experiments.models import find
from experiments.module_tree import modules_of
from experiments.profile import ProfileResult
from experiments.promise import Figures, Measure, Promise, figures_of_profile, promised
from experiments.recipe import Recipe
from experiments.roofline import Placed, placed_in
from experiments.scan import ScanResult
from experiments.why_format import ms as in_ms
from optimizers import TECHNIQUES
from optimizers.technique import Technique

Ground = Literal["layers", "roofline", "anatomy", "scan"]
GROUNDS: Mapping[Ground, str] = {
    "layers": "the engine's own profile of its layers",
    "roofline": "layer times against the rates probed in the same profile",
    "anatomy": "the network's own parameters",
    "scan": "the sensitivity scan",
}
DISCOUNT = 0.5
"""Half of what the measured rates would save is promised: layers seldom reach a peak."""
LEAST_BYTES = 2**20
"""Below it a file is mostly the description of its graph, which nothing done to weights shrinks."""
HALF = "Half of that is promised, because layers seldom reach what is possible"


@dataclass(frozen=True)
class Advice:
    """One thing to do about what was measured."""

    key: str
    title: str
    """What to do, in a few words."""
    fact: str
    """What was measured, with units."""
    why: str
    """One sentence on how the recipe changes that."""
    recipe: Recipe
    """All of it: what was profiled, with the change."""
    promise: Promise
    ground: Ground
    """Where the fact is from."""
    reference: Recipe | None = None
    """Whose measured values the promise counts from; None for what was profiled."""
    errors: float | None = None
    """Share of its errors that an accuracy is worth."""

    @property
    def worth(self) -> float:
        """By which advice is ranked: the share of time or bytes that goes, or of errors."""
        return self.promise.worth if self.errors is None else self.errors


@dataclass(frozen=True)
class Facts:
    """A profile, and what follows from it."""

    result: ProfileResult
    recipe: Recipe
    scan: ScanResult | None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order of execution."""
        return self.result.layers.layers

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        """The layers against what the device attains; empty where that was not probed."""
        return placed_in(self.result)

    @cached_property
    def modules(self) -> tuple[tuple[str, ...], ...]:
        """Names of the modules that each layer was made from."""
        return modules_of(self.result.layers, self.result.anatomy)

    @property
    def whole_ms(self) -> float:
        """A call, or all its layers where a profiler made these take longer."""
        return max(self.result.latency.p50_ms, self.result.layers.layers_ms)

    @property
    def call_ms(self) -> float:
        """The median call."""
        return self.result.latency.p50_ms

    @property
    def quickest_ms(self) -> float:
        """The quickest operation, as far as the engine's clock shows: hardly more than launching it."""
        shortest = min((layer.time_ms for layer in self.layers), default=0.0)
        return max(shortest, self.result.layers.resolution_ms)

    @property
    def scale(self) -> float:
        """Of layer times in a call: below 1 where the profiler made layers take longer than all of a call."""
        return self.call_ms / self.whole_ms

    def ms(self, layers_ms: float) -> str:
        """So much time of layers as the part of a call that it is: `0.213 ms`."""
        return in_ms(self.scale * layers_ms)

    @property
    def residual_ms(self) -> float:
        """What a call takes beyond its layers; 0 where layers overlap, or where it may be other work on the machine."""
        return 0.0 if self.result.latency.is_contended else max(0.0, self.result.residual_ms)

    @cached_property
    def known(self) -> Figures:
        """What the profile itself measured of the variant."""
        return figures_of_profile(self.result)

    @property
    def is_float(self) -> bool:
        """Whether the variant computes in FP32, so that fewer bits are still to be had."""
        return self.result.precision == "fp32"

    @cached_property
    def weighted(self) -> tuple[ModuleFacts, ...]:
        """The network's convolutions and linear layers, in the order of execution."""
        modules = self.result.anatomy.modules if self.result.anatomy else ()
        return tuple(each for each in modules if each.kind.endswith(("Conv1d", "Conv2d", "Conv3d", "Linear")))

    @property
    def is_transformer(self) -> bool:
        """Whether the network attends, rather than convolves."""
        return find(self.recipe.model).family == "transformer"

    def share(self, layers: Iterable[Layer]) -> float:
        """Of the time of a call."""
        return sum_ms(tuple(layers)) / self.whole_ms

    def peak(self, precision: str) -> float | None:
        """Multiply-accumulates per second as probed in this profile; None where that was not."""
        return self.result.peaks.rate(precision, self.layers) if self.result.peaks else None

    def has(self, *keys: str) -> bool:
        """Whether one of these techniques is in the recipe."""
        return any(technique.key in keys for technique in self.recipe.techniques)

    def first(self, recipes: Iterable[Recipe]) -> Recipe | None:
        """The first that is another recipe and can run on this machine."""
        others = (each for each in recipes if each.digest != self.recipe.digest)
        return next((each for each in others if not why_refused(each)), None)

    def promise(self, measure: Measure, ratio: float, basis: str) -> Promise:
        """Counted from what was profiled."""
        return promised(measure, ratio, self.known.get(measure), basis)


def with_technique(recipe: Recipe, key: str, **settings: Any) -> Recipe:
    """The recipe with a technique in its usual place, instead of one of that kind if it has one."""
    order = list(TECHNIQUES)
    others = [each for each in recipe.techniques if each.key != key]
    place = sum(order.index(each.key) < order.index(key) for each in others)
    return with_techniques(recipe, [*others[:place], TECHNIQUES[key](**settings), *others[place:]])


def with_techniques(recipe: Recipe, techniques: Sequence[Technique]) -> Recipe:
    """The recipe with other techniques, called by what is done."""
    return recipe.model_copy(update={"name": "", "techniques": tuple(techniques)})
