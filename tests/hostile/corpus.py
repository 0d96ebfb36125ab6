"""All files of the corpus that the studio's own Python reads, honest ones among them; `keras_models` has the others."""

from __future__ import annotations

from tests.hostile import data, graphs, tflites, weights
from tests.hostile.case import Case

CORPUS: tuple[Case, ...] = (*weights.CASES, *graphs.CASES, *tflites.CASES, *data.CASES)
HOSTILE = tuple(case for case in CORPUS if not case.honest)
HONEST = tuple(case for case in CORPUS if case.honest)


def complaint(case: Case, sentence: str) -> str:
    """What is wrong with the sentence that a file got, an empty one where it was taken; empty where nothing is."""
    if case.honest:
        return f"{case.id} was refused: {sentence}" if sentence else ""
    if not sentence:
        return f"{case.id} was taken"
    return "" if case.says.lower() in sentence.lower() else f"{case.id}: {sentence!r} instead of {case.says!r}"
