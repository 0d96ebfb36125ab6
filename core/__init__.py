"""Plain types that every layer may import. Nothing here imports torch, streamlit or plotly."""

import sys

# OpenVINO and NNCF report their use to their makers through this package, and do without where it is missing. Nothing
# is to leave the machine unasked, and everything that imports them imports this first.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
