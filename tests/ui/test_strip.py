"""The machine in one row."""

from __future__ import annotations

from core.progress import Telemetry
from ui.strip import Cell, badge_of, cells

GIB = 2**30


def flat(sample: Telemetry | None, *, on_gpu: bool = True, **reasons: str) -> list[Cell]:
    """The cells of all rows."""
    return [cell for row in cells(sample, reasons, device_name="A GPU", on_gpu=on_gpu) for cell in row]


def values(sample: Telemetry | None, *, on_gpu: bool = True) -> dict[str, str]:
    """What the cells say, by label."""
    return {cell.label: cell.value for cell in flat(sample, on_gpu=on_gpu)}


def test_every_figure_has_its_unit() -> None:
    sample = Telemetry(
        process_rss_bytes=3 * GIB // 2, cpu_percent=198.2, process_threads=23, machine_cpu_percent=57.4,
        machine_used_bytes=6 * GIB, machine_total_bytes=16 * GIB, gpu_used_bytes=12 * GIB, gpu_total_bytes=140 * GIB,
        gpu_utilisation_percent=93, gpu_power_w=312.4, gpu_power_limit_w=700, gpu_temperature_c=61,
        gpu_sm_clock_mhz=1980, gpu_memory_clock_mhz=2619, gpu_throttle_reasons=("power cap", "temperature limit"),
    )  # fmt: skip
    assert values(sample) == {
        "Device": "A GPU", "CPU": "57 %", "CPU, this run": "198 % of a core", "Threads": "23",
        "Memory": "6.0 of 16.0 GiB", "Memory, this run": "1.50 GiB", "GPU memory": "12.0 of 140.0 GiB",
        "GPU in use": "93 %", "Power": "312 of 700 W", "Temperature": "61 °C", "Clock": "1,980 MHz",
        "Memory clock": "2,619 MHz", "Slowed down by": "power cap, temperature limit",
    }  # fmt: skip
    assert values(sample.model_copy(update={"gpu_throttle_reasons": (), "gpu_power_limit_w": None}))["Power"] == "312 W"
    assert values(sample.model_copy(update={"gpu_throttle_reasons": ()}))["Slowed down by"] == "nothing"


def test_what_is_not_told_has_its_reason_and_keeps_its_place() -> None:
    known = flat(Telemetry(gpu_power_w=300, cpu_percent=1))
    reasons = {"gpu_power_w": "This GPU does not support it"}
    unknown = flat(Telemetry(cpu_percent=1), **reasons)
    assert [(cell.label, cell.width) for cell in known] == [(cell.label, cell.width) for cell in unknown]
    power = next(cell for cell in unknown if cell.label == "Power")
    assert (power.value, power.help) == ("n/a", "This GPU does not support it")
    assert all(cell.help for cell in unknown if cell.value == "n/a")
    assert all(cell.help is None for cell in unknown if cell.value != "n/a")


def test_before_the_first_sample_the_places_are_there_and_a_cpu_run_has_no_gpu() -> None:
    assert list(values(None)) == list(values(Telemetry()))
    assert not [label for label in values(None, on_gpu=False) if "GPU" in label]


def test_the_badge_of_an_ended_run_says_when_its_last_sample_was_taken() -> None:
    assert badge_of("last", 55.2)[0] == ":gray-badge[last sample, at 55 s]"
    assert badge_of("now", 55.2)[0] == ":green-badge[now]"
