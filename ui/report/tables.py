"""The tables of a report: what is compared, and what stands behind the charts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from experiments.judging import of_frame
from experiments.measures import NO_DIFFERENCE, front
from experiments.recommendation import baseline, size_words
from experiments.report import Report
from profiling.latency import Latency
from ui import tables, text
from ui.report.markup import Html, details, element, table, two_lines
from ui.theme import colour_of

SMALL = "n too small"
Columns = dict[str, tuple[str, Callable[[Any], str]]]
"""Columns of `ui.tables.comparison` with their heading and what writes their values."""


def _mebibytes(value: float) -> str:
    return text.data_size(value * text.MIB)


SERVING: Columns = {
    "runtime": ("Runtime", str),
    "precision": ("Precision", str),
    "agreement": ("Agreement", "{:.2f} %".format),
    "throughput_per_s": ("Throughput", "{:,.0f}/s".format),
    "best_throughput_per_s": ("Throughput, best", "{:,.0f}/s".format),
    "best_batch_size": ("at batch", "{:.0f}".format),
    "energy": ("Energy", "{:.3f} mJ".format),
    "build_ms": ("Build", text.milliseconds),
    "first_call_ms": ("First call", text.milliseconds),
}
STORING: Columns = {
    "size": ("Size", _mebibytes),
    "gzip": ("Compressed", _mebibytes),
    "parameters": ("Parameters", "{:,.0f}".format),
    "nonzero": ("Not zero", "{:,.0f}".format),
    "macs": ("MACs", "{:,.1f} M".format),
}


def in_unit_of(value_ms: float, like: float) -> str:
    """A time in the unit that suits another one: `0.0 µs` beside `7.2 µs`."""
    return f"{text.fine_numbers(value_ms, like=like)[0]} {text.fine_unit(like)}"


def comparison(report: Report) -> Html:
    """A row for each variant: accuracy, latency and size, each with its signed difference and its verdict."""
    frame = report.frame
    head = ["Variant", of_frame(frame).title, "Change", "Latency p50", "Change", "p95", "Size", "Change", "Memory"]
    rows = [_comparison_row(report, row) for _, row in frame.iterrows()]
    marked = [at for at, run_id in enumerate(frame.run_id) if run_id == report.recommended]
    small = "In small print: 95 % intervals, files after gzip, and verdicts."
    caption = f"The variants, each measured on the file that ships. {small}"
    return table(caption, head, rows, align="lrrrrrrrr", marked=marked)


def _comparison_row(report: Report, row: pd.Series[Any]) -> list[str]:
    base = baseline(report.frame)
    is_base = base is not None and row.run_id == base.run_id
    changes = _changes(row, base) if base is not None and not is_base else [_muted("baseline" if is_base else "")] * 3
    return [
        _name(report, row),
        two_lines(text.share(row.accuracy), _ends((100 * row.accuracy_low, 100 * row.accuracy_high))),
        changes[0],
        two_lines(text.fine_milliseconds(row.p50_ms), _ends((row.p50_low_ms, row.p50_high_ms), time=row.p50_ms)),
        changes[1],
        SMALL if pd.isna(row.p95_ms) else text.fine_milliseconds(row.p95_ms),
        two_lines(text.data_size(row.size_bytes), f"compressed {text.data_size(row.gzip_bytes)}"),
        changes[2],
        text.data_size(row.memory_bytes),
    ]


def _ends(ends: tuple[float, float], *, time: float | None = None) -> Html:
    """The ends of an interval, kept on one line: of per cents, or of a time in the unit that it has itself."""
    shown = [f"{end:.2f}" for end in ends] if time is None else text.fine_numbers(*ends, like=time)
    words = SMALL if any(pd.isna(end) for end in ends) else " to ".join(shown)
    return element("span", words, css="whole")


def _muted(words: str) -> Html:
    return element("span", words, css="same")


def _changes(row: pd.Series[Any], base: pd.Series[Any]) -> list[Html]:
    """Signed differences with their verdicts: of accuracy, latency and size."""
    is_alike, base_ms = row.accuracy_verdict == NO_DIFFERENCE, float(base.p50_ms)
    accuracy = NO_DIFFERENCE if is_alike else f"measurable {'gain' if row.accuracy_points > 0 else 'loss'}"
    return [
        _judged(f"{row.accuracy_points:+.2f} points", accuracy),
        _judged(text.signed(row.p50_ms - base_ms, partial(in_unit_of, like=base_ms)), row.latency_verdict),
        _judged(text.signed(row.size_bytes - base.size_bytes, text.data_size), size_words(row, base) or "as large"),
    ]


def _judged(difference: str, verdict: str) -> Html:
    """Only the longest verdicts may be broken into lines."""
    is_long = len(verdict) >= len(NO_DIFFERENCE)
    return two_lines(difference, verdict if is_long else element("span", verdict, css="whole"))


def _label(report: Report, run_id: str, *badges: str) -> Html:
    """A variant's colour and title."""
    row = report.frame[report.frame.run_id == run_id].iloc[0]
    disc = element("span", css="swatch", style=f"background:{colour_of(int(row.slot))}", aria_hidden="true")
    return element("span", disc, element("span", row.title, *badges), css="name")


