"""A report as one HTML file: everything it needs is inside, and its own policy lets it load nothing else."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache, partial
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from experiments.judging import of_frame
from experiments.key_figures import KeyFigure
from experiments.models import baseline_runtime
from experiments.report import Report
from runtimes import RUNTIMES
from ui import text
from ui.glossary import TERMS
from ui.report import tables
from ui.report.charts import Chart, charts
from ui.report.markup import Html, bullets, details, element, safe, table

FOLDER = Path(__file__).parent
ALWAYS = (
    "Baseline", "Variant", "Artifact", "Runtime", "Precision", "Latency, p50 and p95", "Throughput",
    "No measurable difference",
)  # fmt: skip
OF_TECHNIQUE = {
    "int8": ("Quantization", "Calibration set"),
    "qat": ("Quantization", "Calibration set", "Fine-tuning"),
    "weight_only": ("Quantization",),
    "fp8": ("Quantization", "Calibration set"),
    "structured_pruning": ("Structured pruning", "Pruning ratio", "Fine-tuning"),
    "low_rank": ("Low-rank factorisation", "Energy", "Fine-tuning"),
    "magnitude_pruning": ("Unstructured pruning", "Sparsity", "Fine-tuning"),
    "two_four": ("2:4 sparsity", "SparseGPT", "Fine-tuning"),
    "distillation": ("Distillation", "Temperature", "Alpha", "Control"),
    "mixed_precision": ("Mixed precision",),
    "keras_fine_tuning": ("Control", "Fine-tuning"),
    "keras_pruning": ("Unstructured pruning", "Sparsity", "Gzip size", "Control", "Fine-tuning"),
    "keras_clustering": ("Clustering", "Gzip size", "Control", "Fine-tuning"),
    "keras_qat": ("Quantization", "Collaborative optimisation", "Control", "Fine-tuning"),
    "keras_quantization": ("Quantization", "Calibration set", "Dynamic range quantization", "16x8"),
    "litert_quantization": ("Quantization", "Calibration set", "Dynamic range quantization"),
}
"""Terms to explain where a technique is used."""


class Section(NamedTuple):
    """A part of the report with a heading of its own."""

    key: str
    title: str
    content: list[Html]


def html_of(report: Report) -> str:
    """The whole file. Every text in it is escaped, and a browser needs no network to show it."""
    drawn = charts(report)
    sections = [section for section in _sections(report, drawn) if section.content]
    library, script = _library(), (FOLDER / "script.js").read_text(encoding="utf-8")
    figures = "{" + ",".join(f'"{chart.key}":{chart.figure.to_json()}' for chart in drawn) + "}"
    parts = {
        "policy": escape(_policy(library, script)),
        "title": escape(report.title),
        "style": (FOLDER / "style.css").read_text(encoding="utf-8"),
        "header": _header(report),
        "contents": "".join(element("a", section.title, href=f"#{section.key}") for section in sections),
        "sections": "".join(_section(section) for section in sections),
        "figures": figures,
        "script": script,
        "library": library,
    }
    size = text.data_size(sum(len(part.encode()) for part in parts.values()))
    footer = f"{report.program} · written on {_date(report)} · one file of {size}, nothing in it needs a network"
    template = Template((FOLDER / "template.html").read_text(encoding="utf-8"))
    return template.substitute(parts, footer=escape(footer))


@cache
def _library() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def library_bytes() -> int:
    """Size of the drawing library, which is nearly all of a report."""
    return len(_library().encode())


def _policy(*scripts: str) -> str:
    """The file's own content security policy: these scripts may run, and nothing may be loaded."""
    hashes = " ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _date(report: Report) -> str:
    return f"{report.date.day} {report.date:%B %Y}"


def _unbroken(words: str) -> str:
    """The words with no line break between a number and its percent sign."""
    return re.sub(r"(?<=\d) %", "\u00a0%", words)


def _header(report: Report) -> Html:
    caveats = [element("aside", bullets(report.caveats), css="caveats", role="note")] if report.caveats else []
    return element(
        "header",
        element("p", f"Comparison report · {_date(report)}", css="kicker"),
        element("h1", report.title),
        element("p", report.subject, css="subject"),
        element("p", _unbroken(report.headline), css="headline"),
        element("p", _unbroken(report.reason), css="reason"),
        *caveats,
    )


