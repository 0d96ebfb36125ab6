"""The memory of exported graphs that other tests rely on: it answers as the exporter does, and tells networks apart."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import nn

from tests.exported_before import keeping, key_of


class Scaled(nn.Module):
    """Two layers and a number that is no weight."""

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__()
        self.first, self.second, self.scale = nn.Linear(4, 4), nn.Linear(4, 4), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) * self.scale


def exported(network: nn.Module, args: tuple[torch.Tensor, ...]) -> torch.onnx.ONNXProgram:
    program = torch.onnx.export(network, args, dynamo=True, external_data=False, verbose=False)
    assert program
    return program


def test_an_equal_network_gets_the_same_graph_without_being_exported() -> None:
    asked = []

    def counted(network: nn.Module, args: tuple[torch.Tensor, ...], *, dynamo: bool) -> torch.onnx.ONNXProgram:
        assert dynamo
        asked.append(network)
        return exported(network, args)

    remembering, x = partial(keeping(counted), dynamo=True), (torch.zeros(1, 4),)
    network = Scaled().eval()
    first, again = remembering(network, x), remembering(copy.deepcopy(network), x)
    assert len(asked) == 1
    assert again.model_proto == first.model_proto == exported(network, x).model_proto
    again.model_proto.graph.ClearField("node")
    assert remembering(network, x).model_proto == first.model_proto
    assert again.exported_program.graph_signature == first.exported_program.graph_signature
    assert len(asked) == 2  # nothing but the graph is kept
    remembering(network, (torch.zeros(2, 4),))
    assert len(asked) == 3


def test_whatever_makes_another_graph_makes_another_key() -> None:
    network = Scaled().eval()
    others = [copy.deepcopy(network) for _ in range(5)]
    others[0].scale = 3.0
    others[1].first.weight.data[0, 0] += 1
    others[2].train()
    others[3].second = others[3].first
    others[4].second.load_state_dict(others[4].first.state_dict())
    keys = {key_of(each) for each in (network, *others)}
    assert None not in keys
    assert len(keys) == 6
    assert key_of(copy.deepcopy(network)) == key_of(network)


def test_what_cannot_be_pickled_has_no_key() -> None:
    class Local(nn.Module):
        pass

    assert key_of(Local()) is None
    hooked = nn.Linear(1, 1)
    hooked.register_forward_hook(lambda *_: None)
    assert key_of(hooked) is None
