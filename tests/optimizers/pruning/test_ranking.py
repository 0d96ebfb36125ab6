from __future__ import annotations

import numpy as np
import pytest

from optimizers.pruning.ranking import Ranked, Rule, removals


def group(*scores: float, before: int | None = None, parts: int = 1, whole: bool = False) -> Ranked:
    return Ranked(np.array(scores, float), before or len(scores), parts, whole)


def gone(groups: list[Ranked], ratio: float, *, alike: bool = True, **rule: float) -> list[list[int]]:
    return [list(map(int, each)) for each in removals(groups, Rule(ratio, alike, **rule))]  # type: ignore[arg-type]


def test_the_least_important_go_everywhere_alike() -> None:
    assert gone([group(4, 1, 3, 2), group(0.1, 0.2)], 0.5) == [[1, 3], [0]]


@pytest.mark.parametrize(("ratio", "left"), [(0.8, 4), (0.75, 5), (0.9, 2), (0.72, 5)])
def test_as_many_are_left_as_the_ratio_leaves_in_full(ratio: float, left: int) -> None:
    """20 x (1 - 0.8) is a little less than 4 in floating point, and 20 x (1 - 0.9) than 2."""
    (removed,) = removals([group(*range(20))], Rule(ratio, True))
    assert 20 - len(removed) == left


@pytest.mark.parametrize(
    ("size", "ratio", "left"), [(20, 0.3, 12), (20, 0.75, 4), (20, 0.9, 4), (4, 0.5, 4), (3, 0.3, 3)]
)
def test_widths_become_multiples_of_four_but_never_less(size: int, ratio: float, left: int) -> None:
    assert size - len(gone([group(*range(size))], ratio, round_to=4)[0]) == left


def test_one_ranking_takes_what_is_least_important_of_all() -> None:
    groups = [group(9, 8, 7, 6), group(1, 2, 3, 10)]
    assert gone(groups, 0.5, alike=False) == [[3], [0, 1, 2]]
    assert gone(groups, 0.5, alike=False, max_ratio=0.5) == [[2, 3], [0, 1]]


def test_what_is_gone_already_counts() -> None:
    """Half of 8 channels were there before; after a cut to 6, two more have to go."""
    assert gone([group(1, 2, 3, 4, 5, 6, before=8)], 0.5) == [[0, 1]]
    assert gone([group(1, 2, 3, 4, before=8)], 0.5) == [[]]


def test_heads_lose_the_same_dimensions() -> None:
    """Two heads of three dimensions: the means over heads are 5, 2 and 4."""
    assert gone([group(1, 3, 5, 9, 1, 3, parts=2)], 0.33) == [[1, 4]]


def test_whole_heads_go_and_are_ranked_apart_from_widths() -> None:
    """Two heads with the means 1 and 2; as numbers among the others' scores none of the latter would go."""
    heads, wide = group(0, 1, 2, 1, 2, 3, parts=2, whole=True), group(10, 11, 12, 13)
    assert gone([heads, wide], 0.5) == [[0, 1, 2], [0, 1]]
    assert gone([heads, wide], 0.5, alike=False) == [[0, 1, 2], [0, 1]]


def test_parts_become_multiples_where_they_can_and_their_sum_does_elsewhere() -> None:
    heads, groups = group(*range(48), parts=2), group(*range(128), parts=32)
    assert 48 - len(gone([heads], 0.3, round_to=8)[0]) == 2 * 16
    assert 128 - len(gone([groups], 0.3, round_to=8)[0]) == 32 * 2


def test_a_ratio_that_leaves_nothing_takes_all_and_a_single_channel_stays() -> None:
    assert gone([group(1, 2, 3), group(5)], 0.7) == [[0, 1, 2], []]


def test_staggered_widths_do_not_all_change_at_the_same_ratios() -> None:
    groups = [group(*range(32)), group(*range(64)), group(*range(128)), group(*range(32))]
    ratios = np.linspace(0.01, 0.9, 2000)
    widths = {
        staggered: [
            [len(each.scores) - len(gone) for each, gone in zip(groups, removals(groups, rule), strict=True)]
            for rule in (Rule(ratio, True, 4, staggered=staggered) for ratio in ratios)
        ]
        for staggered in (False, True)
    }
    changes = {key: np.count_nonzero(np.diff(found, axis=0), axis=1).max() for key, found in widths.items()}
    assert changes == {False: 4, True: 1}
    for ratio, found in zip(ratios, widths[True], strict=True):
        wanted = (1 - ratio) * np.array([32, 64, 128, 32])
        assert np.all(np.abs(found - wanted) < 4 + 1e-6)
        assert np.all(np.array(found) % 4 == 0)
        assert min(found) >= 4
