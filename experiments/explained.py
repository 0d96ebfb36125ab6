"""Finished runs explained: each treated variant against the untouched network in its own runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.explanation import Explanation
from experiments.references import reference_of
from experiments.result import RunResult
from experiments.run_record import RunRecord
from experiments.why import explain


def explanations(records: Sequence[RunRecord], results: Mapping[str, RunResult]) -> list[Explanation]:
    """One for each of the runs with techniques whose reference is among them too, where both have a profile."""
    by_digest = {record.recipe.digest: record for record in records}
    pairs = [
        (by_digest[reference_of(record.recipe).digest], record)
        for record in records
        if record.recipe.techniques and reference_of(record.recipe).digest in by_digest
    ]
    measured = [tuple(results[each.id].measured(each.recipe) for each in pair) for pair in pairs]
    return [explain(reference, variant) for reference, variant in measured if reference and variant]
