from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, Precision, Situation
from core.data import DataSplits, Floats, InputContract, Split
from core.devices import Device, find_device
from core.errors import Unavailable
from core.progress import result_of
from profiling.cuda_graph import Replayed
from profiling.latency import measure_latency
from profiling.stages import measure_stages
from runtimes import RUNTIMES, Aids
from runtimes.cuda import graphed, staged
from runtimes.pytorch import PyTorch
from runtimes.runtime import Session
from runtimes.torch_settings import CompileSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
CONTRACT = InputContract(3, 32, 32, (120.0,) * 3, (60.0,) * 3, tuple("abcdefghij"))
TOLERANCES: dict[Precision, float] = {"fp32": 5e-3, "fp16": 1e-2, "bf16": 5e-2}
"""Of the largest logit. In fp32, PyTorch's convolutions round their inputs to TF32's 10 bits by default."""


class Net(nn.Module):
    """Convolutions with BatchNorm and a tensor made in forward, which has to follow the network to the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x).flatten(1)
        return self.head(features * torch.linspace(0.5, 1.5, 256, device=x.device, dtype=x.dtype))


@pytest.fixture(scope="module")
def gpu() -> Device:
    return find_device("cuda:0")


@pytest.fixture(scope="module")
def bundle() -> Callable[[Precision], ModelBundle]:
    torch.manual_seed(0)
    network = Net()
    for _ in range(5):
        network(torch.randn(16, 3, 32, 32) * 2 + 1)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 32, 32), np.uint8)
    split = Split(pixels, np.zeros((9, 1), np.int64))
    return lambda precision: ModelBundle(
        "net", "cnn", network.eval(), CONTRACT, DataSplits(split, split, split), precision
    )


@pytest.mark.parametrize("key", ["pytorch", "torch_compile", "aotinductor"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_logits_are_those_of_the_cpu(
    key: str, precision: Precision, bundle: Callable[[Precision], ModelBundle], gpu: Device, tmp_path: Path
) -> None:
    runtime, given = RUNTIMES[key], bundle(precision)
    if reason := runtime.why_unavailable(gpu):
        pytest.skip(reason)
    runtime.check(Situation("cnn", 0, 10, gpu, key, precision=precision))
    x: Floats = given.contract.prepare(given.data.test.pixels)
    with torch.no_grad():
        expected = given.module(torch.from_numpy(x)).numpy()
    with runtime.open(runtime.export(given, tmp_path, Aids(gpu)), gpu, threads=1) as session:
        nine, one = session.run(x), session.run(x[:1])
        before = torch.cuda.max_memory_allocated()
        session.bind(x)()
    assert nine.dtype == np.float32
    assert before > 0
    tolerance = TOLERANCES[precision] * np.abs(expected).max()
    np.testing.assert_allclose(nine, expected, atol=tolerance)
    np.testing.assert_allclose(one, expected[:1], atol=tolerance)


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"])
def test_each_compile_mode_gives_the_logits_of_the_cpu(
    mode: Any, bundle: Callable[[Precision], ModelBundle], gpu: Device, tmp_path: Path
) -> None:
    """With CUDA graphs, a later call writes where an earlier one's answer lay."""
    runtime, given = PyTorch(CompileSettings(mode=mode)), bundle("fp32")
    if reason := runtime.why_unavailable(gpu):
        pytest.skip(reason)
    x: Floats = given.contract.prepare(given.data.test.pixels)
    with torch.no_grad():
        expected = given.module(torch.from_numpy(x)).numpy()
    with runtime.open(runtime.export(given, tmp_path), gpu, threads=1) as session:
        first, infer = session.run(x), session.bind(x[::-1].copy())
        for _ in range(4):
            infer()
        second = session.run(x[::-1].copy())
        if mode == "max-autotune-no-cudagraphs":
            session.bind_graph(x)()
        else:
            with pytest.raises(Unavailable, match="CUDA graphs of its own"):
                session.bind_graph(x)
    np.testing.assert_allclose(first, expected, atol=TOLERANCES["fp32"] * np.abs(expected).max())
    np.testing.assert_allclose(second, expected[::-1], atol=TOLERANCES["fp32"] * np.abs(expected).max())


