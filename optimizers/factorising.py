"""A network with layers as products of two thinner ones. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from core.bundle import ModelBundle
from core.errors import BadInput
from core.low_rank import Choice, FactorisedLayer, LowRankReport, choose_rank
from core.macs import count_macs
from core.packed import Packed
from core.progress import Progress, Steps
from optimizers.decomposing import Layer, decompose, pair_of, shrunk
from optimizers.quantization.selection import kept_layers, kind_of, layers_of

_IMAGES = 512
"""Calibration images whose inputs to the layers are looked at, at most."""
_MOST_PIXELS = 2_000_000
"""Of all images that pass at once."""
_TOLERANCE = 1e-4
_NEVER_CALLED = "The network reads its weights without calling it."
_ASKED = "The network looks at the layer itself, such as where its weights lie."
_READERS = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
"""Modules that read the weights of the layers they hold instead of calling them."""


@dataclass(frozen=True)
class Wishes:
    """What was asked for."""

    energy: float
    linear_only: bool = False
    activation_aware: bool = False
    keep: tuple[str, ...] = ()
    """Patterns of layers that stay whole."""
    multiple: int = 1


def factorise(bundle: ModelBundle, wishes: Wishes) -> Steps[tuple[nn.Module, LowRankReport]]:
    """A copy of the network with every layer factorised that saves arithmetic by it, and what became of each.

    Raises `BadInput` for a pattern that fits no layer, and without calibration images where they are wanted.
    """
    network = copy.deepcopy(bundle.module).cpu().float().eval()
    sample = _sample(bundle)
    layers = candidates(network, sample)
    positions, reasons = _survey(network, layers, sample)
    reasons |= _unwanted(layers, wishes)
    images = _calibration(bundle) if wishes.activation_aware else sample[:0]
    moments: dict[str, Tensor] = {}
    if wishes.activation_aware:
        free = {name: layer for name, layer in layers.items() if name not in reasons}
        moments = yield from second_moments(network, free, images)
    done: list[FactorisedLayer] = []
    for name, layer in layers.items():
        yield Progress(done=len(done), total=len(layers), unit="layers", doing="decomposing")
        at = positions.get(name, 0)
        if name in reasons:
            done.append(_described(name, layer, at, Choice(min(_shape(layer)), 1.0, reasons[name])))
        else:
            done.append(_split(network, name, at, wishes, moments.get(name)))
    return network, _report(bundle, network, wishes, tuple(done), images=len(images))


def _split(network: nn.Module, name: str, positions: int, wishes: Wishes, moment: Tensor | None) -> FactorisedLayer:
    """Replace the layer in the network by two where that saves; what became of it."""
    layer: Any = network.get_submodule(name)
    factors = decompose(layer.weight.detach().flatten(1), moment)
    spectrum = factors.spectrum
    choice = choose_rank(spectrum.array, *_shape(layer), energy=wishes.energy, multiple=wishes.multiple)
    if not choice.why_kept:
        _replace(network, layer, pair_of(layer, factors, choice.rank))
    return _described(name, layer, positions, choice, spectrum=spectrum)


def _report(
    bundle: ModelBundle, network: nn.Module, wishes: Wishes, layers: tuple[FactorisedLayer, ...], *, images: int
) -> LowRankReport:
    return LowRankReport(
        energy=wishes.energy,
        activation_aware=wishes.activation_aware,
        images=images,
        round_to=wishes.multiple,
        layers=layers,
        parameters_before=_parameters(bundle.module),
        parameters_after=_parameters(network),
        macs_before=count_macs(bundle.module, bundle.contract),
        macs_after=count_macs(network, bundle.contract),
    )


def candidates(network: nn.Module, x: Tensor) -> dict[str, Layer]:
    """Linear layers and 1x1 convolutions by name, as x[N, C, H, W] passes through them; at the end those it misses."""
    called = layers_of(network, x)
    missed = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    return {name: layer for name, layer in (called | missed).items() if _is_product(layer)}  # type: ignore[misc]


def factorisable(bundle: ModelBundle) -> dict[str, Layer]:
    """Those of a bundle's layers, by name, that two thinner ones could stand for; whether that saves is not asked."""
    network, sample = copy.deepcopy(bundle.module).eval(), _sample(bundle)
    layers = candidates(network, sample)
    _, reasons = _survey(network, layers, sample)
    return {name: layer for name, layer in layers.items() if name not in reasons}


