"""How large what people bring may be. Shown before an upload, and held to while it is read."""

from __future__ import annotations

import os
from dataclasses import dataclass

MIB, GIB = 2**20, 2**30
KEPT_FREE_BYTES = 2 * GIB
"""Of the disk, that nothing that people bring may take."""


@dataclass(frozen=True)
class Limits:
    """Of one file. Sizes in bytes."""

    model_bytes: int = 4 * GIB
    """Of a file of weights; an ONNX file has at most 2 GiB by its format."""
    data_bytes: int = 8 * GIB
    images: int = 50_000
    entries: int = 60_000
    """Of a zip, folders included."""
    unpacked_bytes: int = 32 * GIB
    unpacked_ratio: int = 200
    """Times that an entry of a zip may grow."""
    image_pixels: int = 100_000_000
    broken_share: float = 0.05
    """Of the images: with more than that broken, nothing is taken."""
    tensors: int = 20_000
    graph_nodes: int = 20_000
    graph_depth: int = 8
    classes: int = 100_000
    """Of a network."""
    parse_seconds: float = 30 * 60
    """Of a data set; a model has `model_seconds`."""
    model_seconds: float = 120
    keras_seconds: float = 600
    """Of a file that TensorFlow reads, which takes seconds to start."""
    memory_bytes: int = 8 * GIB


LIMITS = Limits()


def quota_bytes() -> int:
    """What one person may keep: `STUDIO_QUOTA_GB`, or 20 GiB."""
    return int(float(os.environ.get("STUDIO_QUOTA_GB") or 20) * GIB)
