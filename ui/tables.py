"""Runs and comparisons as tables fit for the screen or for a file. Knows no streamlit."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from core.bundle import precision_title
from experiments.judging import of_frame, of_record
from experiments.measures import times
from experiments.models import title_of
from experiments.result import RunResult
from experiments.run_record import RunRecord
from runtimes import RUNTIMES
from ui import text
from ui.live import duration

SAME = "the same"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def history(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row an ended run with words and numbers for the Runs page, indexed by run id; agreement where any has it."""
    rows = [_history_row(record) for record in records]
    table = pd.DataFrame(rows, index=[record.id for record in records], columns=HISTORY)
    return table if table.agreement.notna().any() else table.drop(columns="agreement")


HISTORY = ["state", "title", "accuracy", "agreement", "p50_ms", "model", "device", "queued", "took"]


def _history_row(record: RunRecord) -> dict[str, Any]:
    known, summary = record.summary or record.simulated, record.summary
    return {
        "state": [record.state],
        "title": record.title,
        "model": model_title(record.recipe.model),
        "device": record.recipe.device,
        "queued": pd.Timestamp(record.created_at, unit="s", tz="UTC"),
        "took": duration(record.ended_at - record.started_at) if record.started_at and record.ended_at else "",
        of_record(record).noun: 100 * known.accuracy if known else None,
        "p50_ms": summary.p50_ms if summary else None,
    }


def in_units(table: pd.DataFrame, times: Iterable[str]) -> Styler:
    """The table with these times, in ms, each in the unit that suits it; they sort by value, and n/a stays empty."""
    in_words: dict[Any, Any] = {name: text.fine_milliseconds for name in times if name in table}
    return table.style.format(in_words, na_rep="")


def model_title(key: str) -> str:
    """How a model is called on screen, also where it was deleted; its key where it is none of ours."""
    return title_of(key)


def with_unique_titles(frame: pd.DataFrame) -> pd.DataFrame:
    """The variants, those of equal title told apart by the start of their recipe's digest."""
    repeated = frame.title.duplicated(keep=False)
    return frame.assign(title=frame.title.where(~repeated, frame.title + " #" + frame.digest.str[:4]))


def unique_titles(records: Sequence[RunRecord]) -> dict[str, str]:
    """How each run is called where all of these are shown, by id: as `with_unique_titles` has it, baselines first."""
    ordered = sorted(records, key=lambda record: (not record.recipe.is_baseline, record.created_at))
    rows = [(record.recipe.title, record.recipe.digest) for record in ordered]
    titles = with_unique_titles(pd.DataFrame(rows, columns=["title", "digest"])).title
    return dict(zip((record.id for record in ordered), titles, strict=True))


def comparison(frame: pd.DataFrame) -> pd.DataFrame:
    """The variants with their differences to the baseline in words, indexed by run id."""
    table = pd.DataFrame(
        {
            "title": frame.title,
            **({"model": frame.model.map(model_title)} if frame.is_beside.any() else {}),
            "runtime": frame.runtime.map(value_title),
            "precision": frame.precision.map(value_title),
            "accuracy": 100 * frame.accuracy,
            "accuracy_change": _changes(frame, frame.accuracy_verdict),
            **({"agreement": 100 * frame.agreement} if "agreement" in frame and of_frame(frame).has_labels else {}),
            "p50_ms": frame.p50_ms,
            "p95_ms": frame.p95_ms,
            "speed_change": _changes(frame, frame.latency_verdict),
            "throughput_per_s": frame.throughput_per_s,
            "best_throughput_per_s": frame.best_throughput_per_s,
            "best_batch_size": frame.best_batch_size,
            "energy": 1000 * pd.to_numeric(frame.joules),
            "size": frame.size_bytes / text.MIB,
            "gzip": frame.gzip_bytes / text.MIB,
            "size_change": _changes(frame, frame.size_ratio.map(ratio_in_words)),
            "memory": frame.memory_bytes / text.MIB,
            "parameters": frame.parameter_count,
            "nonzero": frame.nonzero_count,
            "macs": frame.macs / 1e6,
            "build_ms": frame.build_ms,
            "first_call_ms": frame.first_call_ms,
        }
    )
    return table.set_index(frame.run_id)


def value_title(value: str) -> str:
    """How a runtime or a precision is called on screen."""
    return RUNTIMES[value].title if value in RUNTIMES else precision_title(value)


def with_agreement(frame: pd.DataFrame, results: Mapping[str, RunResult]) -> pd.DataFrame:
    """The variants with `agreement`: the share of test images predicted as by the baseline; empty without one."""
    baselines = frame.run_id[frame.is_baseline]
    if not len(baselines):
        return frame.assign(agreement=np.nan)
    base = results[baselines.iloc[0]].accuracy
    found = [results[run_id].accuracy for run_id in frame.run_id]
    alike = [each.agreement_with(base) if each.total == base.total else np.nan for each in found]
    return frame.assign(agreement=alike)


