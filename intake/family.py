"""Whether a network is a convolutional one or a transformer. Imports torch inside its functions."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from core.bundle import Family, Network, OnnxGraph, PlainNetwork
from core.data import Contract, TextContract
from core.tflite_file import TfliteFile, tflite_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_ATTENTION = ("bmm", "attention")
"""In the names of the operators that multiply two activations."""
_TOKENS = 3
"""Dimensions of a linear layer's input, at least, where it is given tokens: x[N, tokens, channels]."""


def family_of(network: Network, contract: Contract) -> Family:
    """`transformer` where attention and the linear layers over its tokens multiply more than convolutions do.

    Linear layers that see an image as one vector, as the classifiers of AlexNet and VGG, count for neither; without
    attention, as in ConvNeXt and MLP-Mixer, it is no transformer. Found by running it once; an ONNX graph and a
    `.tflite` file are asked for their operators.
    """
    if isinstance(contract, TextContract):
        return "transformer"
    if isinstance(network, OnnxGraph):
        return _family_of_graph(network)
    if content := tflite_of(network):
        return _family_of_file(content)
    assert not isinstance(network, PlainNetwork), "nobody brings one"
    attention, tokens, convolutions = _multiplied(network, contract)
    return "transformer" if attention and attention + tokens > convolutions else "cnn"


def _multiplied(network: nn.Module, contract: Contract) -> tuple[int, int, int]:
    """Twice the multiplications of one image: of two activations, of linear layers over tokens, of convolutions."""
    import torch
    from torch import nn
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    copied = copy.deepcopy(network).float().cpu().eval().requires_grad_()
    alone = [0]

    def look(layer: nn.Linear, args: tuple[Tensor, ...], _output: Tensor) -> None:
        if args[0].dim() < _TOKENS:
            alone[0] += 2 * args[0].numel() * layer.out_features

    for module in copied.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(look)
    # The counter sees no attention in CPU flash kernels, nor in the fused layers that PyTorch takes without gradients.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        copied(torch.from_numpy(contract.example(1)))
    counts = {str(operator): int(count) for operator, count in counter.get_flop_counts()["Global"].items()}
    convolutions = sum(count for name, count in counts.items() if "convolution" in name)
    attention = sum(count for name, count in counts.items() if any(part in name for part in _ATTENTION))
    return attention, sum(counts.values()) - attention - convolutions - alone[0], convolutions


def _family_of_graph(graph: OnnxGraph) -> Family:
    """The same of an ONNX graph, as far as its operators tell: a softmax between products is attention."""
    from onnx import load_from_string

    nodes = list(load_from_string(graph.content).graph.node)
    makers = {name: node.op_type for node in nodes for name in node.output}
    attends = any(node.op_type == "MatMul" and makers.get(node.input[0]) == "Softmax" for node in nodes)
    return "transformer" if attends or any(node.op_type == "Attention" for node in nodes) else "cnn"


def _family_of_file(content: bytes) -> Family:
    """The same of a `.tflite` file, in which products of two activations are operators of their own."""
    names = [operator.name for operator in TfliteFile(content).operators]
    return "transformer" if "BATCH_MATMUL" in names and "SOFTMAX" in names else "cnn"
