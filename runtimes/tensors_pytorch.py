"""The intermediate tensors of an exported program, each as PyTorch computes it, eagerly or compiled.

Imports torch: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx

from core.data import Floats, Inputs
from core.torch_trace import up_to


def program_tensors(network: fx.GraphModule) -> tuple[str, ...]:
    """Names of what the operations of the program make, in order; without what only changes the number format."""
    return tuple(
        node.name for node in network.graph.nodes if node.op == "call_function" and "quantize_per" not in node.name
    )


def probe_program(
    network: fx.GraphModule,
    device: torch.device,
    *,
    x: Inputs,
    name: str,
    prepare: Callable[[fx.GraphModule], Callable[[Tensor], Tensor]] | None = None,
) -> Floats:
    """The tensor for x[N, C, H, W] as float32.

    `prepare` makes of a program what serves it, such as a compiled one; None runs it as it is. What comes after the
    tensor is left out. Of a tensor that is rounded to integers it is the rounded values, as later operations read them.
    """
    shortened = up_to(network, _rounded(network, name))
    serving = prepare(shortened) if prepare else shortened
    with torch.inference_mode():
        tensor: Floats = serving(torch.tensor(x, device=device)).float().cpu().numpy()
    return tensor


def _rounded(network: fx.GraphModule, name: str) -> str:
    node = next(node for node in network.graph.nodes if node.name == name)
    integers = _reader(node, "quantize_per_tensor")
    floats = _reader(integers, "dequantize_per_tensor") if integers else None
    return floats.name if floats else name


def _reader(node: fx.Node, operation: str) -> fx.Node | None:
    return next((user for user in node.users if user.name.startswith(operation)), None)