def differing(table: pd.DataFrame, *, keep: Sequence[str]) -> list[str]:
    """The columns in which not all rows are alike, and those to keep in any case, in the table's order."""
    return [str(name) for name in table if name in keep or table[name].nunique(dropna=False) > 1]


def swatch(colour: str) -> str:
    """A disc of the colour as the address of an image, for tables, where coloured text would be dimmed."""
    disc = f'<circle cx="10" cy="10" r="6" fill="{colour}"/>'
    disc = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20">{disc}</svg>'
    return f"data:image/svg+xml;base64,{b64encode(disc.encode()).decode()}"


def _changes(frame: pd.DataFrame, words: pd.Series[Any]) -> pd.Series[Any]:
    return words.astype(object).where(words.notna(), "").where(~frame.is_baseline, "baseline")


def ratio_in_words(share: float) -> str:
    """A share of the baseline's size in words: `4.0x smaller`, `1.2x larger`, `the same`."""
    if pd.isna(share) or share <= 0:
        return ""
    if abs(share - 1) < 0.005:
        return SAME
    return f"{times(1 / share)} smaller" if share < 1 else f"{times(share)} larger"


def to_csv(frame: pd.DataFrame) -> str:
    """The table as CSV. Text that a spreadsheet would take for a formula gets an apostrophe before it (OWASP)."""
    return frame.map(_as_text).rename(columns=_as_text).to_csv(index=False)


def to_json(frame: pd.DataFrame) -> str:
    """The table as JSON, a list of objects; what was not measured is null."""
    return str(frame.to_json(orient="records", indent=1, double_precision=10))


def _as_text(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def conditions(results: Mapping[str, RunResult], titles: Mapping[str, str]) -> pd.DataFrame:
    """Under what each finished run was measured: a row for each condition, a column for each variant.

    Both are by run id; the columns come in the order of `titles`.
    """
    return pd.DataFrame({title: _conditions_of(run_id, results[run_id]) for run_id, title in titles.items()}).fillna("")


def _conditions_of(run_id: str, result: RunResult) -> dict[str, str]:
    found, latency = result.conditions, result.latency
    waited = latency.contended_share
    return {
        "Date": f"{found.date:%Y-%m-%d %H:%M} UTC",
        "Device": found.device_name,
        "CPU": f"{found.cpu_name}, {found.cores} cores",
        "Threads": str(found.threads),
        "Precision": precision_title(result.precision),
        "Batch size": str(latency.batch_size),
        f"Test {result.accuracy.judging.unit}": f"{result.accuracy.total:,}",
        "Timed calls": f"{len(latency.samples_ms):,} in {len(latency.blocks_ms)} blocks",
        "Spread (IQR / median)": f"{latency.spread:.1%}",
        "Waited for a core": "not told here" if waited is None else f"{waited:.1%} of the time",
        "Disturbed by": "; ".join(result.disturbances) or "nothing seen",
        "First call": text.milliseconds(latency.first_call_ms),
        "Memory counts": result.memory.headline_label,
        "Seed": str(found.seed),
        "System": f"{found.os}, Python {found.python}",
        **_clocks(result),
        **({"GPU driver": found.gpu_driver} if found.gpu_driver else {}),
        **({} if found.tf32 is None else {"TF32 convolutions": "yes" if found.tf32 else "no"}),
        **found.libraries,
        "Commit": (found.commit or "")[:12],
        "Run": run_id,
    }


def _clocks(result: RunResult) -> dict[str, str]:
    """How fast the processors ran, where the system tells."""
    found, around = result.conditions, result.surroundings
    cpu_mhz = around.cpu_mhz if around and around.cpu_mhz else found.cpu_mhz
    clocks = {"CPU clock": f"{cpu_mhz:,.0f} MHz" if cpu_mhz else "not told here"}
    if around and around.sm_clocks_mhz:
        clocks["GPU clock"] = f"{around.sm_clocks_mhz[0]} to {around.sm_clocks_mhz[-1]} MHz while timed"
    if around and around.temperatures_c:
        clocks["GPU temperature"] = f"{around.temperatures_c[0]:.0f} to {around.temperatures_c[-1]:.0f} °C while timed"
    if found.gpu_power_limit_w:
        clocks["GPU power limit"] = f"{found.gpu_power_limit_w:.0f} W"
    return clocks


def settings_in_words(settings: str) -> str:
    """`Recipe.settings` as a person reads it."""
    device, batch, threads, *graph = settings.split("|")
    words = "default threads" if threads == "0" else f"{threads} threads"
    return f"{device} · batch size {batch} · {words}{' · CUDA graph' if graph else ''}"