def test_a_library_for_the_gpu_is_refused_on_the_cpu_and_the_other_way_round(
    bundle: Callable[[Precision], ModelBundle], gpu: Device, tmp_path: Path
) -> None:
    runtime, cpu = RUNTIMES["aotinductor"], find_device("cpu")
    if reason := runtime.why_unavailable(gpu):
        pytest.skip(reason)
    for built_for, opened_on in ((gpu, cpu), (cpu, gpu)):
        artifact = runtime.export(bundle("fp32"), tmp_path, Aids(built_for))
        with pytest.raises(Unavailable, match=f"compiled for .*{built_for.kind}"):
            runtime.open(artifact, opened_on, threads=1)


CUDA_RUNTIMES = ("pytorch", "torch_compile", "aotinductor", "tensorrt")


@pytest.fixture(scope="module", params=CUDA_RUNTIMES)
def session(
    request: pytest.FixtureRequest,
    bundle: Callable[[Precision], ModelBundle],
    gpu: Device,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Session]:
    runtime = RUNTIMES[request.param]
    if reason := runtime.why_unavailable(gpu):
        pytest.skip(reason)
    artifact = runtime.export(bundle("fp32"), tmp_path_factory.mktemp(request.param), Aids(gpu))
    with runtime.open(artifact, gpu, threads=1) as opened:
        yield opened


def images(count: int) -> Floats:
    return np.random.default_rng(1).normal(size=(count, 3, 32, 32)).astype(np.float32)


def test_the_stages_of_a_large_batch_add_up_to_no_more_than_the_whole(session: Session) -> None:
    x = images(128)
    stages = measure_stages(session, x, seconds=0.5)
    whole = []
    for _ in range(50):
        began = time.perf_counter()
        session.run(x)
        whole.append(1000 * (time.perf_counter() - began))
    assert stages is not None
    assert min(stages.h2d_ms, stages.compute_ms, stages.d2h_ms, stages.launch_ms) > 0
    assert stages.h2d_ms > stages.d2h_ms  # 1.5 MB there, 5 kB back
    assert stages.h2d_ms + stages.compute_ms + stages.d2h_ms < 1.2 * np.median(whole)


def test_serving_goes_on_after_timing_stages_and_replaying_a_graph(session: Session) -> None:
    x = images(4)
    expected = session.run(x)
    measure_stages(session, x, seconds=0.05)
    replay = session.bind_graph(x)
    replay()
    replay()
    np.testing.assert_allclose(session.run(x), expected, atol=1e-5)


def test_a_graph_is_no_slower_than_launching_each_operation(session: Session) -> None:
    x = images(1)
    plain, replayed = (result_of(measure_latency(each, x, seconds=1.0)) for each in (session, Replayed(session)))
    assert replayed.p50_ms < 1.1 * plain.p50_ms


def test_a_replay_computes_on_what_lies_in_its_input(gpu: Device) -> None:
    device, kept = torch.device(gpu.id), {}
    weight, new = torch.randn(32, 32).to(device), torch.randn(1, 3, 32, 32).to(device)

    def infer(x: torch.Tensor) -> torch.Tensor:
        kept["input"], kept["output"] = x, x @ weight
        return kept["output"]

    replay = graphed(infer, np.zeros((1, 3, 32, 32), np.float32), device)
    with torch.inference_mode():
        kept["input"].copy_(new)
        replay()
        torch.testing.assert_close(kept["output"], new @ weight)


def test_a_network_that_waits_for_the_gpu_cannot_be_recorded_and_does_no_harm(gpu: Device) -> None:
    device = torch.device(gpu.id)
    stream = torch.cuda.current_stream(device)
    with pytest.raises(Unavailable, match="cannot be recorded as a CUDA graph"):
        graphed(lambda x: x * float(x.sum().item()), images(1), device)
    assert torch.cuda.current_stream(device) == stream
    assert float(torch.ones(8, device=device).sum()) == 8


def test_stages_are_timed_by_the_gpus_clock_and_launching_by_the_hosts(gpu: Device) -> None:
    device = torch.device(gpu.id)

    def launched_slowly(x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return x + 1

    _, _, _, launch_ms = staged(launched_slowly, images(1), device)()
    assert 20 <= launch_ms < 200
    matrix = torch.ones(8192, 8192, device=device)

    def computed_slowly(x: torch.Tensor) -> torch.Tensor:
        for _ in range(4):
            product = matrix @ matrix
        return x + product[0, 0]

    run = staged(computed_slowly, images(1), device)
    run()
    _, compute_ms, _, launch_ms = run()
    assert launch_ms < compute_ms
