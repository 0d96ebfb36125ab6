"""The live section of the System page: what its cards say of machines of all kinds."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import profiling.gpu
from core.progress import PhaseStarted, Telemetry
from experiments.recipe import Recipe
from experiments.recorder import Recorder, sampler_lock
from experiments.store import Store
from profiling.gpu import GpuSample
from profiling.telemetry import GpuState, MachineSample, MachineSampler
from tests.profiling.fake_nvml import GIB, FakeGpu, FakeLibrary, installed, mig_gpu, wsl_gpu
from ui import system_live
from ui.system_charts import SHOWN_SECONDS, cores, history, sparkline
from ui.system_figures import cpu_figures, gpu_figures, process_table

STUDENT = Recipe(model="student_dw_fmnist")


def seen(*gpus: FakeGpu) -> MachineSample:
    with installed(FakeLibrary(gpus)), MachineSampler() as machine:
        return machine.sample()


def figures(gpu: GpuState) -> dict[str, tuple[str, str]]:
    return {label: (value, help) for label, value, help in gpu_figures(gpu)}


def test_a_gpu_tells_its_figures_with_their_units() -> None:
    shown = {label: value for label, (value, _) in figures(seen(FakeGpu(clock_events=0x24)).gpus[0]).items()}
    assert shown == {
        "Utilisation": "42 %",
        "Memory": "3.0 / 80.0 GiB",
        "Power": "123 / 700 W",
        "Temperature": "55 °C",
        "SM clock": "1,980 MHz",
        "Memory clock": "3,201 MHz",
        "Throttled": "power cap, temperature limit",
    }
    assert figures(seen(FakeGpu()).gpus[0])["Throttled"][0] == "no"


@pytest.mark.parametrize(("gpu", "label", "words"), [(wsl_gpu(), "Power", "WSL2"), (mig_gpu(1), "Utilisation", "MIG")])
def test_what_a_gpu_does_not_tell_is_na_with_the_reason(gpu: FakeGpu, label: str, words: str) -> None:
    value, help = figures(seen(gpu).gpus[0])[label]
    assert value == "n/a"
    assert words in help


def test_what_a_machine_does_not_tell_is_na_with_the_reason() -> None:
    sample = MachineSample(at=0.0, cpu_percent=12.4, used_bytes=GIB, total_bytes=4 * GIB, reasons={"load": "No load"})
    shown = {label: (value, help) for label, value, help in cpu_figures(sample)}
    assert (shown["CPU"][0], shown["Memory"][0]) == ("12 %", "1.0 / 4.0 GiB")
    assert shown["Load"] == ("n/a", "No load.")
    assert all(value == "n/a" and help for value, help in (shown[label] for label in ("Swap", "Threads", "Clock")))


def test_processes_are_named_unless_their_numbers_are_those_of_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {os.getpid(): "a-run"}
    gpu = FakeGpu(processes={os.getpid(): 2 * GIB, 4_999_999: None})
    rows = process_table(seen(gpu).gpus[0].listing, runs).set_index("Process")
    assert rows.loc[str(os.getpid())].tolist()[1:] == ["2.00 GiB", "a-run"]
    assert rows.loc[str(os.getpid())]["Program"] != "n/a"
    assert rows.loc["4999999"].tolist() == ["n/a", "n/a", "–"]
    monkeypatch.setattr(profiling.gpu, "_numbers_are_the_hosts", lambda: False)
    assert set(process_table(seen(gpu).gpus[0].listing, runs)["Program"]) == {"n/a"}


def test_history_is_the_mean_of_each_second_with_gaps_where_nobody_looked() -> None:
    moments = (100.0, 100.2, 100.4, 101.0, 110.0, 110.5)
    samples = [
        MachineSample(at=at, cpu_percent=value) for at, value in zip(moments, (1, 2, 3, 10, 20, 40), strict=True)
    ]
    points = history(samples, lambda each: each.cpu_percent)
    assert [value for _, value in points] == [2, 10, None, 30]
    assert [at for at, _ in points] == [-10.0, -9.0, -4.5, 0.0]
    assert history(samples, lambda each: each.cpu_mhz) == []
    old = [MachineSample(at=100.0 - SHOWN_SECONDS - 5, cpu_percent=9), *samples]
    assert history(old, lambda each: each.cpu_percent)[-4:] == points


def test_charts_keep_their_ends_and_say_where_there_is_nothing() -> None:
    drawn = sparkline("CPU", "%", [(-60.0, 50.0), (0.0, 70.0)], colour="#111111", most=100)
    assert (drawn["xAxis"]["min"], drawn["xAxis"]["max"], drawn["yAxis"]["max"]) == (-5, 0, 100)
    assert drawn["dataset"][0]["source"].to_numpy().tolist() == [[-1, 50], [0, 70]]
    assert drawn["tooltip"]["valueFormatter"] == "%.1f %%"
    empty = [sparkline("Power", "W", [], colour="#111111", most=None), cores([], colour="#111111")]
    assert all(each["graphic"][0]["style"]["text"] == "not told" for each in empty)
    assert cores([12.34, 100.0], colour="#111111")["series"][0]["data"] == [12.3, 100.0]


@pytest.fixture
def section(store: Store) -> Iterator[AppTest]:
    """The section alone, on a machine with two GPUs whose recorder has looked once."""
    st.cache_data.clear()
    st.cache_resource.clear()
    gpus = [FakeGpu("NVIDIA H200", processes={1: GIB}), mig_gpu(GIB, 2 * GIB)]
    with installed(FakeLibrary(gpus)), MachineSampler() as machine:
        recorder = Recorder(store)
        recorder.tick(machine)
        recorder.is_sampling = True
        patch = pytest.MonkeyPatch()
        patch.setattr(system_live, "recorder", lambda: recorder)
        yield AppTest.from_string("from ui.system_live import draw_live\ndraw_live()", default_timeout=60)
        patch.undo()


def words(page: AppTest) -> str:
    return "\n".join(each.value for each in (*page.markdown, *page.caption, *page.subheader))


def test_a_card_for_the_cpu_and_one_for_each_gpu(section: AppTest) -> None:
    page = section.run()
    assert not page.exception
    labels = [metric.label for metric in page.metric]
    assert (labels.count("CPU"), labels.count("Utilisation"), labels.count("Power")) == (1, 2, 2)
    assert "**NVIDIA H200** · cuda:0 · driver 580.65.06" in words(page)
    assert page.table[1].value["Memory"].tolist() == ["1.0 / 10.0 GiB", "2.0 / 10.0 GiB"]
    page.button(key="system.pause").click().run()
    assert "Paused." in words(page)
    assert page.button(key="system.pause").label == "Go on"


def test_while_something_is_timed_it_rests_and_without_a_sampler_it_asks_nobody(store: Store, section: AppTest) -> None:
    system_live.recorder().is_resting = True
    assert "Resting while latency is timed" in words(section.run())
    system_live.recorder().is_sampling = False
    page = section.run()
    assert "Nobody samples this machine" in words(page)
    assert not page.metric
    run_id = store.begin_here(STUDENT)
    store.append(run_id, [Telemetry(machine_cpu_percent=37.0, reasons={})])
    page.run()
    assert "by another process" in words(page)
    assert next(metric.value for metric in page.metric if metric.label == "CPU") == "37 %"
    assert "Another process" in next(metric.help for metric in page.metric if metric.label == "Load")
    store.append(run_id, [PhaseStarted(title="Latency", timed=True)])
    assert "Resting" in words(page.run())


def test_beside_a_second_server_it_does_not_say_that_nobody_samples(store: Store, section: AppTest) -> None:
    system_live.recorder().is_sampling = False
    with sampler_lock(socket.gethostname()).acquire(blocking=False), system_live.recorder() as recorder:
        give_up = time.monotonic() + 60
        while not recorder.is_another_sampling and time.monotonic() < give_up:
            time.sleep(0.01)
        page = section.run()
    assert "Another process watches this machine" in words(page)
    assert "Nobody" not in words(page)
    assert not page.metric


def test_no_reading_stays_silent_about_a_missing_figure() -> None:
    empty = GpuState(0, GpuSample(), seen(FakeGpu()).gpus[0].listing)
    assert {value for value, _ in figures(empty).values()} == {"n/a"}
    assert all(help for _, help in figures(empty).values())
