"""What each technique of a recipe contributed: Shapley values over the recipe's subsets, each run and measured.

A subset keeps the order of the recipe and its runtime, so it answers "the same recipe without this technique". Shapley
values average what a technique adds over all orders in which the techniques can join; they sum to what all of them do
together (Shapley, A Value for n-Person Games, 1953). Accuracy is shared in percentage points. Latency, size and the
other measures that are compared as ratios are shared on the logarithmic scale, so that the factors multiply to the
ratio of the whole.

A subset that `experiments.checking.check` refuses can never be measured. Then only the orders of joining that avoid it
are averaged (Faigle and Kern, The Shapley Value for Cooperative Games under Precedence Constraints, 1992), which still
sums to the whole; where none is left, attribution is impossible and says so.

In which order techniques join here is not the order in which a recipe applies them. That another order of application
gives another model is a matter of its own: `orders` names those that are possible, `orders_measured` compares them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import BadInput, CannotCompose
from core.judging import LABELLED, Judging
from experiments.checking import why_refused
from experiments.judging import of_frame
from experiments.measures import MEASURES, Measure, numbers
from experiments.measures import measure as named
from experiments.recipe import Recipe
from experiments.references import reference_of

Subset = frozenset[str]
"""Keys of the techniques that are left in."""

FEWEST, MOST = 2, 4
"""Techniques of a recipe that can be attributed: four already need 16 runs."""

SHARED = ("accuracy", "p50", "size", "gzip")


def subsets(recipe: Recipe) -> dict[Subset, Recipe]:
    """Every sub-recipe in the same runtime, the fewest techniques first: from `reference_of` to the recipe itself.

    Raises `BadInput` for a recipe with fewer than two techniques, with more than four, or with one of them twice.
    """
    keys = _keys(recipe)
    if not FEWEST <= len(keys) <= MOST or len(set(keys)) < len(keys):
        raise BadInput(
            f"A recipe with the techniques {', '.join(keys) or '(none)'}",
            expected=f"{FEWEST} to {MOST} different ones, whose contributions can be told apart",
            action="Choose another recipe",
        )
    chosen = [kept for count in range(len(keys) + 1) for kept in combinations(recipe.techniques, count)]
    return {
        frozenset(technique.key for technique in kept): reference_of(recipe).model_copy(update={"techniques": kept})
        for kept in chosen
    }


def _keys(recipe: Recipe) -> list[str]:
    return [technique.key for technique in recipe.techniques]


def refused(recipe: Recipe) -> dict[Subset, str]:
    """The subsets whose parts do not fit together, with the reason; what this machine lacks refuses none."""
    reasons = {subset: why_refused(sub_recipe, CannotCompose) for subset, sub_recipe in subsets(recipe).items()}
    return {subset: reason for subset, reason in reasons.items() if reason}


def missing(recipe: Recipe, finished: Collection[str]) -> dict[Subset, Recipe]:
    """The subsets still to be run: not `refused`, and their digest not among the `finished` ones."""
    unfinished = {subset: each for subset, each in subsets(recipe).items() if each.digest not in finished}
    return {subset: each for subset, each in unfinished.items() if not why_refused(each, CannotCompose)}


def orders(recipe: Recipe) -> list[Recipe]:
    """The recipe's techniques in every order that can be run here, the recipe's own first."""
    candidates = (
        recipe.model_copy(update={"name": "", "techniques": order}) for order in permutations(recipe.techniques)
    )
    return [candidate for candidate in candidates if not why_refused(candidate, CannotCompose)]


def order_sentence(recipe: Recipe) -> str:
    """How many orders of application are possible, and which they are."""
    possible, count = orders(recipe), math.factorial(len(recipe.techniques))
    names = "; ".join(_order(each) for each in possible)
    if len(possible) <= 1:
        return f"Only {len(possible)} of {count} orders is possible{': ' + names if names else ''}."
    return f"{len(possible)} of {count} orders are possible: {names}."


def _order(recipe: Recipe) -> str:
    return " → ".join(recipe.labels)


def orders_measured(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each possible order: order, digest, run_id (None if not run), and the columns of `SHARED`."""
    possible, columns = orders(recipe), [MEASURES[key].column for key in SHARED]
    rows = _newest(frame, possible)
    found = [
        {"order": _order(each), "digest": each.digest, "run_id": None, **rows.get(each.digest, {})} for each in possible
    ]
    return pd.DataFrame(found, columns=["order", "digest", "run_id", *columns])


