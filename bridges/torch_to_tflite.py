"""A network of PyTorch as a `.tflite` file: our side of it. Imports torch and LiteRT inside functions."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridges.asking import ask
from bridges.environments import LITERT_TORCH
from core.bundle import ModelBundle
from core.data import Floats, Inputs
from core.errors import RunFailed
from core.progress import Note, Steps
from core.tflite_rewriting import for_any_batch, named_by_operator, plain_form
from core.tflite_session import TfliteSession

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-3
"""How far an answer may be off, of the largest one; float32 added in another order stays a hundred times below."""
_IMAGES = 6
_BATCHES = (1, 2, 3)
_PRIMES = (101, 103, 107, 109, 113, 127, 131, 137)


def tflite_of(bundle: ModelBundle, folder: Path) -> Steps[bytes]:
    """The bundle's torch module in float32 as a `.tflite`, x[N, H, W, C] to logits[N, classes], for any N if it can be.

    Else N is 1, and a note says so. Its answers to test images were compared with the module's on the CPU: raises
    `RunFailed` with the difference where they are others, and `Unavailable` where LiteRT Torch is not installed. The
    folder has to exist and is left as it was.
    """
    import torch

    network = copy.deepcopy(bundle.module).cpu().eval()
    x = bundle.contract.prepare(bundle.data.test.take(_IMAGES).pixels)
    with torch.no_grad():
        expected: Floats = network(torch.from_numpy(x)).numpy()
    made_for = _foreign_prime(network, bundle.contract.shape)
    try:
        content = for_any_batch((yield from _converted(network, x, made_for, folder)), made_for=made_for)
        differences = [_difference(content, x, expected, batch) for batch in _BATCHES]
    except (RunFailed, RuntimeError, ValueError):  # of the conversion; of LiteRT, which cannot open or resize it
        differences = [np.inf]
    if max(differences) <= TOLERANCE:
        return content
    content = yield from _converted(network, x, 1, folder)
    difference = _difference(content, x, expected, 1)
    if not difference <= TOLERANCE:
        raise RunFailed(
            f"The network answers otherwise after its conversion to LiteRT: by {difference:.2g} of the largest answer",
            expected=f"at most {TOLERANCE:g}",
            action="Serve it with ONNX Runtime, OpenVINO or PyTorch",
        )
    yield Note(text="The .tflite file takes one image at a time: LiteRT Torch has no conversion of it for any batch.")
    return content


def _foreign_prime(network: nn.Module, shape: tuple[int, ...]) -> int:
    """A batch that no size of the network can be taken for."""
    sizes = {size for tensor in (*network.parameters(), *network.buffers()) for size in tensor.shape} | set(shape)
    return next((prime for prime in _PRIMES if all(size % prime for size in sizes)), _PRIMES[-1])


def _converted(network: nn.Module, x: Inputs, batch: int, folder: Path) -> Steps[bytes]:
    """The network's `.tflite` in `plain_form`, made for that many images."""
    import torch

    example = torch.zeros(batch, *x.shape[1:])
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        program, out = Path(scratch) / "network.pt2", Path(scratch) / "network.tflite"
        with torch.no_grad():
            torch.export.save(torch.export.export(network, (example,)), program)
        yield from ask(LITERT_TORCH, "bridges.litert_torch.exporting:convert", _plain(program=program, out=out))
        return named_by_operator(plain_form(out.read_bytes()))


def _plain(**paths: Path) -> dict[str, Any]:
    return {name: str(path.resolve()) for name, path in paths.items()}


def _difference(content: bytes, x: Inputs, expected: Floats, batch: int) -> float:
    """The largest difference of its answers, in batches of that size, relative to the largest answer.

    Infinite where it takes no such batches.
    """
    with TfliteSession(content, "xnnpack", 1) as session:
        if getattr(session, "largest_batch", batch) < batch:
            return np.inf
        answered = np.concatenate([session.run(x[start : start + batch]) for start in range(0, len(x), batch)])
    return float(np.abs(answered - expected).max() / np.abs(expected).max())
