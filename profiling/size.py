"""How big a network and its files are, and how much arithmetic one image takes."""

from __future__ import annotations

import zlib

from pydantic import BaseModel, ConfigDict

from core.bundle import ModelBundle, OnnxGraph
from core.macs import count_macs
from core.onnx_macs import macs_of_graph, parameters_of_graph
from core.tflite_file import parameters_of_file, tflite_of
from core.tflite_macs import macs_of_file
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
    """The size of the files and of the bundle's network; `macs` as `macs_of` counted before quantization."""
    paths = [shipped.folder / name for name in shipped.files]
    parameters, nonzero = _count(bundle)
    return Size(
        size_bytes=sum(path.stat().st_size for path in paths),
        gzip_bytes=sum(_gzip_bytes(path.read_bytes()) for path in paths),
        parameter_count=parameters,
        nonzero_count=nonzero,
        macs=macs,
    )


def macs_of(bundle: ModelBundle) -> int:
    """Multiply-accumulates for one image of a bundle in float; of ONNX graphs and `.tflite` files, in these."""
    if content := tflite_of(bundle.network):
        return macs_of_file(content)
    if isinstance(bundle.network, OnnxGraph):
        return macs_of_graph(bundle.network.content, bundle.contract.shape)
    return count_macs(bundle.module, bundle.contract)


def _gzip_bytes(content: bytes) -> int:
    compressor = zlib.compressobj(wbits=31)
    chunks = (content[start : start + _CHUNK_BYTES] for start in range(0, len(content), _CHUNK_BYTES))
    return sum(len(compressor.compress(chunk)) for chunk in chunks) + len(compressor.flush())


def _count(bundle: ModelBundle) -> tuple[int, int]:
    """Parameters, and those that are not zero; of a quantized network as its report or its `.tflite` file has them."""
    if content := tflite_of(bundle.network):
        return parameters_of_file(content)
    if report := bundle.quantization:
        return report.parameter_count, report.nonzero_count
    if isinstance(bundle.network, OnnxGraph):
        return parameters_of_graph(bundle.network.content)
    parameters = list(bundle.module.parameters())
    return sum(p.numel() for p in parameters), sum(int(p.count_nonzero()) for p in parameters)
