"""Spoils one layer of an exported artifact, in the file itself."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from core.torchao_import import import_torchao, import_x86_quantizer
from runtimes.pt2_file import save_program
from runtimes.runtime import Artifact

FACTOR = 1.5


def spoil(artifact: Artifact, module: str) -> None:
    """Make a module's weights wrong: half as large again or, where they are integers, those of another channel."""
    spoiled = {".onnx": _spoil_onnx, ".xml": _spoil_openvino, ".pt2": _spoil_program}[artifact.main_file.suffix]
    assert spoiled(artifact, module) == 1


def spoil_values(artifact: Artifact, weights: np.ndarray) -> None:
    """Make these float32 weights half as large again wherever they lie in the file, as they are or transposed."""
    path = artifact.folder / artifact.files[-1]
    content = path.read_bytes()
    changed = content
    for values in (weights, weights.T):
        changed = changed.replace(values.tobytes(), _spoiled(values).tobytes())
    assert changed != content
    path.write_bytes(changed)


def _spoiled(weights: np.ndarray) -> np.ndarray:
    return weights * np.float32(FACTOR) if weights.dtype.kind == "f" else np.roll(weights, 1, axis=0)


def _spoil_onnx(artifact: Artifact, module: str) -> int:
    model = onnx.load(artifact.main_file)
    found = [
        each for each in model.graph.initializer if each.name in (f"{module}.weight", f"{module}.weight_quantized")
    ]
    for weights in found:
        changed = np.ascontiguousarray(_spoiled(numpy_helper.to_array(weights)))
        weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    onnx.save(model, artifact.main_file)
    return len(found)


def _spoil_openvino(artifact: Artifact, module: str) -> int:
    weights = artifact.folder / artifact.files[1]
    content = bytearray(weights.read_bytes())
    found = _openvino_constants(ElementTree.parse(artifact.main_file).getroot(), module)
    for data in found:
        start, size = int(data["offset"]), int(data["size"])
        shape = [int(side) for side in data["shape"].split(",")]
        dtype = {"f32": np.float32, "i8": np.int8}[data["element_type"]]
        values = np.frombuffer(bytes(content[start : start + size]), dtype).reshape(shape)
        content[start : start + size] = _spoiled(values).tobytes()
    weights.write_bytes(content)
    return len(found)


def _openvino_constants(root: ElementTree.Element, module: str) -> list[dict[str, str]]:
    """Where the weights of a module lie: in a constant of their name, or behind a layer of the module's name."""
    layers = {layer.attrib["id"]: layer for layer in root.iter("layer")}
    named = [each for each in layers.values() if each.attrib["name"] == f"{module}.weight"]
    for layer in layers.values():
        if layer.attrib["name"].startswith(f"{module}/") and layer.attrib["type"] in ("Convolution", "MatMul"):
            behind = layer
            while behind.attrib["type"] != "Const":
                port = "1" if behind is layer else "0"
                behind = next(
                    layers[edge.attrib["from-layer"]]
                    for edge in root.iter("edge")
                    if edge.attrib["to-layer"] == behind.attrib["id"] and edge.attrib["to-port"] == port
                )
            named.append(behind)
    return [each.find("data").attrib for each in named]


def _spoil_program(artifact: Artifact, module: str) -> int:
    if artifact.precision == "int8":
        import_torchao()
        import_x86_quantizer()
    program = torch.export.load(artifact.main_file)
    state = {**program.state_dict, **program.constants}
    found = [name for name in (f"{module}.weight", f"{module}.weight_int8") if name in state]
    for name in found:
        weights = state[name].detach()
        changed = torch.from_numpy(
            _spoiled(weights.float().numpy() if weights.is_floating_point() else weights.numpy())
        )
        weights.copy_(changed)
    save_program(program, artifact.main_file)
    return len(found)
