"""An engine built for a GPU that is not here: what the parser says of every operator, and the file to take there."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.bundle import precision_title
from core.compatibility import Compatibility
from experiments.ahead import AheadResult
from experiments.references import baseline_of
from experiments.run_record import RunRecord
from ui import text
from ui.live import duration
from ui.quantization_view import draw_quantization
from ui.simulated_view import draw_metric
from ui.state import open_page, store

EVERY, REFUSED = "All operators", "Refused only"
NARROW = 420
"""Pixels of a table with two columns."""
BUILDERS = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}


def draw_ahead(record: RunRecord) -> None:
    """A finished run that built ahead."""
    result = store().ahead_result(record.id)
    if result is None:
        return
    if result.size_bytes is None:
        st.error(text.escape(result.why_no_engine), icon=":material/block:")
        st.markdown(
            f"No engine was built for **{text.escape(result.target)}**. The table tells what its parser takes and what "
            "it refuses."
        )
    else:
        st.info(
            f"**Built for {text.escape(result.target)}.** It has not been run here: there is no accuracy, latency or "
            "memory.",
            icon=":material/memory:",
        )
        draw_numbers(record, result)
        if st.button("Export the engine", type="primary", icon=":material/package_2:", key="export"):
            open_page("export", run=record.id)
    draw_compatibility(result.compatibility, precision_title(result.precision), key=record.id)
    if result.quantization:
        draw_quantization(result.quantization, record)


def draw_numbers(record: RunRecord, result: AheadResult) -> None:
    """What is known of an engine without running it."""
    facts = result.facts
    if facts is None or result.size_bytes is None or result.build_ms is None:
        return
    baseline = store().finished_before(baseline_of(record.recipe))
    fp32_bytes = baseline.summary.size_bytes if baseline and baseline.summary else None
    with st.container(horizontal=True, key="metrics"):
        draw_metric(
            "Engine size", text.data_size(result.size_bytes),
            f"{result.size_bytes / result.graph_bytes:.2f}x its ONNX graph",
            help=f"Kernels and weights. The ONNX graph that it was built from has {text.data_size(result.graph_bytes)}"
            + (f", the FP32 file of the baseline {text.data_size(fp32_bytes)}." if fp32_bytes else "."),
        )  # fmt: skip
        draw_metric(
            "Build time", duration(result.build_ms / 1000), "on this machine",
            help=f"Parsing, building and writing, without a GPU, at optimisation level {facts.effort}. An engine for "
            "the GPU of its own machine takes longer, because kernels are timed.",
        )  # fmt: skip
        capability = "{}.{}".format(*facts.compute_capability) if facts.compute_capability else "any"
        draw_metric("Compute capability", capability, "and no other")
        smallest, usual, largest = facts.batches
        draw_metric(
            "Batches", f"{smallest} to {largest}", f"tuned for {usual}", help="Images that the engine takes at once."
        )
        draw_metric("Precision", precision_title(result.precision), "that of the graph")
        draw_metric("Built by", facts.version, BUILDERS[facts.module], help="It opens in this very version only.")


def draw_compatibility(found: Compatibility, precision: str, *, key: str) -> None:
    """Every kind of operator, the refused ones first."""
    nodes = sum(each.count for each in found.operators)
    refused = sum(len(each.refused) for each in found.operators)
    with st.container(border=True, key="compatibility"):
        verdict = f"takes all {nodes:,} nodes" if found.is_whole else f"refuses {refused:,} of {nodes:,} nodes"
        colour, icon = ("green", "check_circle") if found.is_whole else ("red", "block")
        st.markdown(
            f"**TensorRT compatible?** :{colour}[:material/{icon}: Its parser {verdict}] of the {precision} graph."
        )
        shown = EVERY
        if refused:
            shown = st.segmented_control("Show", [EVERY, REFUSED], default=EVERY, required=True, key=f"ahead.{key}")
        st.dataframe(
            operator_table(found, refused_only=shown == REFUSED),
            hide_index=True,
            height="content",
            width="stretch" if refused else NARROW,
            column_config={
                "operator": st.column_config.TextColumn("Operator", width=190, help="As ONNX calls it."),
                "nodes": st.column_config.NumberColumn("Nodes", width=70, help="How often it is in the graph."),
                "refused": st.column_config.NumberColumn("Refused", width=80, help="How many the parser refuses."),
                "words": st.column_config.TextColumn("The parser's words", width=380, help="On the first of them."),
                "names": st.column_config.ListColumn("Refused nodes"),
            }
            if refused
            else {"operator": "Operator", "nodes": st.column_config.NumberColumn("Nodes", help="In the graph.")},
            alt="What TensorRT's parser says of each operator",
        )
        st.caption(
            f"Asked of the parser of {text.escape(found.parser)}, which reads the graph as a strongly typed network: "
            "its precision is part of it."
        )


def operator_table(found: Compatibility, *, refused_only: bool = False) -> pd.DataFrame:
    """One row an operator; the columns on refusals only where there is one."""
    rows = [
        {
            "operator": each.op,
            "nodes": each.count,
            "refused": len(each.refused),
            "words": each.reason,
            "names": list(each.refused),
        }
        for each in found.operators
        if each.refused or not refused_only
    ]
    frame = pd.DataFrame(rows, columns=["operator", "nodes", "refused", "words", "names"])
    return frame.drop(columns=["refused", "words", "names"]) if found.is_whole else frame
