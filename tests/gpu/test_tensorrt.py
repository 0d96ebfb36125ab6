"""Engines that run: opened, bound, profiled, replayed, refused elsewhere, and built faster the second time."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, Precision
from core.data import Floats
from core.devices import Device, find_device
from core.errors import BadInput, Unavailable
from core.progress import Event, Progress
from runtimes.runtime import Aids, Artifact, Session
from runtimes.tensorrt_ import TensorRt, TensorRtSettings
from runtimes.tensorrt_facts import read_facts, write_facts
from runtimes.tensorrt_module import FULL, module_name
from tests.optimizers.conftest import CONTRACT, TinyNet, bundle_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
RUNTIME = TensorRt(TensorRtSettings(usual_batch=8, largest_batch=32))
TOLERANCES: dict[Precision, float] = {"fp32": 5e-3, "fp16": 2e-2, "bf16": 1e-1}
"""Of the largest logit. In fp32, convolutions round their inputs to TF32's 10 bits."""


@pytest.fixture(scope="module")
def gpu() -> Device:
    device = find_device("cuda:0")
    if reason := RUNTIME.why_unavailable(device):
        pytest.skip(reason)
    return device


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    torch.manual_seed(0)
    return bundle_of(TinyNet(width=32).eval())


@pytest.fixture(scope="module")
def artifact(bundle: ModelBundle, gpu: Device, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return RUNTIME.export(bundle, tmp_path_factory.mktemp("engine"), Aids(gpu))


@pytest.fixture
def session(artifact: Artifact, gpu: Device) -> Iterator[Session]:
    with RUNTIME.open(artifact, gpu, threads=1) as opened:
        yield opened


def images(count: int) -> Floats:
    return np.random.default_rng(count).normal(size=(count, *CONTRACT.shape)).astype(np.float32)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_it_computes_what_the_network_does(bundle: ModelBundle, precision: Any, gpu: Device, tmp_path: Path) -> None:
    events: list[Event] = []
    built = RUNTIME.export(replace(bundle, precision=precision), tmp_path, Aids(gpu, report=events.append))
    facts = read_facts(tmp_path)
    assert facts is not None
    assert (facts.compute_capability, facts.is_ahead, facts.gpu) == (gpu.compute_capability, False, gpu.name)
    assert any(isinstance(event, Progress) for event in events)
    with torch.no_grad(), RUNTIME.open(built, gpu, threads=1) as session:
        for count in (1, 8, 32):
            expected = bundle.module(torch.from_numpy(images(count))).numpy()
            given = session.run(images(count))
            assert given.dtype == np.float32
            np.testing.assert_allclose(given, expected, atol=TOLERANCES[precision] * np.abs(expected).max())


def test_more_images_than_it_was_built_for_are_refused(session: Any) -> None:
    assert session.largest_batch == 32
    for way in (session.run, session.bind, session.bind_graph, session.stages):
        with pytest.raises(BadInput, match="a batch of 33 images; expected at most 32"):
            way(images(33))
    assert len(session.run(images(32))) == 32


def test_bound_and_replayed_it_goes_on_serving(session: Any) -> None:
    x = images(4)
    expected = session.run(x)
    for infer in (session.bind(x), session.bind_graph(x)):
        infer()
        infer()
    np.testing.assert_allclose(session.run(x), expected, atol=1e-5)


def test_a_profile_names_the_layers_and_leaves_the_inspectors_words(artifact: Artifact, gpu: Device) -> None:
    profile = RUNTIME.profile(artifact, gpu, threads=1, x=images(8))
    assert profile.layers
    assert all(layer.time_ms >= 0 for layer in profile.layers)
    inspected = json.loads((artifact.folder / "engine-layers.json").read_text())
    assert inspected["Layers"]
    assert "engine-layers.json" not in artifact.files


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"compute_capability": (1, 0), "gpu": "another GPU"}, r"built for another GPU \(compute capability 1.0\)"),
        ({"version": "0.0.1"}, "built by .* 0.0.1, and .* is installed"),
    ],
)
def test_an_engine_of_another_gpu_or_version_is_refused(
    change: dict[str, Any], sentence: str, artifact: Artifact, gpu: Device, tmp_path: Path
) -> None:
    shutil.copytree(artifact.folder, tmp_path, dirs_exist_ok=True)
    facts = read_facts(tmp_path)
    assert facts is not None
    write_facts(facts.model_copy(update=change), tmp_path)
    elsewhere = replace(artifact, folder=tmp_path)
    with pytest.raises(Unavailable, match=sentence):
        RUNTIME.open(elsewhere, gpu, threads=1)
    with pytest.raises(Unavailable, match=sentence):
        RUNTIME.profile(elsewhere, gpu, threads=1, x=images(1))


def test_a_damaged_engine_is_refused(artifact: Artifact, gpu: Device, tmp_path: Path) -> None:
    shutil.copytree(artifact.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / artifact.files[0]).write_bytes(b"no engine" * 100)
    with pytest.raises(Unavailable, match="does not open on"):
        RUNTIME.open(replace(artifact, folder=tmp_path), gpu, threads=1)


def test_intermediate_results_are_those_of_the_network(bundle: ModelBundle, artifact: Artifact, gpu: Device) -> None:
    x, seen = images(4), []
    hook = bundle.module.stem.register_forward_hook(lambda _module, _given, output: seen.append(output))
    with torch.no_grad():
        bundle.module(torch.from_numpy(x))
    hook.remove()
    expected = seen[0].numpy()
    shown = [
        RUNTIME.probe(artifact, gpu, threads=1, x=x, name=name)
        for name in RUNTIME.tensors(artifact)
        if "relu" in name.lower()
    ]
    closest = min(np.abs(each - expected).max() for each in shown if each.shape == expected.shape)
    assert closest < TOLERANCES["fp32"] * np.abs(expected).max()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_it_builds_and_runs_on_the_gpu_that_was_chosen(bundle: ModelBundle, tmp_path: Path) -> None:
    second = find_device("cuda:1")
    built = RUNTIME.export(bundle, tmp_path, Aids(second))
    with RUNTIME.open(built, second, threads=1) as session:
        before = torch.cuda.memory_allocated(0)
        session.bind(images(8))()
        assert torch.cuda.memory_allocated(0) == before
        assert torch.cuda.current_device() == 0


class Deep(nn.Module):
    """Many convolutions of different widths, so that there is much to time."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, *range(32, 32 + 16 * 12, 16)]
        self.body = nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1], len(CONTRACT.labels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).relu().mean((2, 3)))


@pytest.mark.skipif(module_name() != FULL, reason="TensorRT for RTX times nothing when it builds")
def test_a_second_build_is_faster_by_the_timings_of_the_first(gpu: Device, tmp_path: Path) -> None:
    """The medians of three builds with an empty folder and of three with what these left behind, in turns."""
    torch.manual_seed(0)
    deep = bundle_of(Deep().eval())

    def seconds(cache: Path) -> float:
        folder = tmp_path / "built"
        folder.mkdir(exist_ok=True)
        began = time.perf_counter()
        RUNTIME.export(deep, folder, Aids(gpu, cache))
        return time.perf_counter() - began

    seconds(tmp_path)  # libraries load, and the first timings are kept
    assert list(tmp_path.glob("tensorrt-*.timing"))
    first, second = [], []
    for number in range(3):
        (empty := tmp_path / f"empty-{number}").mkdir()
        first.append(seconds(empty))
        second.append(seconds(tmp_path))
        facts = read_facts(tmp_path / "built")
        assert facts is not None
        assert facts.reused_timings
    assert median(second) < 0.8 * median(first)
