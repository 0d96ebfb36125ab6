"""Which layers of a network have a kernel that can be pruned or clustered, and what is in it, counted with numpy."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.data import Floats

Which = Literal["all", "convolutions", "dense"]
_CONVOLUTIONS = {
    "Conv1D": "kernel",
    "Conv2D": "kernel",
    "Conv2DTranspose": "kernel",
    "SeparableConv1D": "pointwise_kernel",
    "SeparableConv2D": "pointwise_kernel",
}
_KERNELS = _CONVOLUTIONS | {"Dense": "kernel"}
"""What holds the weights of each kind of layer; depthwise ones have too few for TensorFlow's toolkit to touch."""
_SWAPPED = ("Conv2DTranspose",)
"""Whose kernels have their outputs before their inputs."""
_FOUR = 4


def kernels(model: Any) -> dict[str, Any]:
    """Every layer that has such a kernel, by its name, in the order of the network."""
    return {layer.name: layer for layer in model.layers if type(layer).__name__ in _KERNELS}


def kernel_of(layer: Any) -> Floats:
    """float32, as Keras keeps it: [height, width, inputs, outputs] or [inputs, outputs]."""
    return np.asarray(variable_of(layer), np.float32)


def variable_of(layer: Any) -> Any:
    """What `kernel_of` reads, to be written to."""
    return getattr(layer, _KERNELS[type(layer).__name__])


def chosen(model: Any, which: Which, *, keep_ends: bool) -> list[str]:
    """Names of the layers to work on.

    With `keep_ends` neither the first nor the last that has a kernel, unless nothing else is left to work on.
    """
    found = kernels(model)
    wanted = [name for name, layer in found.items() if _is_kind(layer, which)]
    ends = (next(iter(found), ""), next(reversed(found), "")) if keep_ends else ()
    return [name for name in wanted if name not in ends] or wanted


def _is_kind(layer: Any, which: Which) -> bool:
    return which == "all" or (type(layer).__name__ in _CONVOLUTIONS) == (which == "convolutions")


def counted(model: Any, worked_on: Collection[str], why_not: str) -> list[dict[str, Any]]:
    """Of each layer with a kernel: the fields of `core.sparsity.SparseLayer`, and how many `distinct` values it has.

    Layers that are not `worked_on` say `why_not`.
    """
    return [
        _counted(layer, "" if name in worked_on else why_not, is_swapped=type(layer).__name__ in _SWAPPED)
        for name, layer in kernels(model).items()
    ]


def _counted(layer: Any, why_dense: str, *, is_swapped: bool) -> dict[str, Any]:
    weight = outputs_first(kernel_of(layer), is_swapped=is_swapped)
    blocks, with_pattern = fours(weight)
    return {
        "name": layer.name,
        "kind": type(layer).__name__,
        "shape": list(weight.shape),
        "weights": weight.size,
        "zeros": int((weight == 0).sum()),
        "blocks": blocks,
        "blocks_with_pattern": with_pattern,
        "why_dense": why_dense,
        "distinct": len(np.unique(weight)),
    }


def outputs_first(kernel: NDArray[Any], *, is_swapped: bool = False) -> NDArray[Any]:
    """A kernel as [outputs, inputs, ...], from Keras's [..., inputs, outputs], or [..., outputs, inputs] if swapped."""
    last, before = (kernel.ndim - 2, kernel.ndim - 1) if is_swapped else (kernel.ndim - 1, kernel.ndim - 2)
    return kernel.transpose(last, before, *range(kernel.ndim - 2))


def fours(weight: NDArray[Any]) -> tuple[int, int]:
    """How many runs of four neighbours lie along the inputs of weight[outputs, inputs, ...], and how many of them have
    at least two zeros; none where the inputs cannot be cut into fours."""
    if weight.shape[1] % _FOUR:
        return 0, 0
    runs = np.moveaxis(weight, 1, -1).reshape(-1, _FOUR)
    return len(runs), int(((runs == 0).sum(1) >= 2).sum())


def zeros_held(model: Any, names: Collection[str]) -> Callable[[], None]:
    """Puts back, whenever it is called, what is zero now in the kernels of those layers."""
    found = [(variable_of(layer), kernel_of(layer) != 0) for name, layer in kernels(model).items() if name in names]
    masks = [(variable, mask.astype(np.float32)) for variable, mask in found if not mask.all()]

    def hold() -> None:
        for variable, mask in masks:
            variable.assign(variable * mask)

    return hold


def share_of_zeros(model: Any, names: Collection[str]) -> float:
    """Of the weights in the kernels of those layers."""
    weights = [kernel_of(layer) for name, layer in kernels(model).items() if name in names]
    return sum(int((weight == 0).sum()) for weight in weights) / max(1, sum(weight.size for weight in weights))


def wrapped(model: Any, names: Collection[str], wrap: Any) -> Any:
    """A model with the same weights in which `wrap` was put around the layers of those names. The given is used up."""
    from tf_keras.models import clone_model

    return clone_model(model, clone_function=lambda layer: wrap(layer) if layer.name in names else layer)
