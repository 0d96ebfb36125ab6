"""One forward pass, watched operation by operation. Imports torch: import it inside functions only."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.anatomy import MemoryStep
from profiling.multiplications import multiplications

_PARAMETRISATION = re.compile(r"(^|\.)parametrizations\..*$")
"""What torch.nn.utils.parametrize puts between a module and its parameters; it belongs to the module."""


@dataclass
class Work:
    """What one module did itself, all its calls together."""

    macs: int = 0
    output_shape: tuple[int, ...] = ()
    """Of the first tensor that its last call handed on."""
    output_bytes: int = 0
    """Of all tensors that its calls handed on."""


@dataclass
class Pass:
    """What a forward pass did, and where."""

    works: dict[str, Work] = field(default_factory=dict)
    """By module, in the order in which they first computed something of their own; "" is the network's own forward."""
    called: set[str] = field(default_factory=set)
    """All modules whose forward ran, those included that computed nothing."""
    memory: list[MemoryStep] = field(default_factory=list)
    """After every operation that allocated memory."""
    users: dict[str, str] = field(default_factory=dict)
    """By parameter, the module that used it first."""


def owner_of(parameter: str) -> str:
    """The module that a parameter belongs to: `conv` of `conv.weight` and of `conv.parametrizations.weight.original0`.

    >>> owner_of("conv.weight"), owner_of("conv.parametrizations.weight.original0"), owner_of("scale")
    ('conv', 'conv', '')
    """
    found, changed = _PARAMETRISATION.subn("", parameter)
    return found if changed else parameter.rpartition(".")[0]


def own_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The modules by name, without those that only make another's parameters."""
    return {name: module for name, module in network.named_modules() if not _PARAMETRISATION.search(name)}


@contextmanager
def plain_forward() -> Iterator[None]:
    """Inside the block no gradients are kept and attention is computed operation by operation, as modules say."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def watch(network: nn.Module, x: Tensor) -> Pass:
    """Run the network in evaluation mode on x[N, C, H, W] and see what each module does; it stays as it is.

    Memory is that of results which something still refers to: of views once, of weights never, of x always.
    """
    watcher = _Watcher(network, x)
    with ExitStack() as stack:
        for name, module in own_modules(network).items():
            for handle in watcher.hook(name, module):
                stack.callback(handle.remove)
        stack.enter_context(plain_forward())
        stack.enter_context(watcher)
        network(x)
    return watcher.seen


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation, and which module's forward it belongs to."""

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = Pass()
        self._inside: list[str] = []
        self._parameters = {_key(value): name for name, value in network.named_parameters()}
        self._not_counted = {*self._parameters, *map(_key, network.buffers())}
        self._live: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._outputs: dict[str, Work] = {}
        self._hold(x)

    def hook(self, name: str, module: nn.Module) -> Iterator[Any]:
        """Follow one module; the handles that end it."""
        yield module.register_forward_pre_hook(partial(self._enter, name), prepend=True)
        yield module.register_forward_hook(partial(self._leave, name), always_call=True)

    def _enter(self, name: str, _module: nn.Module, _args: Any) -> None:
        self._inside.append(name)
        self.seen.called.add(name)

    def _leave(self, name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        self._inside.pop()
        work, given = self._outputs.setdefault(name, Work()), _tensors(output)
        work.output_shape = tuple(given[0].shape) if given else ()
        work.output_bytes += sum(each.numel() * each.element_size() for each in given)

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # in inference mode operations arrive here undivided: linear, batch_norm
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        result = func(*args, **kwargs)
        self._note(func, args, kwargs, result)
        return result

    def _note(self, func: OpOverload, args: Any, kwargs: Any, result: Any) -> None:
        module = self._inside[-1]
        for each in _tensors((args, kwargs)):
            if (used := self._parameters.get(_key(each))) is not None:
                self.seen.users.setdefault(used, module)
        allocated = sum([self._hold(each) for each in _tensors(result)])
        if allocated or func._schema.is_mutable:
            work = self.seen.works.setdefault(module, self._outputs.setdefault(module, Work()))
            work.macs += multiplications(func, args, result)
        if allocated:
            step = MemoryStep(module=module, op=str(func.overloadpacket), live_bytes=self._live_bytes())
            self.seen.memory.append(step)

    def _hold(self, tensor: Tensor) -> int:
        """Follow the tensor's memory until it is freed; its bytes where it is new."""
        key = _key(tensor)
        if key in self._live or key in self._not_counted:
            return 0
        storage = tensor.untyped_storage()
        self._live[key] = weakref.ref(storage, lambda _: self._live.pop(key, None))
        return int(storage.nbytes())

    def _live_bytes(self) -> int:
        """What is held now; asked each time, since a tensor may be resized."""
        return sum(storage.nbytes() for each in list(self._live.values()) if (storage := each()) is not None)


def _tensors(values: Any) -> list[Tensor]:
    """Those with memory that can be told, in nested values."""
    return [each for each in tree_leaves(values) if isinstance(each, Tensor) and each.layout == torch.strided]


def _key(tensor: Tensor) -> int:
    """What tensors share that share their memory."""
    return int(tensor.untyped_storage()._cdata)
