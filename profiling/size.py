"""How big a network and its files are, and how much arithmetic one image takes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.bundle import ModelBundle, OnnxGraph
from profiling.subject import Shipped

_CHUNK_BYTES = 1 << 20


class Size(BaseModel):
    """Files as they ship, and the network in them."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    gzip_bytes: int
    """The same files compressed: what sparse or clustered weights save in a download."""
    parameter_count: int
    nonzero_count: int
    macs: int
    """Multiply-accumulates for one image, counted before quantization; flops are twice that."""

    @property
    def sparsity(self) -> float:
        """Share of parameters that are zero."""
        return 1 - self.nonzero_count / self.parameter_count


def measure_size(bundle: ModelBundle, shipped: Shipped, *, macs: int) -> Size:
    """The size of the files and of the bundle's network; `macs` as counted by `core.macs` while it was a module."""
    paths = [shipped.folder / name for name in shipped.files]
    parameters, nonzero = _count(bundle)
    return Size(
        size_bytes=sum(path.stat().st_size for path in paths),
        gzip_bytes=sum(_gzip_bytes(path.read_bytes()) for path in paths),
        parameter_count=parameters,
        nonzero_count=nonzero,
        macs=macs,
    )


def _gzip_bytes(content: bytes) -> int:
    compressor = zlib.compressobj(wbits=31)
    chunks = (content[start : start + _CHUNK_BYTES] for start in range(0, len(content), _CHUNK_BYTES))
    return sum(len(compressor.compress(chunk)) for chunk in chunks) + len(compressor.flush())


def _count(bundle: ModelBundle) -> tuple[int, int]:
    """Parameters, and those that are not zero."""
    if isinstance(bundle.network, OnnxGraph):
        arrays = list(_weights(bundle.network))
        return sum(array.size for array in arrays), sum(int(np.count_nonzero(array)) for array in arrays)
    parameters = list(bundle.network.parameters())
    return sum(p.numel() for p in parameters), sum(int(p.count_nonzero()) for p in parameters)


def _weights(graph: OnnxGraph) -> Iterator[np.ndarray[Any, Any]]:
    """The initialisers that are learned: neither scales and zero points of quantization nor int64 shapes."""
    import onnx
    from onnx import numpy_helper

    content = onnx.load_from_string(graph.content).graph
    quantizers = (node for node in content.node if node.op_type in ("QuantizeLinear", "DequantizeLinear"))
    grids = {name for node in quantizers for name in node.input[1:]}
    for initializer in content.initializer:
        if initializer.name not in grids and initializer.data_type != onnx.TensorProto.INT64:
            yield numpy_helper.to_array(initializer)
