"""What the matrix of `experiments.truth` says: in sentences, and as a table of everything behind it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.compare import doubted, latency_verdict
from experiments.every_runtime import TOO_FEW
from experiments.result import Summary
from experiments.truth import ALIKE, COMPARED, Cell, Matrix, Row
from profiling.statistics import wilson_interval
from runtimes import RUNTIMES

MOST_NAMED = 3
"""Exports that a sentence names; of more it tells how many."""


def headline(found: Matrix) -> str:
    """How many exports answer like the network they were made from, and which do not; one or two sentences."""
    compared = [cell for cell in found.cells if cell.state in COMPARED]
    older = sum(cell.state == "not compared" for cell in found.cells)
    trained = sum(cell.state == "trained since" for cell in found.cells)
    told = [_alike(compared, len(compared) + trained + older)] if compared else []
    if trained:
        was, are = ("export was", "is another network") if trained == 1 else ("exports were", "are other networks")
        them = "it by its" if trained == 1 else "them by their"
        told.append(f"{trained} {was} trained while quantized and {are} on purpose: judge {them} accuracy.")
    if older:
        was = "export was" if older == 1 else "exports were"
        told.append(f"{older} {was} measured before answers were compared: run {'it' if older == 1 else 'them'} again.")
    return " ".join(told) or "No export of this model has been measured under these settings yet."


def _alike(compared: Sequence[Cell], total: int) -> str:
    """How many of all exports answer like their source, by those that were compared with it."""
    wrong = [cell for cell in compared if cell.state == "differs"]
    good = len(compared) - len(wrong)
    like = "the network they were made from" if total > 1 else "the network it was made from"
    if not wrong:
        if total == 1:
            return f"The export that was compared answers like {like}, within what its precision explains."
        which = f"All {total} exports" if good == total else f"{good} of {total} exports"
        return f"{which} {'answers' if good == 1 else 'answer'} like {like}, within what their precision explains."
    named = [f"{cell.place} ({_agreement(cell)})" for cell in wrong[:MOST_NAMED]]
    more = [f"{len(wrong) - MOST_NAMED} more"] if len(wrong) > MOST_NAMED else []
    answer, do = "answers" if good == 1 else "answer", "does" if len(wrong) == 1 else "do"
    return f"{good} of {total} exports {answer} like {like}; {_listed(named + more)} {do} not."


def _agreement(cell: Cell) -> str:
    return f"agreement {100 * cell.fidelity.agreement:.4g} %" if cell.fidelity else "not compared"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def fastest(row: Row) -> tuple[Cell, ...]:
    """The runtimes in which the variant is fastest among those where it still answers alike, the quickest first.

    All that are not measurably slower than the first, by the conservative ratio of two intervals; none where fewer
    than two were measured.
    """
    ordered = [cell for _, cell in sorted(_timed(row), key=lambda each: each[0].p50_ms)]
    if len(ordered) < 2:
        return ()
    return tuple(cell for cell in ordered if cell is ordered[0] or "slower" not in speed(cell, ordered[0])[1])


def _timed(row: Row) -> list[tuple[Summary, Cell]]:
    """Where the variant answers alike, with what was measured there."""
    return [(cell.summary, cell) for cell in row.cells if cell.summary and cell.state in ALIKE]


def speed(cell: Cell, reference: Cell) -> tuple[float, str]:
    """How many times as fast as the reference the cell is, and the verdict: `2.10x faster`, or that none is possible.

    With `compare.DISTURBED` behind it where other work may have made the difference. Both have to have been measured.
    """
    ours, theirs = cell.summary, reference.summary
    assert ours
    assert theirs
    ratio = theirs.p50_ms / ours.p50_ms
    ends = (ours.p50_low_ms, ours.p50_high_ms, theirs.p50_low_ms, theirs.p50_high_ms)
    if ends[0] is None or ends[1] is None or ends[2] is None or ends[3] is None:
        return ratio, TOO_FEW
    return ratio, doubted(latency_verdict(ratio, ends[2] / ends[1], ends[3] / ends[0]), ours, theirs)


def fastest_in_words(found: Matrix) -> str:
    """Which runtime is the fastest for which variant, of those that answer alike; empty where nothing can be said.

    Variants of which any timing was disturbed are named behind it.
    """
    by_winner: dict[tuple[str, ...], list[str]] = defaultdict(list)
    disturbed: list[str] = []
    for row in found.rows:
        if first := fastest(row):
            by_winner[tuple(sorted(RUNTIMES[cell.runtime].title for cell in first))].append(row.title)
            disturbed += [row.title] if any(summary.is_disturbed for summary, _ in _timed(row)) else []
    told = [f"{' or '.join(titles)} for {_listed(variants)}" for titles, variants in by_winner.items()]
    if not told:
        return ""
    no_difference = " Where two are named, they are not measurably different." if max(map(len, by_winner)) > 1 else ""
    doubt = f" The timing was disturbed for {_listed(disturbed)}: run again before you trust it." if disturbed else ""
    return f"Fastest of those that answer alike: {'; '.join(told)}.{no_difference}{doubt}"


COLUMNS = [
    "variant", "runtime", "state", "why", "operator", "engine", "precision", "agreement", "agreement_low",
    "agreement_high", "images", "relative_difference", "tolerance", "largest_difference", "mean_difference",
    "largest_logit", "first_diverging_tensor", "first_diverging_layers", "accuracy", "accuracy_low", "accuracy_high",
    "batch_size", "p50_ms", "p50_low_ms", "p50_high_ms", "p95_ms", "speedup", "speed_against", "speed_verdict",
    "is_disturbed", "size_bytes", "build_ms", "cold_start_ms", "device_name", "run_id",
]  # fmt: skip
"""Of `table`. Shares are between 0 and 1; `speedup` is the p50 of what it is set against over its own."""


def table(found: Matrix) -> pd.DataFrame:
    """One row a cell, with all that is known of it; what was not measured is missing."""
    return pd.DataFrame([_facts(cell, found) for cell in found.cells], columns=COLUMNS)


def _facts(cell: Cell, found: Matrix) -> dict[str, Any]:
    facts = {
        "variant": cell.variant,
        "runtime": RUNTIMES[cell.runtime].title,
        "state": cell.state,
        "why": cell.why,
        "operator": cell.operator,
        "engine": cell.recipe.engine.label(),
        "run_id": cell.record.id if cell.record else "",
    }
    return facts | _fidelity(cell) | _measured(cell, found)


def _fidelity(cell: Cell) -> dict[str, Any]:
    given, summary = cell.fidelity, cell.summary
    if given is None or summary is None:
        return {}
    first = given.divergence
    return {
        "agreement": given.agreement,
        "agreement_low": given.interval[0],
        "agreement_high": given.interval[1],
        "images": given.images,
        "relative_difference": given.relative,
        "tolerance": given.tolerance,
        "largest_difference": given.largest_difference,
        "mean_difference": given.mean_difference,
        "largest_logit": given.largest_logit,
        "first_diverging_tensor": first.tensor if first else "",
        "first_diverging_layers": " ".join(first.layers) if first else "",
    }


def _measured(cell: Cell, found: Matrix) -> dict[str, Any]:
    summary, reference = cell.summary, found.reference(cell)
    if summary is None:
        return {}
    low, high = wilson_interval(summary.correct, summary.total)
    facts = summary.model_dump(include=set(COLUMNS)) | {"accuracy": summary.accuracy}
    facts |= {"accuracy_low": low, "accuracy_high": high}
    if reference:
        ratio, verdict = speed(cell, reference)
        facts |= {"speedup": ratio, "speed_against": reference.place, "speed_verdict": verdict}
    return facts
