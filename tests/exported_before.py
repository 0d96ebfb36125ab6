"""PyTorch's exporter to ONNX, asked once for networks that are equal in all that is pickled: code, settings, weights.

Most of the time of many tests went into exporting the same tiny network, which each of them makes for itself.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import onnx
import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

MOST_BYTES = 2**22
"""Of the weights of a network whose graph is kept."""
_Export = Callable[..., Any]


class Again:
    """The graph of an equal network; whatever else is asked of its program is exported anew."""

    def __init__(self, content: bytes, export: Callable[[], Any]) -> None:
        self._content, self._export = content, cache(export)

    @property
    def model_proto(self) -> onnx.ModelProto:
        return onnx.load_from_string(self._content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._export(), name)


class _Pickler(pickle.Pickler):
    """Tensors are told by their content, and by which of them are one and the same."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self._places: dict[int, int] = {}

    def persistent_id(self, what: object) -> object:
        if not isinstance(what, torch.Tensor):
            return None
        place = self._places.setdefault(id(what), len(self._places))
        values = what.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        digest = hashlib.sha256(values).hexdigest()
        return place, type(what).__name__, str(what.dtype), tuple(what.shape), what.stride(), digest


def key_of(*what: object) -> str | None:
    """Equal for equal things; None for what is too large, or cannot be told from others because it is not pickled."""
    file = io.BytesIO()
    try:
        _Pickler(file).dump(what)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError):
        return None
    return hashlib.sha256(file.getbuffer()).hexdigest()


def keeping(export: _Export) -> _Export:
    """The same exporter, with a memory."""
    kept: dict[tuple[str, str], bytes] = {}

    def exported(network: torch.nn.Module, args: tuple[torch.Tensor, ...], *file: Any, **settings: Any) -> Any:
        if file or not settings.get("dynamo"):  # what is written to a file, or by the older exporter
            return export(network, args, *file, **settings)
        size = sum(each.nbytes for each in network.state_dict().values() if isinstance(each, torch.Tensor))
        network_key = key_of(network, args) if size <= MOST_BYTES else None
        if network_key is None:
            return export(network, args, **settings)
        key = network_key, repr(settings)
        if key in kept:
            return Again(kept[key], lambda: export(network, args, **settings))
        program = export(network, args, **settings)
        kept[key] = program.model_proto.SerializeToString()
        return program

    return exported


@cache
def remember() -> None:
    """From now on in this process. The exporter's 500 translations, which it parses for each graph, are kept too."""
    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))
    torch.onnx.export = keeping(torch.onnx.export)
