from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from core.devices import Device, find_device
from core.errors import RunFailed
from experiments import server
from experiments.server import ROOT, ServedArtifact
from runtimes.runtime import Artifact
from tests.experiments.tiny import MEAN, STD, odd_artifact, onnx_artifact

CPU: Device = find_device("cpu")
ON_UNIX = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SERVER", (sys.executable, "-m", "tests.experiments.tiny"))


def serve(artifact: Artifact) -> ServedArtifact:
    return ServedArtifact(artifact, CPU, threads=1, batch_size=2)


def test_a_process_serves_blocks_of_calls_and_tells_what_opening_took(tmp_path: Path) -> None:
    with serve(onnx_artifact(tmp_path)) as served:
        process = psutil.Process(served._process.pid)
        opened = served.opened()
        blocks = [served.block(5.0), served.block(20.0)]
        loaded = {Path(each.path).name for each in process.memory_maps()} if sys.platform == "linux" else set()
    assert 0 < opened.cold_open_ms < opened.cold_start_ms
    assert opened.memory.batch_size == 2
    assert opened.memory.process_delta_rss_bytes > 2**20  # the engine's libraries at least
    for block, lasting_ms in zip(blocks, (5.0, 20.0), strict=True):
        assert sum(block.calls_ms) >= lasting_ms
        assert sum(block.calls_ms[:-1]) < lasting_ms
        assert min(block.calls_ms) > 0
        assert block.contended_share is None or 0 <= block.contended_share <= 1
    assert not any(name.startswith("libtorch") for name in loaded)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_its_input_is_the_images_beside_the_artifact_repeated(tmp_path: Path) -> None:
    onnx_artifact(tmp_path)
    pixels = np.load(tmp_path / "samples.npz")["pixels"].astype(np.float64)
    x = server._inputs(tmp_path, 5)
    assert x.dtype == np.float32
    assert x == pytest.approx((pixels[[0, 1, 2, 0, 1]] - MEAN[0]) / STD[0], abs=1e-5)


def test_a_bad_file_is_one_sentence(tmp_path: Path) -> None:
    artifact = onnx_artifact(tmp_path)
    artifact.main_file.write_bytes(b"not a graph")
    with serve(artifact) as served:
        with pytest.raises(RunFailed, match=r"^model\.onnx cannot be served by onnxruntime \(") as caught:
            served.opened()
        assert "\n" not in str(caught.value)
        with pytest.raises(RunFailed, match="ended with code 1"):
            served.block(5.0)


def test_missing_companions_are_one_sentence(tmp_path: Path) -> None:
    artifact = onnx_artifact(tmp_path)
    (tmp_path / "samples.npz").unlink()
    with serve(artifact) as served, pytest.raises(RunFailed, match=r"samples\.npz"):
        served.opened()


@pytest.mark.usefixtures("odd")
def test_what_libraries_print_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    with serve(odd_artifact(tmp_path, "prints")) as served:
        served.opened()
        assert served.block(5.0).calls_ms


@ON_UNIX
@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("habit", "words"),
    [
        ("crashes", r"crashed inside a library \(SIGSEGV\)"),
        ("is killed", "for want of memory"),
        ("refuses", r"\(ValueError: no more\)\.$"),
    ],
)
def test_each_end_of_the_process_is_one_sentence(tmp_path: Path, habit: str, words: str) -> None:
    with serve(odd_artifact(tmp_path, habit)) as served:
        served.opened()
        with pytest.raises(RunFailed, match=words):
            served.block(5.0)


@pytest.mark.usefixtures("odd")
def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with serve(odd_artifact(tmp_path, "hangs")) as served:
        with pytest.raises(RunFailed, match=r"no answer within 0\.5 seconds"):
            served.opened(timeout_s=0.5)
        assert served._process.poll() is not None


@ON_UNIX
@pytest.mark.parametrize("habit", ["hangs", "sleeps"])
def test_it_ends_with_the_process_that_started_it(tmp_path: Path, habit: str) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from core.devices import find_device
from experiments import server
from tests.experiments.tiny import odd_artifact
server.SERVER = (sys.executable, "-m", "tests.experiments.tiny")
artifact = odd_artifact(Path({str(tmp_path)!r}), {habit!r})
with server.ServedArtifact(artifact, find_device("cpu"), threads=1, batch_size=1) as served:
    if {habit != "hangs"}:
        served.opened()
    print(served._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    pid = int(done.stdout)
    end = time.monotonic() + 60
    while time.monotonic() < end and _lives(pid):
        time.sleep(0.05)
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_planted_slowdown_stretches_each_call_by_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0

    def look() -> int:
        nonlocal now
        now += 1
        return now

    def infer() -> None:
        nonlocal now
        now += 10_000

    monkeypatch.setattr(time, "perf_counter_ns", look)
    server._slowed(infer, 0.1)()
    assert 11_000 <= now <= 11_010
    assert server._slowed(infer, 0.0) is infer
