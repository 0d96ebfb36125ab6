"""The ONNX file that ONNX Runtime serves and OpenVINO converts."""

from __future__ import annotations

from pathlib import Path

from core.bundle import ModelBundle, OnnxGraph, OpenVinoModel, Precision

_FILE = "model.onnx"


def onnx_bytes(bundle: ModelBundle, precision: Precision) -> bytes:
    """The bundle's network as ONNX: the graph itself where it is one, else the module exported in `precision`.

    Raises `TypeError` on an OpenVINO model, which nothing turns back: runtimes check the form beforehand.
    """
    if isinstance(bundle.network, OnnxGraph):
        return bundle.network.content
    if isinstance(bundle.network, OpenVinoModel):
        raise TypeError(f"{bundle.key} is an OpenVINO model here, which has no ONNX form")
    from core.onnx_export import export_onnx
    from runtimes.lowering import lowered

    return export_onnx(lowered(bundle.network, precision), bundle.contract)


def write_onnx(bundle: ModelBundle, folder: Path, precision: Precision) -> str:
    """Write the bundle as `onnx_bytes` has it into the folder, as `model.onnx`; the file's name."""
    (folder / _FILE).write_bytes(onnx_bytes(bundle, precision))
    return _FILE
