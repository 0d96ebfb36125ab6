"""Where two networks compute something that can be compared. Imports torch: import it inside functions only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from core.errors import CannotCompose

Layout = Literal["channels first", "channels last", "tokens"]
OnOutput = Callable[[str, Tensor], None]
_IMAGE_AXES = 4
"""Of x[N, C, H, W]; texts have no feature maps."""


@dataclass(frozen=True)
class FeatureMap:
    """A layer's output, and how it is read."""

    layer: str
    layout: Layout
    channels: int
    size: tuple[int, ...]
    """(H, W) of a map; (T,) of tokens that are taken as a row."""

    def read(self, output: Tensor) -> Tensor:
        """float32 [N, C, H, W] or [N, C, T] of what the layer gave."""
        if self.layout == "channels first":
            return output.float()
        if self.layout == "channels last":
            return output.permute(0, 3, 1, 2).float()
        tokens = output[:, -math.prod(self.size) :]  # without a class token, which comes first
        return tokens.transpose(1, 2).reshape(len(output), -1, *self.size).float()


@dataclass(frozen=True)
class Pair:
    """Two outputs of which one is to become like the other."""

    student: FeatureMap
    teacher: FeatureMap


def pairs_of(student: nn.Module, teacher: nn.Module, x: Tensor) -> tuple[Pair, ...]:
    """What in the student corresponds to what in the teacher, found by running both on x[N, C, H, W] once.

    Two transformers: the outputs of blocks at equal relative depth, one for each block of the shallower. Else: the last
    feature map at each resolution that both have, or the last of all where they share none; the patches of a
    transformer count as a map. Raises `CannotCompose` where one of the two has no map.
    """
    seen = [_outputs(network, x) for network in (student, teacher)]
    ours, theirs = ([_row(name, each) for name, each in _block_outputs(one.network, one.last)] for one in seen)
    if ours and theirs:
        return tuple(Pair(ours[at], theirs[to]) for at, to in _equal_depths(len(ours), len(theirs)))
    first, second = (_maps(one, x) if x.ndim == _IMAGE_AXES else {} for one in seen)
    if not first or not second:
        raise CannotCompose(
            f"Hints between a {type(student).__name__} and a {type(teacher).__name__}",
            expected="two networks with feature maps: outputs that still know where in the image they are",
            action="Set hints to none: the student learns from the teacher's answers",
        )
    shared = [size for size in first if size in second]
    if not shared:
        return (Pair(list(first.values())[-1], list(second.values())[-1]),)
    return tuple(Pair(first[size], second[size]) for size in shared)


@contextmanager
def listening(network: nn.Module, layers: Mapping[str, object], on_output: OnOutput) -> Iterator[None]:
    """Tell what each of these layers gives, for as long as it lasts."""
    handles = [listen(network, name, on_output) for name in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def listen(network: nn.Module, layer: str, on_output: OnOutput) -> torch.utils.hooks.RemovableHandle:
    """Tell what a layer gives, until the handle is removed."""

    def hear(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            on_output(layer, output)

    return network.get_submodule(layer).register_forward_hook(hear)


@dataclass(frozen=True, eq=False)
class _Outputs:
    """What the layers of a network gave for one batch."""

    network: nn.Module
    last: dict[str, Tensor]
    """In the order in which they came, of layers that ran once."""


def _outputs(network: nn.Module, x: Tensor) -> _Outputs:
    """Restores the mode of every module."""
    runs: Counter[str] = Counter()
    found: dict[str, Tensor] = {}

    def hear(layer: str, output: Tensor) -> None:
        runs[layer] += 1
        found[layer] = output

    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad(), listening(network, dict(network.named_modules()), hear):
            network(x)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return _Outputs(network, {name: output for name, output in found.items() if name and runs[name] == 1})


def _block_outputs(network: nn.Module, outputs: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Outputs [N, T, D] of the longest row of modules of one kind."""
    rows: list[list[tuple[str, Tensor]]] = [[]]
    for name, parent in network.named_modules():
        if not isinstance(parent, nn.Sequential | nn.ModuleList) or len({type(each) for each in parent}) != 1:
            continue
        names = [f"{name}.{child}" if name else child for child, _ in parent.named_children()]
        if all(each in outputs and outputs[each].ndim == 3 and outputs[each].shape[1] > 1 for each in names):
            rows.append([(each, outputs[each]) for each in names])
    return max(rows, key=len)


def _row(name: str, output: Tensor) -> FeatureMap:
    return FeatureMap(name, "tokens", output.shape[2], (output.shape[1],))


def _equal_depths(ours: int, theirs: int) -> Iterator[tuple[int, int]]:
    """Positions in both rows, at equal shares of their lengths."""
    shorter = min(ours, theirs)
    for number in range(1, shorter + 1):
        yield round(number * ours / shorter) - 1, round(number * theirs / shorter) - 1


def _maps(seen: _Outputs, x: Tensor) -> dict[tuple[int, ...], FeatureMap]:
    """The last feature map at each resolution, by size, in the order of execution."""
    height, width = x.shape[2:]
    found: dict[tuple[int, ...], FeatureMap] = {}
    candidates = [_map(name, output, height, width) for name, output in seen.last.items()]
    blocks = _block_outputs(seen.network, seen.last)
    candidates += [_grid(name, output, height, width) for name, output in blocks[-1:]]
    for each in candidates:
        if each:
            found.pop(each.size, None)
            found[each.size] = each
    return found


def _map(name: str, output: Tensor, height: int, width: int) -> FeatureMap | None:
    """Told apart by its shape: a map is as wide for its height as the image, within rounding."""
    if output.ndim != 4:
        return None
    _, first, second, third = output.shape
    if _is_like_image(second, third, height, width):
        return FeatureMap(name, "channels first", first, (second, third))
    if _is_like_image(first, second, height, width):
        return FeatureMap(name, "channels last", third, (first, second))
    return None


def _grid(name: str, output: Tensor, height: int, width: int) -> FeatureMap | None:
    """Tokens as the map of patches that they are, in rows from the top, with or without a class token before them."""
    tokens = output.shape[1]
    for patches in (tokens, tokens - 1):
        rows = round(math.sqrt(patches * height / width))
        if rows and rows * (columns := patches // rows) == patches and _is_like_image(rows, columns, height, width):
            return FeatureMap(name, "tokens", output.shape[2], (rows, columns))
    return None


def _is_like_image(rows: int, columns: int, height: int, width: int) -> bool:
    return rows * columns > 1 and abs(rows * width - columns * height) < max(height, width)
