"""The networks that learn from a teacher, untrained. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from core.bundle import ModelBundle
from core.errors import CannotCompose
from optimizers.pruning.channels import Cut, prune
from optimizers.state import torch_state
from optimizers.technique import Context

_ROUND_TO = 4
_PHOTOGRAPHS = 3
_IMAGENET = 1000


def built(key: str, bundle: ModelBundle, context: Context, *, batch_size: int) -> nn.Module:
    """An untrained network of that name, for the bundle's images and classes, that can be trained in such batches.

    Raises `BadInput` for an unknown name, `CannotCompose` where the network does not take such images.
    """
    with torch_state(context):
        network = context.build_network(key)
        if key.startswith("torchvision:"):
            network = adapted(network, channels=bundle.contract.shape[0], classes=len(bundle.contract.labels))
    _require_fit(network, bundle, key.rpartition(":")[2], batch_size)
    return network


def adapted(network: nn.Module, *, channels: int, classes: int) -> nn.Module:
    """A copy of an untrained ImageNet network for images with so many channels, and for so many classes.

    Its first convolution and its last layer are replaced, and drawn from torch's global generator. Raises
    `CannotCompose` where it has no such layers.
    """
    network = copy.deepcopy(network)
    layers = [(name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    readers = (
        (name, each) for name, each in layers if isinstance(each, nn.Conv2d) and each.in_channels == _PHOTOGRAPHS
    )
    givers = ((name, each) for name, each in reversed(layers) if len(each.weight) == _IMAGENET)
    first, last = next(readers, None), next(givers, None)
    if first is None or last is None:
        missing = "a convolution that reads colour images" if first is None else "a layer that gives 1,000 classes"
        raise CannotCompose(
            f"A student without {missing}",
            expected="a classifier of photographs, whose first and last layers can be fitted to these images",
            action="Choose another architecture",
        )
    if channels != _PHOTOGRAPHS:
        network.set_submodule(first[0], _convolution(first[1], channels_in=channels))
    if isinstance(last[1], nn.Conv2d):
        network.set_submodule(last[0], _convolution(last[1], channels_out=classes))
    else:
        network.set_submodule(last[0], nn.Linear(last[1].in_features, classes, bias=last[1].bias is not None))
    return network


def _convolution(like: nn.Conv2d, *, channels_in: int | None = None, channels_out: int | None = None) -> nn.Conv2d:
    settings: dict[str, Any] = {
        name: getattr(like, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    }
    return nn.Conv2d(
        channels_in or like.in_channels, channels_out or like.out_channels, bias=like.bias is not None, **settings
    )


def narrower(bundle: ModelBundle, context: Context, *, width: float) -> nn.Module:
    """The bundle's architecture with that share of the channels in every layer that can be cut, drawn anew.

    Widths are multiples of 4, rounded down but to no less than 4.
    """
    with torch_state(context):
        cut = Cut(round(1 - width, 6), importance="random", everywhere_alike=True, round_to=_ROUND_TO)
        network = prune(bundle, cut)
        redraw(network)
    return network


@torch.no_grad()
def redraw(network: nn.Module) -> None:
    """Draw every weight anew, from torch's global generator, as its module does when it is made.

    Parameters of modules that cannot do so, such as position embeddings, are drawn with the mean and spread they have.
    """
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
            continue
        for parameter in module.parameters(recurse=False):
            spread = parameter.std() if parameter.numel() > 1 else 0
            parameter.copy_(parameter.mean() + spread * torch.randn_like(parameter))


def _require_fit(student: nn.Module, bundle: ModelBundle, name: str, batch_size: int) -> None:
    """Raises `CannotCompose`; in training BatchNorm wants more values of a channel than one image may have."""
    wanted, reason, tried = (1, len(bundle.contract.labels)), "", copy.deepcopy(student)
    try:
        with torch.no_grad(), torch.random.fork_rng():
            tried.train()(torch.from_numpy(bundle.contract.example(min(batch_size, 2))))
            shape = tuple(tried.eval()(torch.from_numpy(bundle.contract.example(1))).shape)
    except (RuntimeError, AssertionError, ValueError) as error:  # what networks raise for images of another size
        shape, reason = (), f": {str(error).splitlines()[0]}" if str(error) else ""
    if shape != wanted:
        raise CannotCompose(
            f"The student {name} does not take images of {bundle.contract.shape} to {wanted[1]} classes{reason}",
            expected="a student for the same images and classes",
            action="Choose another student",
        )