def _sections(report: Report, drawn: list[Chart]) -> list[Section]:
    return [
        Section("key-figures", "Key figures", _key_figures(report)),
        Section("variants", "All variants", [tables.comparison(report)]),
        Section("charts", "Charts", [_charts(drawn), tables.further(report), tables.percentiles(report)]),
        Section("why", "Why it is, or is not, faster", _why(report)),
        Section("cost", "Cost per million images", _costs(report)),
        Section("limits", "What this does not say", [bullets(report.limits)]),
        Section("conditions", "Conditions of every measurement", tables.conditions(report)),
        Section("recipes", "Recipes", _recipes(report)),
        Section("terms", "Terms", [_terms(report)]),
    ]


def _section(section: Section) -> Html:
    heading = element("h2", section.title, id=f"{section.key}-heading")
    return element("section", heading, *section.content, id=section.key, aria_labelledby=f"{section.key}-heading")


def _key_figures(report: Report) -> list[Html]:
    title = report.titles[report.recommended]
    tiles = element("div", *map(_tile, report.key_figures), css="tiles")
    runtime = RUNTIMES[baseline_runtime(str(report.frame.model.iloc[0]))].title
    return [element("p", element("strong", title), f" against the untouched model in {runtime}", css="lead"), tiles]


def _tile(figure: KeyFigure) -> Html:
    before = f"untouched: {figure.before}" if figure.before else ""
    lines = [("p", figure.title, "title"), ("p", _value(figure), "value")]
    lines += [("p", figure.change, f"change {figure.tone}")]
    lines += [("p", before, "before"), ("p", _unbroken(figure.note), "before")]
    return element("div", *(element(name, words, css=css) for name, words, css in lines if words), css="tile")


def _value(figure: KeyFigure) -> str:
    """The figure's value, its unit in smaller letters."""
    number, space, unit = figure.value.partition(" ")
    return Html(safe(number) + space + element("span", unit, css="unit")) if number[-1].isdigit() else figure.value


def _charts(drawn: list[Chart]) -> Html:
    return element("div", *map(_chart, drawn), css="charts")


def _chart(chart: Chart) -> Html:
    caption = element("figcaption", element("strong", chart.title), " ", element("span", chart.remark))
    height = f"min-height:{int(chart.figure.layout.height)}px"
    place = element("div", css="chart", data_figure=chart.key, role="img", aria_label=chart.alt, style=height)
    reading = [element("p", chart.reading, css="note")] if chart.reading else []
    return element("figure", caption, element("div", place, css="room"), *reading, css="wide" if chart.is_wide else "")


def _why(report: Report) -> list[Html]:
    told = [part for title, sentences in report.remarks.items() for part in (element("h3", title), bullets(sentences))]
    return [*told, *(part for title, causes in report.why for part in _causes(title, causes))]


def _causes(title: str, causes: Sequence[tuple[str, float, str]]) -> list[Html]:
    shown = partial(tables.in_unit_of, like=max((abs(ms) for _, ms, _ in causes), default=0.0))
    rows = [[name, text.signed(ms, shown), sentence] for name, ms, sentence in causes]
    caption = "Time lost (+) or gained (-) against what the arithmetic promises."
    return [element("h3", title), table(caption, ["Cause", "Time", "What it is"], rows, align="lrl")]


def _costs(report: Report) -> list[Html]:
    return [tables.costs(report)] if report.costs else []


def _recipes(report: Report) -> list[Html]:
    how = "Each recipe, saved as a file, replays its run: python3 studio.py optimize recipe.yaml"
    blocks = [
        details(title, element("pre", element("code", report.recipes[run_id])))
        for run_id, title in report.titles.items()
    ]
    return [element("p", how, css="note"), element("div", *blocks, css="recipes")]


def _terms(report: Report) -> Html:
    """The terms used here, in the glossary's order."""
    used = {
        *ALWAYS,
        "Test accuracy" if of_frame(report.frame).has_labels else "Agreement",
        *(term for keys in report.techniques.values() for key in keys for term in OF_TECHNIQUE.get(key, ())),
    }
    terms = [each for name, words in TERMS.items() if name in used for each in (("dt", name), ("dd", words))]
    return element("dl", *(element(name, words) for name, words in terms), css="terms")