def _name(report: Report, row: pd.Series[Any]) -> Html:
    """The same with what has to be known about it."""
    labels = ["recommended"] if row.run_id == report.recommended else []
    labels += ["timing disturbed"] if row.is_disturbed else []
    badges = (element("span", label, css=f"badge {label.split()[-1]}") for label in labels)
    return _label(report, row.run_id, *badges)


def further(report: Report) -> Html:
    """Everything else that was measured, on demand; columns that no variant has are left out."""
    judging = of_frame(report.frame)
    serving = (
        f"Agreement: test {judging.unit} predicted as by the baseline. Throughput in {judging.unit}/s: at the batch "
        f"size compared, and at the best one. Pareto front: not beaten in both {judging.noun} and p50."
    )
    storing = f"Compressed: the same file after gzip. MACs: multiply-accumulates for one {judging.example}."
    is_best = ["yes" if best else "no" for best in front(report.frame, "p50", "accuracy")]
    return details(
        "All other numbers",
        _further(report, SERVING, serving, {"Pareto front": is_best}),
        _further(report, STORING, storing, {}),
    )


def _further(report: Report, columns: Columns, caption: str, more: dict[str, list[str]]) -> Html:
    shown = tables.comparison(tables.with_agreement(report.frame, report.results))
    measured = {name: look for name, look in columns.items() if name in shown and shown[name].notna().any()}
    rows = [
        [
            _label(report, run_id),
            *(_formatted(show, shown.at[run_id, name]) for name, (_, show) in measured.items()),
            *(values[at] for values in more.values()),
        ]
        for at, run_id in enumerate(shown.index)
    ]
    head = ["Variant", *(title for title, _ in measured.values()), *more]
    return table(caption, head, rows, align="l" + "r" * (len(head) - 1))


def _formatted(show: Callable[[Any], str], value: Any) -> str:
    return "n/a" if pd.isna(value) else show(value)


def percentiles(report: Report) -> Html:
    """The percentiles of latency with their intervals, on demand."""
    rows = [[_label(report, run_id), *_percentiles(report.results[run_id].latency)] for run_id in report.titles]
    caption = "Latency; in small print 95 % intervals."
    head = ["Variant", "Calls", "Shortest", "p50", "p90", "p95", "p99", "Longest"]
    return details("Percentiles of latency", table(caption, head, rows, align="lrrrrrrr"))


def _percentiles(latency: Latency) -> list[str]:
    calls = latency.samples_ms
    values = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    ends = (latency.p50_interval_ms, *(latency.interval_ms(each) for each in (0.9, 0.95, 0.99)))
    shown = [
        two_lines(SMALL if value is None else text.fine_milliseconds(value), _ends(end, time=value) if end else "")
        for value, end in zip(values, ends, strict=True)
    ]
    return [f"{len(calls):,}", text.fine_milliseconds(calls.min()), *shown, text.fine_milliseconds(calls.max())]


def costs(report: Report) -> Html:
    """What a million images cost with each variant."""
    rows = [[_label(report, line.run_id), line.amount, line.words] for line in report.costs]
    marked = [at for at, line in enumerate(report.costs) if line.run_id == report.recommended]
    head = ["Variant", "Per million images", "Against the baseline"]
    return table(" ".join(report.cost_notes), head, rows, align="lrl", marked=marked)


def conditions(report: Report) -> list[Html]:
    """Under what was measured: first what is alike for all variants, then a row a variant for the rest."""
    found = tables.conditions(report.results, report.titles)
    is_alike = found.nunique(axis=1) <= 1
    alike = [(str(name), str(value)) for name, value in found[is_alike].iloc[:, 0].items() if value]
    shared = element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in alike), css="facts"
    )
    rest = found[~is_alike]
    rows = [[_label(report, run_id), *(str(value) for value in rest[title])] for run_id, title in report.titles.items()]
    return [
        element("h3", "Alike for all"),
        shared,
        table("What differs", ["Variant", *map(str, rest.index)], rows, align="l" * (len(rest) + 1)),
    ]
