"""Everything a finished run measured beside its headline numbers."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from experiments.result import RunResult
from profiling.energy import Energy
from profiling.latency import CONTENDED_SHARE
from profiling.parallel import Parallel
from profiling.stages import Stages
from ui import text
from ui.figures.batches import batches
from ui.figures.frame import PLAIN
from ui.state import ink

TOO_FEW = "n too small"
"""Instead of a time, where there are too few calls for it."""


def draw_details(result: RunResult, *, colour: str) -> None:
    """Percentiles, batch sizes, memory, transfers and energy, on demand; `colour` is the variant's."""
    with st.expander("Measured in detail", key="details", icon=":material/straighten:"):
        left, right = st.columns(2)
        with left:
            st.markdown(f"**Latency** at batch size {result.latency.batch_size}")
            st.table(percentiles(result), border="horizontal", hide_index=True, alt="Latency percentiles")
            if result.parallel:
                draw_parallel(result.parallel)
            if result.stages:
                draw_stages(result.stages)
            draw_energy(result)
        with right:
            draw_sweep(result, colour=colour)
        st.markdown("**Memory**, each figure with what it counts")
        st.table(memory(result), border="horizontal", hide_index=True, alt="Memory figures")


def percentiles(result: RunResult) -> pd.DataFrame:
    """Percentiles with distribution-free 95 % intervals, then what happens once."""
    latency = result.latency
    tails = {"p50": latency.p50_ms, "p90": latency.p90_ms, "p95": latency.p95_ms, "p99": latency.p99_ms}
    intervals = [latency.p50_interval_ms, *(latency.interval_ms(quantile) for quantile in (0.9, 0.95, 0.99))]
    rows = [
        (name, TOO_FEW if value is None else text.fine_milliseconds(value), interval_in_words(interval, like=value))
        for (name, value), interval in zip(tails.items(), intervals, strict=True)
    ]
    rows += [
        ("First call", text.milliseconds(latency.first_call_ms), ""),
        ("Build: opening the file", text.milliseconds(result.build_ms), ""),
    ]
    if result.cold_start_ms is not None:
        rows.append(
            (
                "Cold start: import, open, answer; compilers find their cache filled",
                text.milliseconds(result.cold_start_ms),
                "",
            )
        )
    return pd.DataFrame(rows, columns=["", "Time", "95 % interval"])


def interval_in_words(interval: tuple[float, float] | None, *, like: float | None) -> str:
    """`0.411 to 0.418 ms` in the unit of the time `like`, or that there are too few calls."""
    if interval is None or like is None:
        return TOO_FEW
    low, high = text.fine_numbers(*interval, like=like)
    return f"{low} to {high} {text.fine_unit(like)}"


def memory(result: RunResult) -> pd.DataFrame:
    """Every memory figure, with its meaning or the reason why it is missing."""
    rows = [
        (figure.label, "n/a" if figure.value_bytes is None else text.data_size(figure.value_bytes), figure.meaning)
        for figure in result.memory.figures
    ]
    return pd.DataFrame(rows, columns=["Figure", "Size", "What it counts"])


def draw_energy(result: RunResult) -> None:
    """Energy per inference with its interval, or why it was not measured."""
    st.markdown("**Energy**")
    energy = result.energy
    if not isinstance(energy, Energy):
        reason = energy.reason if energy else "Measured by a version that did not measure energy"
        st.caption(f"n/a: {text.escape(reason)}.")
        return
    interval = energy.joules_per_inference_interval
    words = f", 95 % interval {1000 * interval[0]:.3g} to {1000 * interval[1]:.3g} mJ" if interval else ""
    st.markdown(f"{1000 * energy.joules_per_inference:.3g} mJ per inference{words}")
    st.caption(f"{text.escape(energy.source)}. Busy {energy.busy_w:.0f} W.")


def draw_sweep(result: RunResult, *, colour: str) -> None:
    """Throughput over the batch size, and why the sweep ended."""
    st.markdown("**Batch sizes**")
    sweep = result.sweep
    if sweep is None:
        st.caption("Not swept in this run: set a time for batch sizes under Measurement, and run it again.")
        return
    st.plotly_chart(batches(sweep, colour=colour, ink=ink()), key="sweep", config=PLAIN, alt="Throughput by batch")
    st.caption(f"{text.escape(sweep.stopped)}.")
    rows = [
        (
            point.batch_size,
            f"{point.throughput_per_s:,.0f}",
            text.fine_milliseconds(point.p50_ms),
            "n/a" if point.growth_bytes is None else text.data_size(point.growth_bytes),
        )
        for point in sweep.points
    ]
    pace = f"{result.accuracy.judging.unit.capitalize()}/s"
    table = pd.DataFrame(rows, columns=["Batch", pace, "p50", "Memory growth"])
    st.table(table, border="horizontal", hide_index=True, alt="Batch sizes")


def draw_parallel(found: Parallel) -> None:
    """What several requests at once bring, and what each of them pays."""
    st.markdown(f"**Several at once**: {found.requests} requests in flight, batch size {found.batch_size}")
    interval = found.throughput_interval_per_s
    between = f"{interval[0]:,.0f} to {interval[1]:,.0f} images/s" if interval else TOO_FEW
    rows = [
        ("Throughput", f"{found.throughput_per_s:,.0f} images/s", between),
        ("Latency p50 of each", text.fine_milliseconds(found.p50_ms), ""),
        ("Latency p95 of each", TOO_FEW if found.p95_ms is None else text.fine_milliseconds(found.p95_ms), ""),
    ]
    table = pd.DataFrame(rows, columns=["", "Measured", "95 % interval"])
    st.table(table, border="horizontal", hide_index=True, alt="Several requests at once")
    if found.contended_share is not None and found.contended_share > CONTENDED_SHARE:
        st.caption("Other work on this machine took processor time meanwhile: run it again before you trust it.")


def draw_stages(stages: Stages) -> None:
    """Transfers and computation apart."""
    st.markdown("**Transfers and computation**, by CUDA events")
    times = {
        "Host to device": stages.h2d_ms,
        "Computation": stages.compute_ms,
        "Device to host": stages.d2h_ms,
        "Launching, on the host": stages.launch_ms,
    }
    rows = [(name, text.fine_milliseconds(value)) for name, value in times.items()]
    table = pd.DataFrame(rows, columns=["Stage", "Median"])
    st.table(table, border="horizontal", hide_index=True, alt="Stages of an inference")
    if stages.enqueue_bound:
        st.caption("The host takes longer to launch the operations than the GPU to carry them out: try a CUDA graph.")
