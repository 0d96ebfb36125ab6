"""Traces of networks of PyTorch. Imports torch: import it inside functions only.

An exporter gives every intermediate result a name, and engines keep many of these names. So the exported program, run
by torch itself, tells what an engine ought to have computed under each of them. Two exporters name differently:
`onnx_trace` follows the one for ONNX, whose names OpenVINO keeps too, and `program_trace` the one for `.pt2`.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn

from core.data import Contract, Floats, Inputs
from core.onnx_export import onnx_program
from core.trace import Trace, Value

_REDUCED = (torch.float16, torch.bfloat16)
_INSIDE = "network"
"""The submodule that a network in 16 bits keeps its own modules in, between its casts."""


def onnx_trace(network: nn.Module, contract: Contract, source: nn.Module | None = None) -> Trace:
    """The results by the names that they have in the ONNX graph of the network.

    Where it is a copy of `source` in 16 bits, between casts, its modules and weights are those of `source`.
    Comparable are only those that are left in the optimised graph: where the exporter merges a BatchNorm into the
    convolution before it, the convolution's own result is gone, and the merged one may go by its name elsewhere.
    """
    program = onnx_program(network, contract)
    kept = {tensor for node in program.model_proto.graph.node for tensor in node.output}
    assert program.exported_program is not None
    return _trace(program.exported_program, kept, logits="logits", source=source)


def program_trace(network: nn.Module, contract: Contract, source: nn.Module | None = None) -> Trace:
    """The results by the names that they have in the exported program of the network; `source` as for ONNX."""
    exported = copy.deepcopy(network).cpu().eval()
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(exported, (torch.from_numpy(contract.example(2)),), dynamic_shapes=({0: batch},))
    return _trace(program, None, logits="", source=source)


def up_to(network: fx.GraphModule, name: str) -> fx.GraphModule:
    """The same network, ending with the node of that name; it shares its weights."""
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in network.graph.nodes:
        copied[node] = graph.node_copy(node, copied.__getitem__)
        if node.name == name:
            graph.output(copied[node])
            break
    shortened = fx.GraphModule(network, graph)
    shortened.graph.eliminate_dead_code()
    shortened.recompile()
    return shortened


def _trace(
    program: torch.export.ExportedProgram, kept: Collection[str] | None, *, logits: str, source: nn.Module | None
) -> Trace:
    """`logits` is what the output is called outside, where that is not its node's name."""
    network = program.module()
    assert isinstance(network, fx.GraphModule)
    inside = "" if source is None else _INSIDE
    _compute_in_float32(network)
    if source is not None:
        _restore(network, source)
    modules = {node.name: _relative(_module(node), inside) for node in program.graph.nodes}
    last = _last(network.graph)
    values: dict[str, Value] = {}
    named: dict[fx.Node, str] = {}
    inputs = {node for node in network.graph.nodes if node.op == "placeholder"}
    for node in network.graph.nodes:
        before = node.all_input_nodes
        if node.op == "call_function" and any(each in named or each in inputs for each in before):
            named[node] = logits if logits and node.name == last else node.name
            layers = tuple(dict.fromkeys(_relative(_owner(each), inside) for each in before if each.op == "get_attr"))
            sources = tuple(named[each] for each in before if each in named)
            values[named[node]] = Value(_op(node), modules.get(node.name, ""), layers, sources)
    nodes = {name: node.name for node, name in named.items()}
    tensors = {node.name for node in program.graph.nodes if _is_float(node.meta.get("val"))}
    comparable = {name for name in values if nodes[name] in tensors and (kept is None or name in kept)}

    def compute(name: str, x: Inputs) -> Floats:
        with torch.inference_mode():
            value: Floats = up_to(network, nodes[name])(torch.from_numpy(x)).numpy()
        return value

    return Trace(values, frozenset(comparable), logits or last, compute)


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _last(graph: fx.Graph) -> str:
    (result,) = next(node for node in graph.nodes if node.op == "output").all_input_nodes
    return str(result.name)


def _op(node: fx.Node) -> str:
    if node.target is operator.getitem:  # one of several results of the operation before it
        return _op(node.all_input_nodes[0])
    return str(node.target).removesuffix(".default") if isinstance(node.target, torch._ops.OpOverload) else node.name


def _module(node: fx.Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _owner(parameter: fx.Node) -> str:
    """The module of a parameter, or the parameter's own name where it is the network's itself."""
    name = str(parameter.target).split(".parametrizations")[0]
    return name.rpartition(".")[0] or name


def _relative(name: str, inside: str) -> str:
    return "" if name == inside else name.removeprefix(f"{inside}.")


def _restore(network: fx.GraphModule, source: nn.Module) -> None:
    """Undo the rounding of the weights, in place."""
    exact = source.state_dict()
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if (weight := exact.get(_relative(name, _INSIDE))) is not None:
            tensor.data.copy_(weight)


def _compute_in_float32(network: fx.GraphModule) -> None:
    """Take out of a network in 16 bits all that makes it one, in place; its names stay."""
    network.float()
    for node in list(network.graph.nodes):
        if "_assert_tensor_metadata" in str(node.target):
            network.graph.erase_node(node)
        else:
            node.args = fx.node.map_aggregate(node.args, _widened)
            node.kwargs = fx.node.map_aggregate(node.kwargs, _widened)
    network.recompile()


def _widened(argument: Any) -> Any:
    return torch.float32 if argument in _REDUCED else argument
