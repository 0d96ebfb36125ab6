"""Whether TensorRT takes a network, operator by operator, from its real parser; needs no GPU."""

from __future__ import annotations

from core.bundle import ModelBundle
from core.compatibility import Compatibility
from runtimes.onnx_file import onnx_bytes


def compatibility_of(bundle: ModelBundle) -> Compatibility:
    """What the parser says of the bundle's graph."""
    return compatibility(onnx_bytes(bundle, bundle.precision))


def compatibility(onnx: bytes) -> Compatibility:
    """What the parser says of every node of an ONNX graph."""
    raise NotImplementedError(len(onnx))
