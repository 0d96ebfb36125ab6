"""Libraries that would report their use to their makers do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from onnx import TensorProto, ValueInfoProto, helper

ROOT = Path(__file__).parents[2]


def test_openvino_and_nncf_work_without_their_telemetry() -> None:
    code = "import core, openvino, nncf, sys; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "None", done.stderr


def test_onnx_runtime_keeps_no_record_of_its_use(tmp_path: Path) -> None:
    """It would lay one under the home folder, and send it."""
    code = "import core, onnxruntime; onnxruntime.InferenceSession('sample.onnx')"
    model = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", *([_tensor(name)] for name in "xy")),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    (tmp_path / "sample.onnx").write_bytes(model.SerializeToString())
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=120)
    assert list(home.iterdir()) == []


def _tensor(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])
