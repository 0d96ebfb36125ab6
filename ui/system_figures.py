"""What the machine's last sample says, in words and units: the figures of the cards. Does not know streamlit."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import psutil

from profiling.gpu_listing import GpuListing
from profiling.telemetry import GpuState, MachineSample
from ui import text

UTILISATION_HELP = "Share of the time in which at least one kernel ran; says nothing of how much of the GPU it filled."


def cpu_figures(sample: MachineSample) -> list[tuple[str, str, str]]:
    """Label, value and help of each figure of the machine; `n/a` with the reason where the system does not tell."""
    load = sample.load and " · ".join(f"{each:.2f}" for each in sample.load)
    processes = f" in {sample.process_count:,} processes" if sample.process_count is not None else ""
    swap = of_total(sample.swap_used_bytes, sample.swap_total_bytes) if sample.swap_total_bytes else "none"
    rows: list[tuple[str, str, str | None, str]] = [
        (
            "CPU",
            "cpu_percent",
            _number(sample.cpu_percent, "%"),
            "Of all cores together: 100 % means that all are busy.",
        ),
        (
            "Memory",
            "used_bytes",
            of_total(sample.used_bytes, sample.total_bytes),
            "What is not to be had any more, of all processes together.",
        ),
        ("Swap", "swap_used_bytes", None if sample.swap_used_bytes is None else swap, "Memory moved to the disk."),
        ("Threads", "thread_count", _number(sample.thread_count, ""), f"Of the whole system{processes}."),
        ("Clock", "cpu_mhz", _number(sample.cpu_mhz, "MHz"), "Averaged over the cores, looked up once a second."),
        ("Load", "load", load, "Threads that run or want to, averaged over 1, 5 and 15 minutes."),
    ]
    return [_told(label, value, help, sample.reasons.get(name)) for label, name, value, help in rows]


def gpu_figures(gpu: GpuState) -> list[tuple[str, str, str]]:
    """Label, value and help of each figure of a GPU; `n/a` with the reason where its driver does not tell."""
    reading = gpu.reading
    throttled = reading.throttle_reasons
    slowed = None if throttled is None else ", ".join(throttled) or "no"
    limit = f" / {reading.power_limit_w:.0f}" if reading.power_limit_w else ""
    power = None if reading.power_w is None else f"{reading.power_w:.0f}{limit} W"
    rows: list[tuple[str, str, str | None, str]] = [
        ("Utilisation", "utilisation_percent", _number(reading.utilisation_percent, "%"), UTILISATION_HELP),
        ("Memory", "used_bytes", of_total(reading.used_bytes, reading.total_bytes), "Of all processes on the device."),
        ("Power", "power_w", power, "Of the board, and what the driver holds it to."),
        ("Temperature", "temperature_c", _number(reading.temperature_c, "°C"), "Of the chip."),
        ("SM clock", "sm_clock_mhz", _number(reading.sm_clock_mhz, "MHz"), "Of the processors that compute."),
        ("Memory clock", "memory_clock_mhz", _number(reading.memory_clock_mhz, "MHz"), "Of the device's memory."),
        ("Throttled", "throttle_reasons", slowed, "Why its clocks are lower than asked for at this moment."),
    ]
    return [_told(label, value, help, reading.reasons.get(name)) for label, name, value, help in rows]


def _told(label: str, value: str | None, help: str, reason: str | None) -> tuple[str, str, str]:
    return (label, value, help) if value is not None else (label, "n/a", f"{reason or 'This system does not tell it'}.")


def _number(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:,.0f} {unit}".strip()


def of_total(used_bytes: int | None, total_bytes: int | None) -> str | None:
    """Bytes in use and in all, in GiB; None where the first is not known."""
    if used_bytes is None:
        return None
    return f"{used_bytes / text.GIB:.1f} / {total_bytes / text.GIB:.1f} GiB" if total_bytes else "n/a"


def process_table(listing: GpuListing, runs: Mapping[int, str]) -> pd.DataFrame:
    """Who computes on a GPU: number, program, memory, and the run it works for; `runs` are ids by process number."""
    rows = []
    for each in listing.processes or ():
        program = _program(each.pid) if listing.names_are_known else "n/a"
        run = runs.get(each.pid, "–") if listing.names_are_known else "n/a"
        memory = "n/a" if each.used_bytes is None else text.data_size(each.used_bytes)
        rows.append((str(each.pid), text.escape(program), memory, run))
    return pd.DataFrame(rows, columns=["Process", "Program", "Memory", "Run"])


def _program(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "n/a"
