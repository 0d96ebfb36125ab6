from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from core.onnx_export import LAYERS, export_onnx
from tests.optimizers.conftest import CONTRACT, TinyNet, TinyTransformer


@pytest.fixture(autouse=True)
def same_weights() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("network", [TinyNet().eval(), TinyTransformer().eval()], ids=["cnn", "transformer"])
def test_layers_carry_the_names_of_their_modules(network: nn.Module) -> None:
    graph = onnx.load_from_string(export_onnx(network, CONTRACT, name_layers=True)).graph
    named = [node.name for node in graph.node if node.op_type in LAYERS]
    modules = [name for name, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    assert [name for name in named if "/" not in name] == modules
    assert len(set(named)) == len(named)
    products = [name for name in named if "/" in name]
    assert products == [f"blocks.{block}.attn/{place}" for block in (0, 1) for place in (0, 1)] * (
        "blocks" in str(named)
    )


def test_the_file_tells_nothing_about_the_machine_it_was_made_on() -> None:
    model = onnx.load_from_string(export_onnx(TinyNet().eval(), CONTRACT))
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")  # any three letters can stand in them by chance
    content = model.SerializeToString()
    assert b".py" not in content
    assert b"site-packages" not in content


def test_the_graph_answers_like_the_module_for_any_batch() -> None:
    network = TinyNet().eval()
    session = onnxruntime.InferenceSession(export_onnx(network, CONTRACT))
    for count in (1, 5):
        x = np.random.default_rng(0).normal(size=(count, 1, 12, 12)).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(session.run(["logits"], {"input": x})[0], expected, rtol=1e-3, atol=1e-4)
