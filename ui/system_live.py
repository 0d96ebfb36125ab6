"""The machine as it works: a card for the CPU and one for each GPU, polled while there is something new."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import streamlit as st

from core.progress import Telemetry
from experiments.recorder import Recorder
from profiling.gpu_listing import GpuListing
from profiling.telemetry import GpuState, MachineSample, machine_of
from ui import text
from ui.state import everyones_store, is_dark, store
from ui.system_charts import SHOWN_SECONDS, cores, history, sparkline
from ui.system_figures import cpu_figures, gpu_figures, of_total, process_table
from ui.theme import DARK, LIGHT

POLL_SECONDS: Mapping[str, float] = {"live": 1.0, "elsewhere": 1.0, "resting": 2.0, "another": 2.0, "silent": 5.0}
"""Between two looks, by what the last one found."""
STALE_SECONDS = 5.0
OTHERS_SAMPLES = 300
"""Telemetry read at once where another process samples."""
ELSEWHERE = "Another process watches this machine and hands on only the figures of its run"
CHART_HEIGHT = 135
WIDTH = 105
WIDTHS = {"Memory": 175, "Load": 200, "Power": 145, "Memory clock": 125, "Throttled": 240, "Swap": 145}
"""Pixels for figures that need more, so that none moves when another grows."""

Finding = Literal["live", "elsewhere", "resting", "another", "silent"]
"""Another process samples: `elsewhere` with a run at work that tells what it found, `another` without one."""


@dataclass(frozen=True)
class Look:
    """What can be known of the machine now."""

    finding: Finding
    samples: Sequence[MachineSample]
    """Of the last minutes, the oldest first."""


@st.cache_resource(show_spinner=False)
def recorder() -> Recorder:
    """This server's recorder; whoever starts the server lets it work."""
    return Recorder(everyones_store())


def look() -> Look:
    """The samples of this server's recorder or, where another process samples, what it wrote beside its run."""
    if recorder().is_sampling:
        samples = recorder().samples(time.time() - SHOWN_SECONDS)
        return Look("resting" if recorder().is_resting else "live" if _is_fresh(samples) else "silent", samples)
    here = [each for each in store().at_work() if each.host == socket.gethostname()]
    for run in here:
        stored = store().newest_events(run.id, "telemetry", limit=OTHERS_SAMPLES)
        told = [each.event for each in stored if isinstance(each.event, Telemetry)]
        samples = [machine_of(each, run.device, ELSEWHERE) for each in told]
        if any(each.is_timed for each in here):
            return Look("resting", samples)
        if _is_fresh(samples):
            return Look("elsewhere", samples)
    return Look("another" if recorder().is_another_sampling else "silent", [])


def _is_fresh(samples: Sequence[MachineSample]) -> bool:
    return bool(samples) and time.time() - samples[-1].at < STALE_SECONDS


def draw_live() -> None:
    """The section: one fragment that looks again, seldom while there is nothing new and never while it is paused."""
    finding = look().finding
    paused = st.session_state.get("system.paused", False)
    st.fragment(_draw, run_every=None if paused else POLL_SECONDS[finding])(finding)


def _draw(expected: Finding) -> None:
    seen = look()
    paused = st.session_state.get("system.paused", False)
    if seen.finding != expected and not paused:
        st.rerun()
    _draw_head(seen.finding, paused)
    if seen.samples:
        newest = seen.samples[-1]
        _draw_cpu(newest, seen.samples)
        for gpu in newest.gpus:
            _draw_gpu(gpu, seen.samples)


def _draw_head(finding: Finding, paused: bool) -> None:
    words = {
        "live": "Sampled five times a second.",
        "elsewhere": "Sampled by another process, five times a second, beside a run at work.",
        "resting": ":material/timer: Resting while latency is timed, so that nothing runs beside it.",
        "another": "Another process watches this machine, and tells its figures only beside a run.",
        "silent": "Nobody samples this machine at the moment; that is looked up now and then.",
    }
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Live", anchor=False, width="content")
        st.caption("Paused." if paused else words[finding], width="content")
        st.space("stretch")
        label, icon = ("Go on", "play_arrow") if paused else ("Pause", "pause")
        if st.button(label, icon=f":material/{icon}:", key="system.pause", type="tertiary"):
            st.session_state["system.paused"] = not paused
            st.rerun()


