"""What PyTorch's own hooks see in a network, by the names that an exporter gave."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.data import Floats
from core.torch_trace import onnx_trace, program_trace


def hooked(bundle: ModelBundle, *, form: str) -> tuple[Floats, dict[str, Floats]]:
    """x of all test images, and the outputs of ReLUs, BatchNorms and linear layers for it, by name in that form."""
    network = copy.deepcopy(bundle.module).eval()
    x = bundle.contract.prepare(bundle.data.test.pixels)
    trace = {"onnx": onnx_trace, "pt2": program_trace}[form](network, bundle.contract)
    names = {value.module: name for name, value in trace.values.items() if name in trace.comparable}
    outputs: dict[str, Floats] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _args, output: outputs.__setitem__(name, output.numpy().copy())

    wanted = [
        (names[name], each)
        for name, each in network.named_modules()
        if isinstance(each, nn.ReLU | nn.BatchNorm2d | nn.Linear)
    ]
    handles = [each.register_forward_hook(keep(name)) for name, each in wanted]
    with torch.inference_mode():
        network(torch.from_numpy(x))
    for handle in handles:
        handle.remove()
    return x, outputs
