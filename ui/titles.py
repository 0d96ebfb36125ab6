"""What stands in a drop-down, each option told apart: of two with equal words only the first could be chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from experiments.models import title_of

LETTERS = 4
"""Of the end of a key, behind a title that several have."""


def distinct(titles: Mapping[str, str]) -> dict[str, str]:
    """The titles by key, equal ones told apart by the end of their keys, in the order given.

    >>> distinct({"own-net-12ab": "Net", "own-net-34cd": "Net", "own-other": "Other"})
    {'own-net-12ab': 'Net (12ab)', 'own-net-34cd': 'Net (34cd)', 'own-other': 'Other'}
    """
    found, letters = dict(titles), LETTERS
    while repeated := {title for title, count in Counter(found.values()).items() if count > 1}:
        found = {
            key: f"{titles[key]} ({key[-letters:] or 'none'})" if title in repeated else title
            for key, title in found.items()
        }
        letters *= 2
    return found


def of_models(keys: Iterable[str]) -> dict[str, str]:
    """What these models are called where all of them are shown, by key; of one that was deleted as it was called."""
    return distinct({key: title_of(key) for key in keys})
