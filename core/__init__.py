"""Plain types that every layer may import. Nothing here imports torch, streamlit or plotly."""

import os
import sys

# OpenVINO and NNCF report their use to their makers through this package, and do without where it is missing. Nothing
# is to leave the machine unasked, and everything that imports them imports this first.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# ONNX Runtime reports for itself, unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# So do the libraries that models come from, where they download something that was asked for.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
