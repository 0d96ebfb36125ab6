"""The ONNX file that ONNX Runtime serves and OpenVINO converts."""

from __future__ import annotations

import mmap
from pathlib import Path

from core.bundle import ModelBundle, OnnxGraph, PlainNetwork, Precision
from core.onnx_export import LAYERS_IN_FLOAT

_FILE = "model.onnx"
_QUANTIZES_WEIGHTS = "WeightBiasQuantization"


def onnx_bytes(bundle: ModelBundle, precision: Precision) -> bytes:
    """The bundle's network as ONNX: the graph itself where it is one, else the module exported in `precision`.

    Raises `TypeError` on an OpenVINO model, which nothing turns back: runtimes check the form beforehand.
    """
    if isinstance(bundle.network, OnnxGraph):
        return bundle.network.content
    if isinstance(bundle.network, PlainNetwork):
        raise TypeError(f"{bundle.key} is an OpenVINO model here, which has no ONNX form")
    from core.onnx_export import export_onnx
    from runtimes.lowering import lowered

    return export_onnx(lowered(bundle.network, precision), bundle.contract)


def write_onnx(bundle: ModelBundle, folder: Path, precision: Precision) -> str:
    """Write the bundle as `onnx_bytes` has it into the folder, as `model.onnx`; the file's name."""
    (folder / _FILE).write_bytes(onnx_bytes(bundle, precision))
    return _FILE


def left_out_rewriting(model: Path | bytes) -> list[str]:
    """Names of ONNX Runtime's optimizers that a file or a serialised graph has to be opened without.

    One of them quantizes the weights of any float layer between quantized ones, and computes it in INT8 although it was
    left in float because that costs accuracy. Models with such layers carry a mark.
    """
    mark = LAYERS_IN_FLOAT.encode()
    if isinstance(model, bytes):
        return [_QUANTIZES_WEIGHTS] if mark in model else []
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [_QUANTIZES_WEIGHTS] if content.rfind(mark) >= 0 else []  # properties stand at the end
