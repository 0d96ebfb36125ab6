"""Files of integers, served with floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.devices import Device
from core.tflite_session import TfliteSession
from runtimes.openvino_ import OpenVino, OpenVinoSettings
from runtimes.runtime import Artifact
from tests.core.tflite_graphs import dense

CPU = Device("cpu", "cpu", "An old CPU", 1 << 30)
X = np.float32([[[[2, 4], [6, 90]]], [[[6, 2], [0.9, -3]]]])
"""x[2, 1, 2, 2], of which some numbers lie beyond the grid of the input, or between two of its steps."""


@pytest.fixture(params=["INT8", "UINT8"])
def artifact(request: pytest.FixtureRequest, tmp_path: Path) -> Artifact:
    low = -100 if request.param == "INT8" else 28
    ends = {
        "x": {"dtype": request.param, "scale": 0.5, "zero_point": low, "signature": (-1, 2, 2, 1)},
        "w": {"scale": 0.5},
        "b": {"scale": 0.25},
        "y": {"dtype": request.param, "scale": 0.25, "zero_point": low},
    }
    stored: Any = np.int8([[1, 2, 0, 1], [0, 1, 1, 0]])
    if request.param == "UINT8":
        stored, ends["w"] = stored.astype(np.uint8), {"scale": 0.5}
    content = dense(stored, np.int32([3, -2]), shape=(1, 2, 2, 1), **ends)
    (tmp_path / "model.tflite").write_bytes(content)
    return Artifact("openvino", "int8", tmp_path, ("model.tflite",))


def test_answers_are_those_of_litert(artifact: Artifact) -> None:
    with OpenVino(OpenVinoSettings()).open(artifact, CPU, threads=1) as session:
        found = session.run(X)
        session.bind(X)()
    with TfliteSession(artifact.main_file, "own", 1) as session:
        wanted = session.run(X)
    assert np.abs(found - wanted).max() <= 0.25  # a step of the output


def test_the_program_rounds_and_widens(artifact: Artifact) -> None:
    code = OpenVino(OpenVinoSettings()).sample_code(artifact)
    body = code[code.index("config = ") : code.index("def pixels")]
    names: dict[str, Any] = {"np": np}
    exec("import os\nimport openvino\nfrom pathlib import Path", names)
    exec(f"HERE = Path({str(artifact.folder)!r})\n{body}", names)
    with OpenVino(OpenVinoSettings()).open(artifact, CPU, threads=1) as session:
        np.testing.assert_allclose(names["logits"](X), session.run(X), atol=1e-5)
