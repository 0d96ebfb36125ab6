"""Which channels go, given their scores: plain numbers, so that pages can ask what another ratio would take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Indices = NDArray[np.int64]

_WHOLE = 1e-9
"""Products like 20 x (1 - 0.8) come out a little below the whole number they are."""


@dataclass(frozen=True)
class Rule:
    """How many go, and from where."""

    ratio: float
    """Share of the channels before the first cut that is gone afterwards."""
    everywhere_alike: bool
    """The same share in every group; else one ranking over all groups."""
    round_to: int = 1
    """Widths become multiples of this where they change at all, by removing more."""
    max_ratio: float = 1.0
    """One ranking takes no more than this share of any group."""
    staggered: bool = False
    """With the same share everywhere: groups round up or down in turn, so that not all change at the same ratios."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """Channels of joined layers, with how much each matters."""

    scores: Scores
    """float [channels that are left]."""
    before: int
    """Channels before the first cut."""
    parts: int = 1
    """Equal parts that lose the same channels: the heads of an attention block, the groups of a convolution."""
    whole: bool = False
    """Parts go as a whole: heads."""

    @property
    def units(self) -> Scores:
        """float [units]: a unit is what goes or stays at once, and matters as much as its channels on average."""
        means: Scores = self.scores.reshape(self.parts, -1).mean(1 if self.whole else 0)
        return means

    @property
    def unit_width(self) -> int:
        """Channels of one unit."""
        return len(self.scores) // self.parts if self.whole else self.parts

    @property
    def units_before(self) -> int:
        """Units before the first cut."""
        return self.before // self.unit_width

    def channels(self, units: Indices) -> Indices:
        """int, ascending: the channels of these units."""
        numbers = np.arange(len(self.scores)).reshape(self.parts, -1)
        return np.sort((numbers[units] if self.whole else numbers[:, units]).ravel())

    def step(self, round_to: int) -> int:
        """Widths change by so many units at a time to stay multiples of `round_to`.

        Parts that could be a multiple themselves become one: attention kernels like heads of 8, 16, 32 dimensions.
        """
        if self.whole:
            return 1
        return round_to if len(self.units) % round_to == 0 else round_to // math.gcd(round_to, self.parts)


def removals(groups: Sequence[Ranked], rule: Rule) -> tuple[Indices, ...]:
    """For each group the channels that go, ascending; all of them where the ratio leaves none.

    Of n channels n - floor(n (1 - ratio)) go, and further ones until the width is a multiple. A group never falls
    below the smallest multiple for that; one that is no wider than it stays as it is.
    """
    counts = _counts(groups, rule)
    return tuple(
        group.channels(np.argsort(group.units, kind="stable")[:count])
        for group, count in zip(groups, counts, strict=True)
    )


def _counts(groups: Sequence[Ranked], rule: Rule) -> list[int]:
    """Units that go from each group, rounded."""
    if rule.everywhere_alike and rule.staggered:
        return [_staggered(group, rule, (number + 0.5) / len(groups)) for number, group in enumerate(groups)]
    wanted = _alike(groups, rule) if rule.everywhere_alike else _by_one_ranking(groups, rule)
    return [_rounded(group, count, rule.round_to) for group, count in zip(groups, wanted, strict=True)]


def _staggered(group: Ranked, rule: Rule, lift: float) -> int:
    """Units that go where what is left, in multiples, is rounded down after `lift` of a multiple was added."""
    units, step = len(group.units), group.step(rule.round_to)
    left = math.floor(group.units_before * (1 - rule.ratio) / step + lift + _WHOLE) * step
    return units - min(max(left, step), units)


def _left(units: int, ratio: float) -> int:
    return math.floor(units * (1 - ratio) + _WHOLE)


def _alike(groups: Sequence[Ranked], rule: Rule) -> list[int]:
    return [max(len(group.units) - _left(group.units_before, rule.ratio), 0) for group in groups]


def _by_one_ranking(groups: Sequence[Ranked], rule: Rule) -> list[int]:
    """Units that go from each group. Heads are ranked among heads: their number says nothing about widths."""
    counts = [0] * len(groups)
    for whole in (False, True):
        members = [number for number, group in enumerate(groups) if group.whole is whole and len(group.units) > 1]
        if not members:
            continue
        # Nothing is taken from a group beyond its limit: what is missing comes from the others.
        eligible = [np.sort(groups[number].units)[: _limit(groups[number], rule.max_ratio)] for number in members]
        owners = np.repeat(members, [len(scores) for scores in eligible])
        total = sum(len(groups[number].units) for number in members)
        target = total - _left(sum(groups[number].units_before for number in members), rule.ratio)
        lowest = np.argsort(np.concatenate(eligible), kind="stable")[: max(target, 0)]
        for number in members:
            counts[number] = int((owners[lowest] == number).sum())
    return counts


def _limit(group: Ranked, max_ratio: float) -> int:
    return max(len(group.units) - math.ceil(group.units_before * (1 - max_ratio) - _WHOLE), 0)


def _rounded(group: Ranked, count: int, round_to: int) -> int:
    units, step = len(group.units), group.step(round_to)
    if units == 1 or count == 0 or count >= units:
        return 0 if units == 1 else min(count, units)
    left = (units - count) // step * step
    return units - (left or min(step, units))
