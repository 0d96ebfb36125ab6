"""The smallest artifacts there are: one matrix in ONNX, and stand-ins for engines that misbehave."""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from core.data import Floats
from core.devices import Device
from runtimes.runtime import Artifact, EngineSettings

SHAPE, MEAN, STD = (1, 4, 4), (100.0,), (50.0,)


def write_companions(folder: Path) -> None:
    """The input contract and three images."""
    contract = {"shape": SHAPE, "mean": MEAN, "std": STD, "labels": ("a", "b")}
    (folder / "contract.json").write_text(json.dumps(contract))
    pixels = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)
    np.savez_compressed(folder / "samples.npz", pixels=pixels, labels=np.zeros(3, np.int64))


def onnx_artifact(folder: Path) -> Artifact:
    """logits[N, 2] = x[N, 1, 4, 4] times a matrix, for ONNX Runtime, with its companions."""
    write_companions(folder)
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.ones((16, 2), np.float32), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return Artifact("onnxruntime", "fp32", folder, ("model.onnx",))


def odd_artifact(folder: Path, habit: str) -> Artifact:
    """An artifact for `OddRuntime`, which reads its habit from the file's name."""
    write_companions(folder)
    return Artifact("odd", "fp32", folder, (habit,))


class OddRuntime:
    """An engine that prints, hangs, crashes or is killed."""

    settings = EngineSettings()

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> OddSession:
        if artifact.files[0] == "hangs":
            time.sleep(600)
        return OddSession(artifact.files[0])


class OddSession:
    def __init__(self, habit: str) -> None:
        self._habit = habit

    def run(self, x: Floats) -> Floats:
        return x

    def bind(self, x: Floats) -> Callable[[], None]:
        def infer() -> None:
            if self._habit == "prints":
                print('{"sentence": "printed by a library"}', flush=True)
                os.write(1, b"printed by a library\n")
            if not gc.isenabled():  # the warm-up is over, and this is a timed block
                if self._habit == "crashes":
                    os.kill(os.getpid(), signal.SIGSEGV)
                if self._habit == "is killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self._habit == "refuses":
                    raise ValueError("no more\nthan this line")
            time.sleep(0.001)

        return infer

    def __enter__(self) -> OddSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


if __name__ == "__main__":  # the server, with one more runtime
    from experiments import server
    from runtimes import RUNTIMES

    RUNTIMES["odd"] = OddRuntime()  # type: ignore[assignment]
    server.main()
