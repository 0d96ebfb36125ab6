"""Narrower networks in every engine that is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.devices import find_device
from core.progress import result_of
from optimizers.structured_pruning import StructuredPruning
from optimizers.technique import Context
from runtimes import RUNTIMES
from sample_models.architectures import depthwise_cnn
from tests.optimizers.conftest import CLASSES, TinyNet, TinyTransformer, bundle_of


def depthwise() -> nn.Module:
    return depthwise_cnn(CLASSES, stem=16, layout=((16, 1), (32, 2)))


@pytest.mark.parametrize("runtime", ["pytorch", "onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("build", "family", "settings"),
    [
        (TinyNet, "cnn", {}),
        (depthwise, "cnn", {}),
        (TinyTransformer, "transformer", {"attention": "head_width"}),
        (TinyTransformer, "transformer", {"attention": "heads"}),
    ],
    ids=["residual", "depthwise", "head-width", "heads"],
)
def test_engines_answer_as_the_narrower_network(
    build: Any, family: str, settings: dict[str, Any], runtime: str, context: Context, tmp_path: Path
) -> None:
    engine, device = RUNTIMES[runtime], find_device("cpu")
    if reason := engine.why_unavailable(device):
        pytest.skip(reason)
    torch.manual_seed(0)
    bundle = bundle_of(build().eval(), family)
    technique = StructuredPruning(ratio=0.5, epochs=0, scan=False, **settings)
    pruned = result_of(technique.apply(bundle, context))
    (tmp_path / "artifact").mkdir()
    artifact = engine.export(pruned, tmp_path / "artifact")
    x = np.random.default_rng(0).normal(size=(3, 1, 12, 12)).astype(np.float32)
    with engine.open(artifact, device, threads=1) as session:
        found = session.run(x)
    expected = pruned.module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
