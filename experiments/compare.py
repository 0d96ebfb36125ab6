"""Finished runs side by side, as tables. Differences get a word only when statistics allow one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.judging import of_frame
from experiments.measures import NO_DIFFERENCE, times
from experiments.models import title_of
from experiments.result import RunResult, Summary
from experiments.run_record import RunRecord
from experiments.simulation import SimulatedResult
from profiling.accuracy import Accuracy
from profiling.statistics import SIGNIFICANCE, SMALLEST_SPEEDUP


def variants(records: Sequence[RunRecord], *, model: str = "") -> pd.DataFrame:
    """One row per finished run, baselines first, then the oldest first. Times in ms, sizes in bytes, shares 0 to 1.

    With a `model`, runs of other models stand beside its own: they come last, `is_beside`, named after their models,
    and none of them is a baseline.
    """
    rows = [_row(record, record.summary, model) for record in _ordered(records, model) if record.summary]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in SOMETIMES_MISSING})


def _ordered(records: Sequence[RunRecord], model: str) -> list[RunRecord]:
    return sorted(records, key=lambda r: (_is_beside(r, model), not r.recipe.is_baseline, r.created_at))


def _is_beside(record: RunRecord, model: str) -> bool:
    return bool(model) and record.recipe.model != model


def _row(record: RunRecord, summary: Summary, model: str) -> dict[str, Any]:
    recipe, is_beside = record.recipe, _is_beside(record, model)
    return {
        "run_id": record.id,
        "digest": recipe.digest,
        "slot": record.slot,
        "title": f"{recipe.title} · {title_of(recipe.model)}" if is_beside else recipe.title,
        "model": recipe.model,
        "runtime": recipe.runtime,
        "device": recipe.device,
        "is_baseline": recipe.is_baseline and not is_beside,
        "is_beside": is_beside,
        "created_at": record.created_at,
        **summary.row(),
    }


DISTURBED = ", but the timing was disturbed"
"""What follows a difference in speed where other work took time from either of the two."""
SOMETIMES_MISSING = [
    "p50_low_ms", "p50_high_ms", "p95_ms", "best_batch_size", "best_throughput_per_s", "joules"
]  # fmt: skip
"""NaN where they were not measured, also when no variant has them."""

COLUMNS = [
    "run_id", "digest", "slot", "title", "model", "runtime", "device", "is_baseline", "is_beside", "created_at",
    "accuracy", "accuracy_low", "accuracy_high", *Summary.model_fields,
]  # fmt: skip


def against_baseline(frame: pd.DataFrame, results: Mapping[str, RunResult]) -> pd.DataFrame:
    """The table with differences to its first baseline added; without a baseline these are empty.

    `results` holds, by run id, what was measured in each of its rows.

    Added: accuracy_points (signed percentage points), accuracy_verdict, speedup with speedup_low and speedup_high (how
    many times faster at p50), latency_verdict (with `DISTURBED` behind a difference that other work may have made), and
    size_ratio, macs_ratio, memory_ratio (share of the baseline's).
    """
    baselines = frame[frame.is_baseline]
    base = baselines.iloc[0] if len(baselines) else None
    rows = [_difference(row, base, results) for _, row in frame.iterrows()]
    differences = pd.DataFrame(rows, columns=DIFFERENCES, index=frame.index)
    words = dict.fromkeys(("accuracy_verdict", "latency_verdict"), object)
    return pd.concat([frame, differences.astype(words)], axis=1)


DIFFERENCES = [
    "accuracy_points", "accuracy_verdict", "speedup", "speedup_low", "speedup_high", "latency_verdict",
    "size_ratio", "macs_ratio", "memory_ratio",
]  # fmt: skip


def _difference(row: pd.Series[Any], base: pd.Series[Any] | None, results: Mapping[str, RunResult]) -> dict[str, Any]:
    if base is None or row.run_id == base.run_id:
        return {}
    low, high = base.p50_low_ms / row.p50_high_ms, base.p50_high_ms / row.p50_low_ms
    speedup = base.p50_ms / row.p50_ms
    return {
        "accuracy_points": 100 * (row.accuracy - base.accuracy),
        "accuracy_verdict": accuracy_verdict(results[base.run_id].accuracy, results[row.run_id].accuracy),
        "speedup": speedup,
        "speedup_low": low,
        "speedup_high": high,
        "latency_verdict": doubted(latency_verdict(speedup, low, high), row, base),
        "size_ratio": row.size_bytes / base.size_bytes,
        "macs_ratio": row.macs / base.macs,
        "memory_ratio": row.memory_bytes / base.memory_bytes if row.memory_bytes and base.memory_bytes else None,
    }


def doubted(verdict: str, *timed: Any) -> str:
    """The verdict on a difference, with `DISTURBED` behind it where something disturbed the timing of one of these."""
    is_doubtful = verdict != NO_DIFFERENCE and any(each.is_disturbed for each in timed)
    return verdict + DISTURBED if is_doubtful else verdict


def latency_verdict(speedup: float, low: float, high: float) -> str:
    """`2.10x faster`, `1.30x slower` or no measurable difference, from a ratio and its conservative interval."""
    if speedup >= SMALLEST_SPEEDUP and low > 1:
        return f"{times(speedup)} faster"
    if speedup <= 1 / SMALLEST_SPEEDUP and high < 1:
        return f"{times(1 / speedup)} slower"
    return NO_DIFFERENCE


def accuracy_verdict(base: Accuracy, variant: Accuracy) -> str:
    """`-0.3 points` or no measurable difference, by an exact McNemar test on the same images."""
    points = 100 * (variant.value - base.value)
    if base.total != variant.total or variant.mcnemar_against(base) >= SIGNIFICANCE:
        return NO_DIFFERENCE
    return f"{points:+.2f} points"


def simulations(
    records: Sequence[RunRecord], results: Mapping[str, SimulatedResult], base: Accuracy | None
) -> pd.DataFrame:
    """One row per finished simulated run: accuracy against the baseline's, and what its weights would take.

    Titles leave out that they are simulated. The fewest bits come first.
    Without a baseline, `accuracy_verdict` is empty and `agreement` missing.
    """
    rows = [_simulation(record, results[record.id], base) for record in records if record.id in results]
    return pd.DataFrame(rows, columns=SIMULATION).sort_values(["weight_bits", "accuracy"], ignore_index=True)


SIMULATION = [
    "run_id", "digest", "title", "accuracy", "accuracy_low", "accuracy_high", "accuracy_verdict", "agreement",
    "weight_bits", "size_bytes", "metric", "unit",
]  # fmt: skip


def _simulation(record: RunRecord, result: SimulatedResult, base: Accuracy | None) -> dict[str, Any]:
    found = result.accuracy
    low, high = found.interval
    done = " + ".join(technique.label() for technique in record.recipe.techniques)
    return {
        "run_id": record.id,
        "digest": record.recipe.digest,
        "title": record.recipe.name or done.replace("Simulated ", ""),
        "accuracy": found.value,
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_verdict": accuracy_verdict(base, found) if base else "",
        "agreement": found.agreement_with(base) if base and base.total == found.total else float("nan"),
        "weight_bits": result.stored_as.weight_bits,
        "size_bytes": result.stored_as.size_bytes,
        "metric": found.judging.metric,
        "unit": found.judging.unit,
    }


def describe_simulations(frame: pd.DataFrame) -> str:
    """Simulated number formats as text for a terminal; what their weights would take is computed."""
    judged_by_agreement = not of_frame(frame).has_labels
    table = pd.DataFrame(
        {
            "simulated": frame.title,
            **({} if judged_by_agreement else {"accuracy": frame.accuracy.map("{:.2%}".format)}),
            "agreement": (frame.accuracy if judged_by_agreement else frame.agreement).map("{:.2%}".format),
            "vs baseline": frame.accuracy_verdict,
            "bits per weight": frame.weight_bits.map("{:.2f}".format),
            "computed MiB": (frame.size_bytes / 2**20).map("{:.2f}".format),
        }
    )
    return table.to_string(index=False)


def describe(frame: pd.DataFrame) -> str:
    """The comparison as text for a terminal."""
    table = pd.DataFrame(
        {
            "variant": frame.title,
            of_frame(frame).noun: frame.accuracy.map("{:.2%}".format),
            "vs baseline": frame.accuracy_verdict.fillna(""),
            "p50 ms": frame.p50_ms.map("{:.4f}".format),
            "p95 ms": frame.p95_ms.map(lambda value: "n too small" if pd.isna(value) else f"{value:.4f}"),
            "speed": frame.latency_verdict.fillna(""),
            "MiB": (frame.size_bytes / 2**20).map("{:.3f}".format),
            "gzip MiB": (frame.gzip_bytes / 2**20).map("{:.3f}".format),
            "MMACs": (frame.macs / 1e6).map("{:.1f}".format),
        }
    )
    return table.to_string(index=False)
