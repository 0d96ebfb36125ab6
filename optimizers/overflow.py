"""Where 16-bit arithmetic leaves its range, and the repair. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.errors import RunFailed
from core.reduced import cast, float32_modules, in_float32, reduced

_NORMS = {"native_layer_norm": "LayerNorm", "native_group_norm": "GroupNorm", "_fused_rms_norm": "RMSNorm"}
"""Computed in one piece here, with float32 inside. Engines that take them apart square their input in 16 bits."""
_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Overflow:
    """An operation whose inputs are finite in 16 bits and whose output is not, although it is in float32."""

    module: str
    """The innermost module that it belongs to; "" is the network itself."""
    operation: str
    """As PyTorch calls it: `pow`, `bmm`; `squares of LayerNorm`, `cast to 16 bits`, or a weight that does not fit."""


def find_overflows(network: nn.Module, x: Tensor, dtype: torch.dtype) -> tuple[Overflow, ...]:
    """Every such operation for the images x[N, C, H, W], which lie where the network does; each once.

    What lies behind another overflow can only be seen once that is gone. Modules marked by `in_float32` are computed
    as they will be. The network stays as it is.
    """
    exact, coarse = copy.deepcopy(network).eval(), reduced(copy.deepcopy(network).eval(), dtype)
    if unfit := _unfit_weights(exact, coarse):
        return unfit
    unavoidable = set(_watch(exact, x))
    found = [each for each in _watch(coarse, cast(x, dtype)) if each not in unavoidable]
    return tuple(dict.fromkeys(overflow for overflow, _ in found))


def repaired(network: nn.Module, x: Tensor, dtype: torch.dtype) -> tuple[nn.Module, tuple[Overflow, ...]]:
    """A network without overflows on x[N, C, H, W], and those that it had; the given one where there are none.

    Modules in which something overflows stay in float32; one whose result does not fit takes the module around it
    along. Raises `RunFailed` where that would be the whole network.
    """
    seen: list[Overflow] = []
    while found := find_overflows(network, x, dtype):
        seen += found
        kept = float32_modules(network)
        culprits = {_around(each.module) if each.module in kept else each.module for each in found}
        if "" in culprits:
            raise _beyond_repair(found, dtype)
        network = in_float32(network, culprits)
    return network, tuple(dict.fromkeys(seen))


def _around(module: str) -> str:
    return module.rpartition(".")[0]


def _beyond_repair(found: Sequence[Overflow], dtype: torch.dtype) -> RunFailed:
    where = ", ".join(f"{each.operation} in {each.module or 'the network itself'}" for each in found)
    return RunFailed(
        f"Values leave the range of {_NAMES[dtype]} ({where}), and no part of the network could stay in float32 to "
        "mend it",
        action="Choose bf16, which has float32's range, or fp32" if dtype == torch.float16 else "Choose fp32",
    )


def _unfit_weights(exact: nn.Module, coarse: nn.Module) -> tuple[Overflow, ...]:
    """Weights and buffers that are finite, but not in 16 bits."""
    state = exact.state_dict()
    lost = [name for name, tensor in coarse.state_dict().items() if _is_finite(state[name]) and not _is_finite(tensor)]
    return tuple(Overflow(name.rpartition(".")[0], name.rpartition(".")[2]) for name in lost)


def _watch(network: nn.Module, x: Tensor) -> list[tuple[Overflow, int]]:
    """Operations that make something infinite of what is finite, with how often their like came before."""
    watcher = _Watcher()
    for name, module in network.named_modules():
        watcher.follow(name, module)
    with torch.no_grad(), _attention_in_steps(), watcher:
        network(x)
    return watcher.found


@contextmanager
def _attention_in_steps() -> Iterator[None]:
    """Attention as two products and a softmax in the network's own precision, which is how engines compute it."""
    backends = torch.backends.cuda
    before = backends.fp16_bf16_reduction_math_sdp_allowed()  # type: ignore[no-untyped-call]
    backends.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        backends.allow_fp16_bf16_reduction_math_sdp(before)


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation, and knows which module is at work."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[Overflow, int]] = []
        self._at_work = [""]
        self._times: Counter[Overflow] = Counter()

    def follow(self, name: str, module: nn.Module) -> None:
        """Take note of when the module works."""

        def enter(_module: nn.Module, _args: Any) -> None:
            self._at_work.append(name)

        def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
            self._at_work.pop()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, given = func.overloadpacket.__name__, tree_leaves((args, kwargs or {}))
        if "empty" in name:  # whatever memory holds
            return func(*args, **(kwargs or {}))
        # What is made infinite on purpose, a mask for attention, has that among its arguments.
        was_finite = func._schema.is_mutable and _is_finite(*given)  # afterwards its input is its output
        result = func(*args, **(kwargs or {}))
        if name in _NORMS and _largest_square(name, args) > torch.finfo(args[0].dtype).max:
            self._note(f"squares of {_NORMS[name]}")
        elif _tensors(given) and not _is_finite(*tree_leaves(result)) and (was_finite or _is_finite(*given)):
            self._note({"_to_copy": "cast to 16 bits"}.get(name, name.strip("_")))
        return result

    def _note(self, operation: str) -> None:
        overflow = Overflow(self._at_work[-1], operation)
        self.found.append((overflow, self._times[overflow]))
        self._times[overflow] += 1


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]


def _is_finite(*values: Any) -> bool:
    """Whether every number and every tensor of floats is."""
    numbers = (math.isfinite(value) for value in values if isinstance(value, float))
    return all(numbers) and all(_largest(tensor) < math.inf for tensor in _tensors(values))


def _largest(tensor: Tensor) -> float:
    """The largest magnitude, which is not a number where one is not."""
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _largest_square(name: str, args: Sequence[Any]) -> float:
    """What a norm that is taken apart would square first."""
    x: Tensor = args[0].float()
    if name == "native_layer_norm":
        x = x - x.mean(tuple(range(-len(args[1]), 0)), keepdim=True)
    elif name == "native_group_norm":
        rows = x.reshape(args[3] * args[6], -1)
        x = rows - rows.mean(1, keepdim=True)
    return _largest(x) ** 2