def _newest(frame: pd.DataFrame, recipes: Iterable[Recipe]) -> dict[str, dict[str, Any]]:
    """The last row of each of these recipes by digest: tables list the oldest run first."""
    rows = frame[frame["digest"].isin([recipe.digest for recipe in recipes])]
    return {str(row["digest"]): {str(name): value for name, value in row.items()} for row in rows.to_dict("records")}


def shapley(values: Mapping[Subset, float], *, impossible: Iterable[Subset] = ()) -> dict[str, float]:
    """What each technique adds to `values`, averaged over all orders of joining; sums to all minus nothing.

    `values` needs every subset that is not `impossible`; orders of joining that meet an impossible one are left out.
    Raises `BadInput` where a subset is missing or no order is left.
    """
    return {
        player: sum(weight * values[subset] for subset, weight in weights.items())
        for player, weights in _weights(values, frozenset(impossible)).items()
    }


def _weights(known: Collection[Subset], impossible: frozenset[Subset]) -> dict[str, dict[Subset, float]]:
    """By how much each subset's value counts in each technique's share: the shares are linear in the values."""
    players = sorted(frozenset().union(*known, *impossible))
    every = {frozenset(kept) for count in range(len(players) + 1) for kept in combinations(players, count)}
    if lacking := every - set(known) - impossible:
        names = "; ".join(sorted(_names(subset) for subset in lacking))
        raise BadInput(
            f"{len(lacking)} of {len(every)} subsets were not measured: {names}",
            expected="all of them",
            action="Run the missing subsets",
        )
    usable = set(known) - impossible
    paths = [path for path in map(_path, permutations(players)) if usable.issuperset(path)]
    if not paths:
        raise BadInput(
            f"No order of joining avoids what cannot be run: {'; '.join(sorted(map(_names, impossible)))}",
            expected="techniques that can be added one at a time",
            action="Compare the recipe with its runtime's FP32 as a whole",
        )
    weights: dict[str, dict[Subset, float]] = {player: dict.fromkeys(usable, 0.0) for player in players}
    for path in paths:
        for before, after in pairwise(path):
            (player,) = after - before
            weights[player][after] += 1 / len(paths)
            weights[player][before] -= 1 / len(paths)
    return weights


def _path(order: tuple[str, ...]) -> list[Subset]:
    return [frozenset(order[:count]) for count in range(len(order) + 1)]