def _draw_cpu(newest: MachineSample, samples: Sequence[MachineSample]) -> None:
    colours = DARK if is_dark() else LIGHT
    total = newest.total_bytes or 0
    with st.container(border=True):
        st.markdown("**CPU and memory**")
        with st.container(horizontal=True, gap="medium"):
            for label, value, help in cpu_figures(newest):
                st.metric(label, value, help=help, width=WIDTHS.get(label, WIDTH))
        with st.grid(3, min_column_width=165):
            busy = history(samples, lambda each: each.cpu_percent)
            _draw_chart("cpu", sparkline("CPU, all cores", "%", busy, colour=colours[0], most=100))
            _draw_chart("cores", cores(newest.core_percents, colour=colours[0]))
            used = history(samples, lambda each: _gib(each.used_bytes))
            most = round(total / text.GIB, 1) or None
            _draw_chart("memory", sparkline("Memory in use", "GiB", used, colour=colours[1], most=most))


def _draw_gpu(gpu: GpuState, samples: Sequence[MachineSample]) -> None:
    colours = DARK if is_dark() else LIGHT
    reading, listing, key = gpu.reading, gpu.listing, f"gpu-{gpu.index}"

    def of(name: str, scale: float = 1.0) -> list[tuple[float, float | None]]:
        return history(samples, lambda each: _figure(each, gpu.index, name, scale))

    with st.container(border=True):
        name = text.escape(listing.name or "GPU")
        driver = f"driver {listing.driver}" if listing.driver else "driver n/a"
        st.markdown(f"**{name}** · cuda:{gpu.index} · {driver}", help=_why_unnamed(listing))
        with st.container(horizontal=True, gap="medium"):
            for label, value, help in gpu_figures(gpu):
                st.metric(label, value, help=help, width=WIDTHS.get(label, WIDTH))
        with st.grid(3, min_column_width=165):
            busy = of("utilisation_percent")
            _draw_chart(f"{key}-use", sparkline("Utilisation", "%", busy, colour=colours[0], most=100))
            most = round((reading.total_bytes or 0) / text.GIB, 1) or None
            memory = sparkline("Memory in use", "GiB", of("used_bytes", 1 / text.GIB), colour=colours[1], most=most)
            _draw_chart(f"{key}-memory", memory)
            watts = sparkline("Power", "W", of("power_w"), colour=colours[2], most=reading.power_limit_w)
            _draw_chart(f"{key}-power", watts)
        _draw_instances(listing)
        _draw_processes(listing)


def _draw_chart(key: str, option: dict[str, object]) -> None:
    st.echarts_chart(option, height=CHART_HEIGHT, key=f"system.{key}", alt=f"{key} over the last five minutes")


def _gib(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else size_bytes / text.GIB


def _figure(sample: MachineSample, index: int, name: str, scale: float) -> float | None:
    gpu = next((each for each in sample.gpus if each.index == index), None)
    value = getattr(gpu.reading, name) if gpu else None
    return None if value is None else value * scale


def _why_unnamed(listing: GpuListing) -> str | None:
    missing = [f"{name}: {listing.reasons[name]}." for name in ("name", "driver") if name in listing.reasons]
    return text.escape(" ".join(missing)) or None


def _draw_instances(listing: GpuListing) -> None:
    if not listing.is_mig:
        return
    st.markdown("Divided into MIG instances; the driver tells their memory and nothing else of each.")
    shown = [(each.name, of_total(each.used_bytes, each.total_bytes) or "n/a") for each in listing.instances]
    st.table(pd.DataFrame(shown, columns=["Instance", "Memory"]), border="horizontal")


def _draw_processes(listing: GpuListing) -> None:
    if listing.processes is None:
        st.caption(f"Processes: n/a. {text.escape(listing.reasons.get('processes', ''))}.")
        return
    if not listing.processes:
        st.caption("Processes: the driver lists none.")
        return
    runs = {each.pid: each.id for each in store().at_work() if each.pid and each.host == socket.gethostname()}
    st.table(process_table(listing, runs), border="horizontal")
    if not listing.names_are_known:
        st.caption("In a container the driver gives the host's process numbers, which lead to no names here.")