def _sample(bundle: ModelBundle) -> Tensor:
    """x[2, C, H, W] of noise, or two sequences of tokens."""
    example = torch.from_numpy(bundle.contract.example(2))
    return torch.randn_like(example) if example.is_floating_point() else example


def _is_product(layer: nn.Module) -> bool:
    """Whether the layer multiplies every position by one matrix."""
    if isinstance(layer, nn.Conv2d):
        return tuple(layer.kernel_size) == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear)


def _survey(network: nn.Module, layers: Mapping[str, Layer], x: Tensor) -> tuple[dict[str, int], dict[str, str]]:
    """At how many positions of an image each called layer multiplies, and why some have to stay whole."""
    positions: dict[str, int] = {}
    reasons = dict.fromkeys(layers, _NEVER_CALLED)
    names = {id(layer): name for name, layer in layers.items()}

    def look(layer: Layer, args: tuple[Tensor, ...], output: Tensor) -> None:
        name = names[id(layer)]
        positions[name] = positions.get(name, 0) + output.numel() // len(layer.weight) // len(x)
        if torch.allclose(_plain(layer, args[0]), output, rtol=_TOLERANCE, atol=_TOLERANCE):
            reasons.pop(name, None)
        else:
            reasons[name] = "It computes more than a product with its weights."

    handles = [layer.register_forward_hook(look) for layer in layers.values()]
    with torch.inference_mode():
        network(x)
    for handle in handles:
        handle.remove()
    reasons |= {name: f"{reader} reads its weights without calling it." for name, reader in _read(network)}
    free = {name: layer for name, layer in layers.items() if name not in reasons}
    if not _stands_in(network, free, x):
        reasons |= {name: _ASKED for name, layer in free.items() if not _stands_in(network, {name: layer}, x)}
    return positions, {name: reason for name, reason in reasons.items() if name in layers}


def _stands_in(network: nn.Module, layers: Mapping[str, Layer], x: Tensor) -> bool:
    """Whether the network runs with modules in the place of these layers that are no layers, but give their outputs."""
    others = [(layer, nn.Sequential(layer)) for layer in dict.fromkeys(layers.values()) if layer is not network]
    for layer, other in others:
        _replace(network, layer, other)
    try:
        with torch.inference_mode():
            network(x)
    except AttributeError:
        return False
    finally:
        for layer, other in others:
            _replace(network, other, layer)
    return True


def _plain(layer: Layer, x: Tensor) -> Tensor:
    """What the layer would give if it were no more than its kind says."""
    if isinstance(layer, nn.Linear):
        return linear(x, layer.weight, layer.bias)
    return conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)


def _read(network: nn.Module) -> Iterator[tuple[str, str]]:
    """The names of modules whose weights are read directly, each with the kind of module that reads them."""
    for name, module in network.named_modules():
        if isinstance(module, _READERS):
            yield from ((f"{name}.{child}".lstrip("."), type(module).__name__) for child, _ in module.named_children())


def packed_attention(network: nn.Module) -> tuple[str, ...]:
    """The names of attention weights that are parameters rather than layers."""
    attentions = ((name, each) for name, each in network.named_modules() if isinstance(each, nn.MultiheadAttention))
    return tuple(f"{name}.in_proj_weight".lstrip(".") for name, each in attentions if each.in_proj_weight is not None)


