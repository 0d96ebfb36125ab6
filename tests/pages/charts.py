"""The figures of a page as the browser gets them."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest


def charts(page: AppTest) -> list[dict[str, Any]]:
    """All figures, with the arrays that plotly packs as base64 unpacked to lists."""
    return [json.loads(chart.proto.spec, object_hook=_unpacked) for chart in page.get("plotly_chart")]


def _unpacked(found: dict[str, Any]) -> Any:
    if not {"dtype", "bdata"} <= set(found):
        return found
    values = np.frombuffer(base64.b64decode(found["bdata"]), found["dtype"])
    shape = [int(side) for side in str(found.get("shape", len(values))).split(",")]
    return values.reshape(shape).tolist()
