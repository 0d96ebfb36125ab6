"""Small files as people bring them: an ONNX classifier, weights, and images in zips and arrays."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

CLASSES, SIDE = 3, 8


def onnx_file(
    folder: Path,
    *,
    outputs: tuple[str, ...] = ("logits",),
    size: tuple[int | str, int | str] = (SIDE, SIDE),
    name: str = "net.onnx",
) -> Path:
    """logits[N, 3] = mean of each channel of x[N, 3, 8, 8]; a second output has them negated."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weight"], [outputs[0]], name="head"),
    ]
    if len(outputs) > 1:
        nodes.append(helper.make_node("Neg", [outputs[0]], [outputs[1]]))
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, *size])],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["batch", CLASSES]) for each in outputs],
        [numpy_helper.from_array(np.eye(3, dtype=np.float32), "weight")],
    )
    path = folder / name
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def image_zip(
    folder: Path,
    *,
    each: int = 6,
    labelled: bool = True,
    name: str = "images.zip",
    colours: tuple[str, ...] = ("0-red", "1-green", "2-blue"),
) -> Path:
    """Images that are red, green or blue, in class folders of these names, so that `onnx_file` is always right."""
    path, draw = folder / name, np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for channel, colour in enumerate(colours):
            for number in range(each):
                pixels = draw.integers(0, 100, (12, 10, 3), np.uint8)
                pixels[..., channel] += 120
                content = io.BytesIO()
                Image.fromarray(pixels).save(content, "PNG")
                place = f"{colour}/{number}.png" if labelled else f"{colour}-{number}.png"
                archive.writestr(place, content.getvalue())
    return path


def safetensors_file(folder: Path, name: str = "weights.safetensors") -> Path:
    """One matrix."""
    values = np.arange(6, dtype=np.float32)
    header = json.dumps({"head.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    path = folder / name
    path.write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    return path