def _names(subset: Subset) -> str:
    return " + ".join(sorted(subset)) or "none"


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each technique contributed to each measure."""

    table: pd.DataFrame
    """A row for each technique and measure: technique, title, measure, scale (`points` or `factor`), contribution,
    first_in (added to nothing), last_in (added to all others), low and high (95 % interval, of accuracy only), words.
    Factors above 1 are better: faster, smaller. first_in and last_in are NaN where that subset cannot be run."""
    totals: dict[str, float]
    """By measure what all techniques do together: the sum of the points, the product of the factors."""
    refused: dict[Subset, str]
    """Subsets that had to be left out, with the reason."""
    unmeasured: tuple[str, ...]
    """Keys of measures that some subset lacks, and which are therefore not attributed."""
    judging: Judging = LABELLED

    @property
    def wide(self) -> pd.DataFrame:
        """Techniques in the order of the recipe as rows, measures as columns, contributions as values."""
        ordered = self.table.drop_duplicates("technique").technique
        return self.table.pivot(index="technique", columns="measure", values="contribution").loc[
            ordered, [*self.totals]
        ]

    @property
    def sentences(self) -> list[str]:
        """What was contributed, what depends on the company, and what had to be left out."""
        measured = [_sentence(row, self.judging) for _, row in self.table.iterrows()]
        left_out = [f"{_names(subset)} cannot run by itself: {reason}" for subset, reason in self.refused.items()]
        gaps = [f"{named(key, self.judging).title} was not measured for every subset." for key in self.unmeasured]
        return [*measured, *left_out, *gaps]


def _sentence(row: pd.Series[Any], judging: Judging) -> str:
    measure = named(row["measure"], judging)
    alone, last = (_in_words(measure, row[name]) for name in ("first_in", "last_in"))
    company = "" if alone == last else f" ({alone} by itself, {last} on top of the others)"
    return f"{row['title']}, {measure.title.lower()}: {row['words']}{company}."


def _in_words(measure: Measure, contribution: float) -> str:
    return measure.in_words(contribution if measure.words is None else math.log(contribution))


def attribute(
    recipe: Recipe,
    frame: pd.DataFrame,
    *,
    measures: Iterable[str] = SHARED,
    correct: Mapping[Subset, NDArray[np.bool_]] | None = None,
) -> Attribution:
    """What each technique contributed to each measure, from a table with the recipe's subsets among its variants.

    Rows are found by digest, of repeated runs the last one. `correct` holds for each measured subset which test images
    [N] it got right, and gives the contributions to accuracy an interval. Raises `BadInput` where a subset that can be
    run has no row, and where too many are refused.
    """
    sub_recipes = subsets(recipe)
    rows = _newest(frame, sub_recipes.values())
    known = {subset: rows[each.digest] for subset, each in sub_recipes.items() if each.digest in rows}
    cannot = {subset: reason for subset, reason in refused(recipe).items() if subset not in known}
    if reason := cannot.get(frozenset(_keys(recipe))):
        raise BadInput(f"The recipe cannot run here: {reason}", action="Choose another recipe")
    weights = _weights(known, frozenset(cannot))
    gains = {key: _gains(MEASURES[key], known) for key in measures}
    complete = {key: by_subset for key, by_subset in gains.items() if not np.isnan(list(by_subset.values())).any()}
    intervals = {} if correct is None else {key: _interval(weights[key], correct) for key in weights}
    table = [
        _row(technique.key, technique.label(), MEASURES[key], weights[technique.key], by_subset, intervals)
        for key, by_subset in complete.items()
        for technique in recipe.techniques
    ]
    everything, nothing = frozenset(_keys(recipe)), frozenset[str]()
    return Attribution(
        table=pd.DataFrame(table, columns=COLUMNS),
        totals={key: _shown(MEASURES[key], each[everything] - each[nothing]) for key, each in complete.items()},
        refused=cannot,
        unmeasured=tuple(key for key in gains if key not in complete),
        judging=of_frame(frame),
    )


COLUMNS = ["technique", "title", "measure", "scale", "contribution", "first_in", "last_in", "low", "high", "words"]


def _gains(measure: Measure, known: Mapping[Subset, dict[str, Any]]) -> dict[Subset, float]:
    """Each subset's gain over the untouched model, in points or as a logarithm; NaN where it was not measured."""
    values = numbers(pd.DataFrame(list(known.values())), measure.column).tolist()
    by_subset = dict(zip(known, values, strict=True))
    return {subset: measure.gain(value, by_subset[frozenset()]) for subset, value in by_subset.items()}


def _row(
    key: str,
    title: str,
    measure: Measure,
    weights: Mapping[Subset, float],
    gains: Mapping[Subset, float],
    intervals: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    share = sum(weight * gains[subset] for subset, weight in weights.items())
    everything = max(gains, key=len)
    first = gains.get(frozenset({key}), math.nan) - gains[frozenset()]
    last = gains[everything] - gains.get(everything - {key}, math.nan)
    low, high = intervals.get(key, (math.nan, math.nan)) if measure.key == "accuracy" else (math.nan, math.nan)
    return {
        "technique": key,
        "title": title,
        "measure": measure.key,
        "scale": "points" if measure.words is None else "factor",
        "contribution": _shown(measure, share),
        "first_in": _shown(measure, first),
        "last_in": _shown(measure, last),
        "low": low,
        "high": high,
        "words": measure.in_words(share),
    }


def _shown(measure: Measure, gain: float) -> float:
    return gain if measure.words is None else math.exp(gain)


def _interval(weights: Mapping[Subset, float], correct: Mapping[Subset, NDArray[np.bool_]]) -> tuple[float, float]:
    """95 % interval in points of a contribution to accuracy over images drawn anew, paired between the subsets.

    The contribution is linear, so it is the mean of what the technique contributes on each single image; the interval
    is that of a mean, which a bootstrap over images approaches.
    """
    from scipy.stats import norm

    each = 100 * np.sum([weight * correct[subset] for subset, weight in weights.items()], axis=0)
    half = float(norm.ppf(0.975)) * float(np.std(each, ddof=1)) / math.sqrt(len(each))
    return float(np.mean(each)) - half, float(np.mean(each)) + half