def _unwanted(layers: Mapping[str, Layer], wishes: Wishes) -> dict[str, str]:
    kept = kept_layers(dict(layers), wishes.keep)
    reasons = {name: f"Kept by the pattern {pattern}." for name, pattern in kept.items()}
    if wishes.linear_only:
        convolutions = (name for name, layer in layers.items() if isinstance(layer, nn.Conv2d))
        reasons |= dict.fromkeys(convolutions, "Only linear layers are factorised here.")
    return reasons


def _calibration(bundle: ModelBundle) -> Tensor:
    """float32 x[N, C, H, W] of calibration images. Raises `BadInput` where there are none."""
    pixels = bundle.data.calibrate.take(_IMAGES).pixels
    if not len(pixels):
        raise BadInput(
            "There are no calibration images",
            expected="at least one to see what the layers are given",
            action="Add images to the model, or switch activation-aware off",
        )
    return torch.from_numpy(bundle.contract.prepare(pixels))


def second_moments(network: nn.Module, layers: Mapping[str, Layer], x: Tensor) -> Steps[dict[str, Tensor]]:
    """E[v v^T], float64 [in, in], of the vectors v that each layer multiplies when x[N, C, H, W] passes.

    Estimated from few images it would claim that whatever these lack never comes. It is shrunk towards a multiple of
    the identity, as far as the formula of Chen et al. 2010 (https://arxiv.org/abs/0907.4698, OAS) says for as many
    samples as there are images: the positions of one image resemble each other.
    """
    sums = {name: torch.zeros(2 * _shape(layer)[:1], dtype=torch.float64) for name, layer in layers.items()}
    counts = dict.fromkeys(layers, 0)
    names = {id(layer): name for name, layer in layers.items()}

    def add(layer: Layer, args: tuple[Tensor, ...]) -> None:
        vectors = _multiplied(layer, args[0])
        sums[names[id(layer)]] += (vectors.T @ vectors).double()
        counts[names[id(layer)]] += len(vectors)

    handles = [layer.register_forward_pre_hook(add) for layer in layers.values()]
    chunk = max(1, _MOST_PIXELS // x[0].numel())
    for start in range(0, len(x), chunk):
        yield Progress(done=start, total=len(x), unit="images", doing="looking at what the layers are given")
        with torch.inference_mode():
            network(x[start : start + chunk])
    for handle in handles:
        handle.remove()
    return {name: shrunk(sums[name] / counts[name], samples=len(x)) for name in layers}


def _multiplied(layer: Layer, x: Tensor) -> Tensor:
    """float32 [P, in]: the vectors of an input that the layer multiplies; padding gives zeros, which add nothing."""
    if isinstance(layer, nn.Conv2d):
        padding = (0, 0) if isinstance(layer.padding, str) else layer.padding
        down, right = (-pad % step for pad, step in zip(padding, layer.stride, strict=True))
        x = x[:, :, down :: layer.stride[0], right :: layer.stride[1]].movedim(1, -1)
    return x.reshape(-1, x.shape[-1])


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put the new module wherever the old one is."""
    for name in [name for name, module in network.named_modules(remove_duplicate=False) if module is old]:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, new)


def _described(
    name: str, layer: Layer, positions: int, choice: Choice, *, spectrum: Packed | None = None
) -> FactorisedLayer:
    """What became of a layer; it is fixed where nobody looked at its spectrum."""
    inputs, outputs = _shape(layer)
    before = inputs * outputs
    after = before if choice.why_kept else choice.rank * (inputs + outputs)
    biases = 0 if layer.bias is None else outputs
    return FactorisedLayer(
        name=name,
        kind=kind_of(layer),
        inputs=inputs,
        outputs=outputs,
        rank=choice.rank,
        spectrum=spectrum or Packed.of((), "<u4", per_unit=1_000_000),
        energy=choice.energy,
        parameters_before=before + biases,
        parameters_after=after + biases,
        macs_before=before * positions,
        macs_after=after * positions,
        why_kept=choice.why_kept,
        is_fixed=spectrum is None,
    )


def _shape(layer: Layer) -> tuple[int, int]:
    """Inputs and outputs."""
    return layer.weight[0].numel(), len(layer.weight)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
