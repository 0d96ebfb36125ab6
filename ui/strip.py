"""The machine in one row while a run works: what was last said of it, and why the rest is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from core.progress import Telemetry
from ui import text
from ui.live import duration

NOT_TOLD = "Nothing has been said of it in this run."
NOT_YET = "The first sample comes within a second of the start."
Freshness = Literal["now", "replayed", "resting", "last"]
FRESHNESS: dict[Freshness, tuple[str, str]] = {
    "now": (":green-badge[now]", "The newest sample; about five are taken a second."),
    "replayed": (":violet-badge[replay]", "The newest sample at this moment of the replay."),
    "resting": (
        ":orange-badge[rests]",
        "Latency is being timed: nothing is sampled meanwhile. These are the last values.",
    ),
    "last": (":gray-badge[last sample, at {}]", "Seconds since the run began; nothing was sampled after that."),
}
BADGE_WIDTH, LONG_BADGE_WIDTH = 72, 190
"""Pixels; the longer one is for the badge that tells a time."""


@dataclass(frozen=True)
class Cell:
    """One figure of the strip."""

    label: str
    value: str
    help: str | None = None
    """Why it is not known; None where it is."""
    width: int = 96
    """Pixels: fixed, so that a longer number moves nothing."""


def cells(sample: Telemetry | None, reasons: Mapping[str, str], *, device_name: str, on_gpu: bool) -> list[list[Cell]]:
    """The figures of the newest sample, of the machine and, in a row of its own, of the run's GPU.

    They are always the same ones for a kind of device; `n/a` with its reason where one is unknown.
    """
    reader = _Reader(sample or Telemetry(at=0.0), reasons, NOT_TOLD if sample else NOT_YET)
    found = [
        Cell("Device", device_name, width=190),
        reader.cell("CPU", _percent, "machine_cpu_percent"),
        reader.cell("CPU, this run", _of_a_core, "cpu_percent", width=112),
        reader.cell("Threads", _whole, "process_threads", width=64),
        reader.cell("Memory", _of_total, "machine_used_bytes", "machine_total_bytes", width=128),
        reader.cell("Memory, this run", text.data_size, "process_rss_bytes", width=118),
    ]
    return [found, _gpu_cells(reader)] if on_gpu else [found]


def _gpu_cells(reader: _Reader) -> list[Cell]:
    return [
        reader.cell("GPU memory", _of_total, "gpu_used_bytes", "gpu_total_bytes", width=128),
        reader.cell("GPU in use", _percent, "gpu_utilisation_percent", width=78),
        reader.cell("Power", _watts, "gpu_power_w", "gpu_power_limit_w", width=104),
        reader.cell("Temperature", _degrees, "gpu_temperature_c", width=88),
        reader.cell("Clock", _megahertz, "gpu_sm_clock_mhz"),
        reader.cell("Memory clock", _megahertz, "gpu_memory_clock_mhz"),
        reader.cell("Slowed down by", _listed, "gpu_throttle_reasons", width=250),
    ]


@dataclass(frozen=True)
class _Reader:
    """Makes cells of a sample's fields."""

    sample: Telemetry
    reasons: Mapping[str, str]
    unsaid: str
    """Why a field is missing for which no reason was given."""

    def cell(self, label: str, words: Callable[..., str], name: str, *others: str, width: int = 96) -> Cell:
        """The field in words; the `others`, which may be missing, are handed to `words` too."""
        value = getattr(self.sample, name)
        if value is None:
            return Cell(label, "n/a", self.reasons.get(name, self.unsaid), width)
        return Cell(label, words(value, *(getattr(self.sample, other) for other in others)), None, width)


def draw_strip(rows: list[list[Cell]], freshness: Freshness, *, sampled_at: float) -> None:
    """The cells, a row for the machine and one for its GPU, which wrap in a narrow window.

    `sampled_at` is when they were sampled, in seconds since the run began.
    """
    badge, meaning, width = badge_of(freshness, sampled_at)
    with st.container(border=True, gap="xsmall", key="strip"):
        for number, row in enumerate(rows):
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                for cell in row:
                    _draw_cell(cell)
                if number == 0:
                    st.markdown(badge, width=width, help=meaning)


def badge_of(freshness: Freshness, sampled_at: float) -> tuple[str, str, int]:
    """How fresh the figures are: as a badge, in a sentence, and the badge's width in pixels."""
    badge, meaning = FRESHNESS[freshness]
    return badge.format(duration(sampled_at)), meaning, LONG_BADGE_WIDTH if freshness == "last" else BADGE_WIDTH


def _draw_cell(cell: Cell) -> None:
    st.markdown(
        f":small[:gray[{cell.label}]]  \n{text.escape(cell.value)}",
        width=cell.width,
        help=text.escape(cell.help) if cell.help else None,
    )


def _percent(value: float) -> str:
    return f"{value:.0f} %"


def _of_a_core(value: float) -> str:
    return f"{value:.0f} % of a core"


def _whole(value: float) -> str:
    return f"{value:,}"


def _of_total(used_bytes: float, total_bytes: float | None) -> str:
    if total_bytes is None:
        return text.data_size(used_bytes)
    return f"{used_bytes / text.GIB:.1f} of {total_bytes / text.GIB:.1f} GiB"


def _watts(power_w: float, limit_w: float | None) -> str:
    return f"{power_w:.0f} W" if limit_w is None else f"{power_w:.0f} of {limit_w:.0f} W"


def _degrees(value: float) -> str:
    return f"{value:.0f} °C"


def _megahertz(value: float) -> str:
    return f"{value:,} MHz"


def _listed(reasons: tuple[str, ...]) -> str:
    return ", ".join(reasons) or "nothing"
