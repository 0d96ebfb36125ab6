"""Frozen weights, and compile modes that replay CUDA graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import ModelBundle, Situation
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.macs import count_macs
from runtimes import RUNTIMES, with_settings
from runtimes.torch_session import SelfGraphedSession
from runtimes.torch_settings import CompileSettings

GPU = Device("cuda:0", "cuda", "Test GPU", 1 << 34, compute_capability=(9, 0))


def test_frozen_weights_are_packed_and_answer_the_same(bundle: ModelBundle, cpu: Device, tmp_path: Path) -> None:
    runtime = with_settings(RUNTIMES["torch_compile"], CompileSettings(freeze=True))
    if reason := runtime.why_unavailable(cpu):
        pytest.skip(reason)
    x = bundle.contract.prepare(bundle.data.test.pixels)
    artifact = runtime.export(bundle, tmp_path)
    plain = RUNTIMES["pytorch"].export(bundle, tmp_path)
    with RUNTIMES["pytorch"].open(plain, cpu, threads=1) as session:
        expected = session.run(x)
    with runtime.open(artifact, cpu, threads=1) as session:
        np.testing.assert_allclose(session.run(x[:1]), expected[:1], atol=1e-4)
        np.testing.assert_allclose(session.run(x), expected, atol=1e-4)
    profile = runtime.profile(artifact, cpu, threads=1, x=x)
    assert any("mkldnn" in layer.op for layer in profile.of("compute"))
    assert profile.macs == len(x) * count_macs(bundle.module, bundle.contract)


def test_frozen_weights_are_for_cpus_and_named_in_the_title(cpu: Device) -> None:
    runtime = with_settings(RUNTIMES["torch_compile"], CompileSettings(freeze=True))
    assert runtime.settings.label() == "frozen"
    runtime.check(Situation("cnn", 7, 10, cpu, "torch_compile"))
    with pytest.raises(CannotCompose, match="frozen weights on a GPU"):
        runtime.check(Situation("cnn", 7, 10, GPU, "torch_compile"))


def test_what_replays_graphs_itself_is_told_of_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: told.append("begin"))

    def network(x: torch.Tensor) -> torch.Tensor:
        told.append("call")
        return 2 * x

    session = SelfGraphedSession(network, torch.device("cpu"), threads=1)
    assert session.run(np.float32([[1, 2]])).tolist() == [[2, 4]]
    session.bind(np.float32([[5, 6]]))()
    assert told == ["begin", "call"] * 2


def test_no_graph_is_recorded_around_another() -> None:
    session = SelfGraphedSession(lambda x: x, torch.device("cuda:0"), threads=1)
    with pytest.raises(Unavailable, match="CUDA graphs of its own"):
        session.bind_graph(np.zeros((1, 2), np.float32))
