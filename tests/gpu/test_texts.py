"""A classifier of texts on a GPU: trained, lowered and served there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import ModelBundle
from core.data import Floats
from core.devices import Device, find_device
from core.progress import result_of
from optimizers import TECHNIQUES, Context
from profiling.cuda_graph import Replayed
from runtimes import RUNTIMES, Aids
from tests.optimizers.conftest import build_network
from tests.optimizers.texts import text_bundle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.fixture(scope="module")
def gpu() -> Device:
    return find_device("cuda:0")


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return text_bundle()


@pytest.fixture
def context(gpu: Device, tmp_path: Path) -> Context:
    return Context(gpu, 1, 0, tmp_path, build_network, runtime="pytorch", original=text_bundle)


def served(bundle: ModelBundle, runtime: str, device: Device, folder: Path) -> Floats:
    engine = RUNTIMES[runtime]
    if reason := engine.why_unavailable(device):
        pytest.skip(reason)
    (place := folder / runtime).mkdir()
    x = bundle.contract.prepare(bundle.data.test.pixels)
    with engine.open(engine.export(bundle, place, Aids(device)), device, threads=1) as session:
        session.bind(x[:3])()
        return session.run(x)


def exact(bundle: ModelBundle) -> Floats:
    with torch.no_grad():
        logits: Floats = bundle.module(torch.from_numpy(bundle.contract.prepare(bundle.data.test.pixels))).numpy()
    return logits


@pytest.mark.parametrize("runtime", ["pytorch", "torch_compile", "aotinductor", "onnxruntime", "tensorrt"])
def test_engines_answer_tokens_as_the_cpu_does(bundle: ModelBundle, gpu: Device, runtime: str, tmp_path: Path) -> None:
    found, wanted = served(bundle, runtime, gpu, tmp_path), exact(bundle)
    np.testing.assert_allclose(found, wanted, atol=5e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_tokens_stay_integers_where_floats_become_small(
    bundle: ModelBundle, context: Context, gpu: Device, precision: str, tmp_path: Path
) -> None:
    done = result_of(TECHNIQUES["mixed_precision"](precision=precision).apply(bundle, context))
    answers = served(done, "pytorch", gpu, tmp_path).argmax(1)
    assert (answers == exact(bundle).argmax(1)).mean() > 0.95


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("structured_pruning", {"attention": "heads", "ratio": 0.5, "epochs": 2, "train_in": "bf16"}),
        ("distillation", {"student": "itself", "hints": "features", "epochs": 1, "control_seeds": 0}),
    ],
)
def test_it_learns_on_the_gpu(
    bundle: ModelBundle, context: Context, key: str, settings: dict[str, object], tmp_path: Path
) -> None:
    done = result_of(TECHNIQUES[key](**settings).apply(bundle, replace(context, folder=tmp_path)))
    assert next(done.module.parameters()).device.type == "cpu"
    assert np.isfinite(exact(done)).all()


def test_a_cuda_graph_of_it_is_replayed(bundle: ModelBundle, gpu: Device, tmp_path: Path) -> None:
    engine, x = RUNTIMES["pytorch"], bundle.contract.prepare(bundle.data.test.pixels[:4])
    with engine.open(engine.export(bundle, tmp_path), gpu, threads=1) as session:
        Replayed(session).bind(x)()
