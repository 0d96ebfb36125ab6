"""All timed calls of each variant, because a median hides tails and mixtures."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from ui import text
from ui.comparison.selection import Selection
from ui.figures.axes import number
from ui.figures.distributions import Samples, cumulative, humps, violins
from ui.figures.frame import PLAIN

VIEWS = {"cumulative": "Cumulative", "violins": "Violins and boxes"}
LONG_TAIL = 1.5
"""p95 over p50 from which a tail is worth a word."""
HOW = {
    "cumulative": "Further left is faster, steeper is steadier. ● p50: half of the calls take at most that. ◆ p95. "
    "Look at the top for tails, and for steps: a curve that rises twice shows calls of two kinds. "
    "Dashed: other work disturbed the timing.",
    "violins": "The thicker, the more calls took that time. Box: p25 to p75, line: p5 to p95, ● p50, ◆ p95. "
    "Look for a long tail to the right, and for two humps: calls of two kinds.",
}


def draw_latencies(selection: Selection) -> None:
    """The distributions, and what stands out in them."""
    samples = {run_id: selection.results[run_id].latency.samples_ms for run_id in selection.frame.run_id}
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("**How long single calls take** :small[:gray[every timed call]]", width="content")
            st.space("stretch")
            view = st.segmented_control(
                "View", list(VIEWS), default="cumulative", required=True, format_func=VIEWS.__getitem__,
                key="latencies.view", label_visibility="collapsed", persist_state="session",
            )  # fmt: skip
        draws = cumulative if view == "cumulative" else violins
        figure = draws(selection.frame, samples, selection.colours, ink=selection.ink)
        st.plotly_chart(figure, key=f"latencies.{view}", config=PLAIN, alt="Distribution of the time of one call")
        dotted = " Dotted: variants of other models." if selection.has_beside and view == "cumulative" else ""
        st.caption(HOW[view] + dotted)
        st.markdown("\n".join(f"- {text.escape(each)}" for each in findings(selection.frame, samples)))
        draw_table(selection)


def draw_table(selection: Selection) -> None:
    """Every percentile, worked out once somebody wants to see it."""
    table = st.expander("Percentiles as a table", key="latencies.table", icon=":material/table:", on_change="rerun")
    if table.open:
        table.dataframe(
            percentiles(selection), hide_index=True, column_config=COLUMNS, placeholder="n too small",
            alt="Percentiles of latency",
        )  # fmt: skip


def findings(frame: pd.DataFrame, samples: Samples) -> list[str]:
    """Sentences on long tails, on calls of several kinds, and on runs that other work disturbed."""
    tails = frame.set_index("title").p95_ms.astype(float) / frame.set_index("title").p50_ms
    found = []
    if (tails > LONG_TAIL).any():
        found.append(f"{tails.idxmax()} has the longest tail: its p95 is {tails.max():.1f}x its p50.")
    elif tails.notna().any():
        few = "" if tails.notna().all() else " Of some there are too few calls to tell."
        found.append(f"No long tails: no p95 is more than {tails.max():.2f}x its p50.{few}")
    for run_id, title in zip(frame.run_id, frame.title, strict=True):
        if len(times := humps(samples[run_id])) > 1:
            found.append(f"{title}: calls of {len(times)} kinds, around {' and '.join(map(number, times))} ms.")
    if disturbed := list(frame.title[frame.is_disturbed]):
        found.append(
            f"Disturbed by other work on the machine: {', '.join(disturbed)}. Tails and second humps there may be the "
            "machine's, not the network's. Run them again on a quiet machine."
        )
    return found


def percentiles(selection: Selection) -> pd.DataFrame:
    """A row for each variant: calls, extremes and percentiles in ms, the share of time it waited for a core."""
    rows = []
    for run_id, title in selection.titles.items():
        latency = selection.results[run_id].latency
        calls, waited = latency.samples_ms, latency.contended_share
        tails = (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
        share = None if waited is None else 100 * waited
        rows.append((title, len(calls), calls.min(), *tails, calls.max(), 100 * latency.spread, share))
    return pd.DataFrame(rows, columns=list(COLUMNS))


COLUMNS = {
    "title": st.column_config.TextColumn("Variant", pinned=True),
    "calls": st.column_config.NumberColumn("Calls", format="%,d"),
    **{
        name: st.column_config.NumberColumn(name.capitalize() if name.endswith("est") else name, format="%.3f ms")
        for name in ("shortest", "p50", "p90", "p95", "p99", "longest")
    },
    "spread": st.column_config.NumberColumn("Spread", format="%.1f %%", help="Interquartile range over the median."),
    "waited": st.column_config.NumberColumn(
        "Waited", format="%.1f %%", help="Share of its time in which it was ready but had no core."
    ),
}
