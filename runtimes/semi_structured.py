"""2:4 weights that PyTorch multiplies without their zeros: linear layers on NVIDIA GPUs from Ampere on.

Follows https://docs.pytorch.org/docs/stable/sparse.html, *Sparse Semi-Structured Tensors*. The exported program holds
the weights with their zeros; beside it stands which of them may be packed, and they are when a GPU opens it.
Imports torch: import it inside functions only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.devices import Device
from core.sparsity import can_be_packed, skips_fours
from runtimes.runtime import Artifact

FILE = "two_four.json"


def prepare(network: nn.Module) -> tuple[str, ...]:
    """The names of the linear layers whose weights can be packed; each of them will take its input contiguous.

    These are in FP16 or BF16, of a shape that the kernels take, with two zeros in every four along the inputs.
    """
    names = tuple(name for name, layer in network.named_modules() if type(layer) is nn.Linear and _fits(layer.weight))
    for name in names:
        network.get_submodule(name).register_forward_pre_hook(_contiguous)
    return names


def _fits(weight: Tensor) -> bool:
    is_reduced = weight.dtype in (torch.float16, torch.bfloat16)
    return (
        is_reduced
        and can_be_packed(tuple(weight.shape))
        and bool(((weight.detach().reshape(-1, 4) == 0).sum(1) >= 2).all())
    )


def _contiguous(_layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The packed product views its input as a matrix, which other layouts refuse; dense ones copy these silently."""
    return (args[0].contiguous(), *args[1:])


def write_names(names: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Write the names beside an exported program, where there are any; the file's name."""
    if names:
        (folder / FILE).write_text(json.dumps(names, indent=1))
    return (FILE,) if names else ()


def pack(network: nn.Module, artifact: Artifact, device: Device) -> None:
    """Pack the weights that the artifact names, in place, where the device skips their zeros."""
    if FILE not in artifact.files or not skips_fours(device) or not torch.backends.cusparselt.is_available():
        return
    for name in json.loads((artifact.folder / FILE).read_text()):
        layer: Any = network.get_submodule(name)
        packed = torch.sparse.to_sparse_semi_structured(layer.weight.detach())
        layer.weight = nn.Parameter(packed, requires_grad=False)
