"""Libraries that would report their use to their makers do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_openvino_and_nncf_work_without_their_telemetry() -> None:
    code = "import core, openvino, nncf, sys; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "None", done.stderr
