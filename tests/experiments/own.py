"""Models as a person would have brought them, planted in the data folder with random weights and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from core.bundle import Precision
from core.data import Floats, Pixels
from intake.items import GRAPH_FILE, WEIGHTS_FILE
from intake.library import MODEL_FILE, SPLITS, OwnModel, key_of, own_folder
from intake.preprocessing import Preprocessing
from intake.sources import Architecture, OnnxFile

CLASSES = ("ant", "bee", "crab", "dove")
SIDE = 16
COUNTS = {"train": 48, "calibrate": 32, "test": 64}
INPUT = Preprocessing(height=SIDE, width=SIDE, mean=(128.0,) * 3, std=(64.0,) * 3)
ARCHITECTURE = "test_resnet"
"""Of timm: half a million parameters, made for tests."""


def plant_onnx(
    graph: bytes | None = None, *, counts: dict[str, int] = COUNTS, labelled: bool = True, **facts: Any
) -> str:
    """The key of a model that was brought as an ONNX file: `small_graph` or another for the same input.

    Nine labels of ten are what it answers, the others are drawn. `facts` are other fields of `OwnModel`.
    """
    content = graph or small_graph()
    key = _new_key("onnx", facts)
    folder = _folder_of(key, facts)
    (folder / GRAPH_FILE).write_bytes(content)
    splits = _images(counts)
    labels = {name: _mostly(_answers(content, pixels), labelled=labelled) for name, pixels in splits.items()}
    known = {"source": OnnxFile(item="0123456789ab"), "form": "onnx", "size_bytes": len(content)}
    return _plant(key, folder, splits, labels, known | facts)


def plant_torch(architecture: str = ARCHITECTURE, *, counts: dict[str, int] = COUNTS, **facts: Any) -> str:
    """The key of a model that was brought as weights of an architecture that timm knows by name. Imports torch."""
    import timm
    import torch
    from safetensors.torch import save_file

    key = _new_key("torch", facts)
    folder = _folder_of(key, facts)
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=len(CLASSES)).eval()
    save_file(network.state_dict(), folder / WEIGHTS_FILE)
    splits, labels = _images(counts), {}
    with torch.inference_mode():
        for name, pixels in splits.items():
            labels[name] = _mostly(network(torch.from_numpy(_prepared(pixels))).numpy(), labelled=True)
    source = Architecture(library="timm", name=architecture, classes=len(CLASSES), weights="0123456789ab")
    return _plant(key, folder, splits, labels, {"source": source, "size_bytes": 1} | facts)


def small_graph(*, seed: int = 0, classes: int = len(CLASSES), precision: Precision = "fp32") -> bytes:
    """`input`[batch, 3, 16, 16] -> `logits`[batch, classes]: three convolutions, one of them depthwise, and a product.

    With `int8` its layers are quantized already, as ONNX Runtime's quantizer writes them.
    """
    draw = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> TensorProto:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return numpy_helper.from_array((scale * draw.standard_normal(shape)).astype(np.float32), name)

    constants = [
        weights("stem.weight", 8, 3, 3, 3),
        weights("stem.bias", 8),
        numpy_helper.from_array(np.abs(draw.standard_normal(8)).astype(np.float32) + 0.5, "norm.weight"),
        weights("norm.bias", 8),
        weights("norm.mean", 8),
        numpy_helper.from_array(np.abs(draw.standard_normal(8)).astype(np.float32) + 0.5, "norm.var"),
        weights("mix.weight", 8, 1, 3, 3),
        weights("widen.weight", 16, 8, 1, 1),
        weights("head.weight", classes, 16),
        weights("head.bias", classes),
    ]
    nodes = [
        helper.make_node("Conv", ["input", "stem.weight", "stem.bias"], ["a"], "stem", strides=[2, 2], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["a", *(f"norm.{p}" for p in ("weight", "bias", "mean", "var"))], ["b"]),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("Conv", ["c", "mix.weight"], ["d"], "mix", group=8, pads=[1] * 4),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "widen.weight"], ["f"], "widen"),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("GlobalAveragePool", ["g"], ["h"]),
        helper.make_node("Flatten", ["h"], ["i"]),
        helper.make_node("Gemm", ["i", "head.weight", "head.bias"], ["logits"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return _quantized(content) if precision == "int8" else content


def _quantized(content: bytes) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter([{"input": _prepared(_images({"calibrate": 16})["calibrate"])}])

        def get_next(self) -> dict[str, Floats] | None:
            return next(self._batches, None)

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        quantize_static(onnx.load_from_string(content), path, Reader())
        return path.read_bytes()


def _images(counts: dict[str, int]) -> dict[str, Pixels]:
    """Each image a colour of its own with noise on it, so that answers differ."""
    draw, found = np.random.default_rng(1), {}
    for name, count in counts.items():
        colours = draw.integers(0, 256, (count, 3, 1, 1))
        noise = draw.normal(0, 40, (count, 3, SIDE, SIDE))
        found[name] = np.clip(colours + noise, 0, 255).astype(np.uint8)
    return found


def _prepared(pixels: Pixels) -> Floats:
    return np.asarray(INPUT.contract(CLASSES).prepare(pixels), np.float32)


def _answers(content: bytes, pixels: Pixels) -> Floats:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    logits: Floats = session.run(["logits"], {"input": _prepared(pixels)})[0]
    return logits


def _mostly(logits: Floats, *, labelled: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64 [N, 1]: what was answered for nine of ten, another class for the rest; -1 without labels."""
    if not labelled:
        return np.full((len(logits), 1), -1, np.int64)
    answers = logits.argmax(1).astype(np.int64)
    answers[::10] = (answers[::10] + 1) % logits.shape[1]
    return answers[:, None]


def _new_key(kind: str, facts: dict[str, Any]) -> str:
    title = facts.get("title", f"A planted {kind} model")
    content = f"{kind} {sorted(facts.items(), key=lambda item: item[0])}"
    return key_of(title, content, "onnx" if kind == "onnx" else "torch")


def _folder_of(key: str, facts: dict[str, Any]) -> Path:
    folder = own_folder(facts.get("owner", "")) / "models" / key
    folder.mkdir(parents=True)
    return folder


def _plant(
    key: str, folder: Path, splits: dict[str, Pixels], labels: dict[str, np.ndarray[Any, Any]], facts: dict[str, Any]
) -> str:
    for name in SPLITS:
        np.save(folder / f"{name}.npy", splits[name])
        np.save(folder / f"{name}-labels.npy", labels[name])
    known: dict[str, Any] = {
        "key": key,
        "title": f"A planted {facts.get('form', 'torch')} model",
        "owner": "",
        "family": "cnn",
        "input": INPUT,
        "labels": CLASSES,
        "data_title": "Planted images",
        "counts": {name: len(splits[name]) for name in SPLITS},
        "metric": "accuracy" if (labels["test"] >= 0).any() else "agreement",
        "parameter_count": 1,
        "macs": 1,
        "correct": 1,
        "judged": 1,
        "added_at": 0.0,
    }
    (folder / MODEL_FILE).write_text(OwnModel.model_validate(known | facts).model_dump_json())
    return key
