"""What a network is made of, seen in two forward passes. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.utils._pytree import tree_leaves

from core.anatomy import Anatomy, ModuleFacts
from core.data import Inputs
from core.histograms import histogram, joined
from core.progress import Progress, Steps
from core.quantization import Histogram
from profiling.forward_pass import Pass, Work, own_modules, owner_of, plain_forward, watch

MOST_VALUES = 2**18
"""Behind one histogram."""
_MOST_BYTES = 256 * 2**20
"""Of activations held at once while the histograms are made."""
_MOST_MACS = 16_000_000_000
"""Of the pass that the histograms are made in: seconds on one core."""
_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def anatomy_of(network: nn.Module, x: Inputs) -> Steps[Anatomy]:
    """Modules, memory and histograms of a network in float32 on x[N, C, H, W], on the CPU; it stays as it is.

    Large networks see fewer than all images, so that neither time nor memory runs away.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    yield _progress(0, "following one image through the network")
    seen = watch(network, torch.from_numpy(x[:1]))
    images = _affordable(seen, len(x))
    yield _progress(1, "looking at the values in every layer")
    values = _values(network, torch.from_numpy(x[:images]), set(seen.works))
    modules = tuple(
        _facts(name, module, parameters, seen.works.get(name, Work()), values)
        for name, module, parameters in _parts(network, seen)
    )
    yield _progress(2, "")
    return Anatomy(images=images, modules=modules, memory=tuple(seen.memory))


def _progress(done: int, doing: str) -> Progress:
    return Progress(done=done, total=2, unit="passes", doing=doing)


def _affordable(seen: Pass, images: int) -> int:
    """How many images can pass at once."""
    peak = max((step.live_bytes for step in seen.memory), default=0)
    macs = sum(work.macs for work in seen.works.values())
    return max(1, min(images, _MOST_BYTES // max(1, peak), _MOST_MACS // max(1, macs)))


def _parts(network: nn.Module, seen: Pass) -> list[tuple[str, nn.Module, list[Tensor]]]:
    """Every module that computed something or has parameters, each with those that are its own.

    In the order of execution, what never ran last. Parameters of a module whose forward is not called belong to the
    module that uses them, as those of the projection inside `nn.MultiheadAttention`.
    """
    modules, own = own_modules(network), defaultdict[str, list[Tensor]](list)
    for parameter, values in network.named_parameters():
        owner = owner_of(parameter)
        own[owner if owner in seen.called else seen.users.get(parameter, owner)].append(values)
    names = dict.fromkeys((*seen.works, *(name for name in own if name in modules)))
    return [(name, modules[name], own[name]) for name in names]


def _facts(
    name: str, module: nn.Module, parameters: list[Tensor], work: Work, values: dict[tuple[str, str], Histogram]
) -> ModuleFacts:
    weight = _weight_of(module)
    return ModuleFacts(
        name=name,
        kind=kind_of(module),
        parameters=sum(each.numel() for each in parameters),
        nonzero=sum(int(each.count_nonzero()) for each in parameters),
        macs=work.macs,
        output_shape=work.output_shape,
        output_bytes=work.output_bytes,
        weights=None if weight is None else histogram(weight, most=MOST_VALUES),
        inputs=values.get((name, "inputs")),
        outputs=values.get((name, "outputs")),
    )


def kind_of(module: nn.Module) -> str:
    """`Conv2d`, `depthwise Conv2d`, `Linear`; a subclass of these is called by the layer it is."""
    kind = next((each for each in _KINDS if isinstance(module, each)), type_before_parametrizations(module)).__name__
    groups = getattr(module, "groups", 1)
    is_depthwise = isinstance(module, _KINDS) and groups not in (1, None) and groups == module.in_channels
    return f"depthwise {kind}" if is_depthwise else kind


def _weight_of(module: nn.Module) -> Tensor | None:
    """What it multiplies with, as parametrised; of `nn.MultiheadAttention` that of queries, keys and values."""
    found = next((getattr(module, each, None) for each in ("weight", "in_proj_weight") if hasattr(module, each)), None)
    return found.detach() if isinstance(found, Tensor) else None


def _values(network: nn.Module, x: Tensor, names: set[str]) -> dict[tuple[str, str], Histogram]:
    """Histograms by module and `inputs` or `outputs`, those of all its calls joined."""
    found: dict[tuple[str, str], Histogram] = {}

    def add(key: tuple[str, str], values: Any) -> None:
        given = next((each for each in tree_leaves(values) if _is_float(each)), None)
        if given is not None:
            new = histogram(given, most=MOST_VALUES)
            found[key] = joined(found[key], new) if key in found else new

    def came_in(name: str, _module: nn.Module, args: Any, kwargs: Any) -> None:
        add((name, "inputs"), (args, kwargs))

    def went_out(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        add((name, "outputs"), output)

    with ExitStack() as stack:
        for name, module in own_modules(network).items():
            if name not in names:
                continue
            if _weight_of(module) is not None:
                stack.callback(module.register_forward_pre_hook(partial(came_in, name), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(partial(went_out, name)).remove)
        stack.enter_context(plain_forward())
        network(x)
    return found


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
