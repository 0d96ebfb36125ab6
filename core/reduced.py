"""A network that computes in 16 bits, but for the modules marked to stay in float32. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

_MARK = "stays_in_float32"


def in_float32(network: nn.Module, modules: Iterable[str]) -> nn.Module:
    """A copy in which these modules, by name, are marked: once `reduced`, they still compute in float32.

    Names, weights and float32 results stay as they are.
    """
    marked = copy.deepcopy(network)
    for name in modules:
        setattr(marked.get_submodule(name), _MARK, True)
    return marked


def float32_modules(network: nn.Module) -> tuple[str, ...]:
    """Names of the marked modules, without those inside another."""
    names = [name for name, module in network.named_modules() if hasattr(module, _MARK)]
    return tuple(name for name in names if not any(is_inside(name, other) for other in names if other != name))


def is_inside(name: str, outer: str) -> bool:
    """Whether the module `name` is `outer` or a part of it; every module is a part of the network, whose name is ""."""
    return not outer or name == outer or name.startswith(f"{outer}.")


def reduced(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network itself, turned into one of `dtype`; marked modules take and give it but compute in float32."""
    kept = [network.get_submodule(name) for name in float32_modules(network)]
    exact = [_own_tensors(part) for module in kept for part in module.modules()]
    network.to(dtype)
    for part, weights, buffers in exact:
        for name, weight in weights.items():  # a new object: whoever shares the weight outside has it in `dtype`
            part.register_parameter(name, nn.Parameter(weight, weight.is_floating_point()))
        for name, buffer in buffers.items():
            setattr(part, name, buffer)
    for module in kept:
        module.register_forward_pre_hook(_widen, with_kwargs=True)
        module.register_forward_hook(_narrow_to(dtype))
    return network


def _own_tensors(part: nn.Module) -> tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]:
    weights = {name: weight.detach().clone() for name, weight in part.named_parameters(recurse=False)}
    return part, weights, {name: buffer.clone() for name, buffer in part.named_buffers(recurse=False)}


def _widen(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    widened: tuple[tuple[Any, ...], dict[str, Any]] = tree_map(_widened, (args, kwargs))
    return widened


def _widened(value: Any) -> Any:
    value = cast(value, torch.float32)
    if isinstance(value, Tensor) and value.is_floating_point() and torch.onnx.is_in_onnx_export():
        # ONNX Runtime fuses a norm with a cast right before it into an operator that its CPU kernels lack
        # (https://github.com/microsoft/onnxruntime/issues/13556). What changes no number stands in between.
        return value.clamp(min=torch.finfo(torch.float32).min)
    return value


def _narrow_to(dtype: torch.dtype) -> Callable[[nn.Module, Any, Any], Any]:
    def narrow(_module: nn.Module, _args: Any, output: Any) -> Any:
        return tree_map(partial(cast, dtype=dtype), output)

    return narrow


def cast(value: Any, dtype: torch.dtype) -> Any:
    """A tensor of floats in `dtype`; anything else, such as tokens, as it is."""
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
