"""What TensorRT learned while it timed kernels, kept in a file so that the next build on the same GPU need not.

TensorRT for RTX times nothing when it builds: its timing cache has been without effect since version 1.2, and it is
left alone.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from core.devices import Device
from runtimes.tensorrt_module import FULL


class Timings:
    """The timing cache of a module on a GPU; one of another version or GPU has another file."""

    def __init__(self, trt: Any, target: Device, folder: Path | None) -> None:
        self._path = folder / timings_name(trt, target) if folder and trt.__name__ == FULL else None

    def attach(self, config: Any) -> bool:
        """Give the builder what earlier builds learned, or an empty cache to fill; whether there was anything.

        What cannot be read, or is not of this GPU, is left aside.
        """
        if self._path is None:
            return False
        known = self._path.read_bytes() if self._path.exists() else b""
        if known and _set(config, known):
            return True
        _set(config, b"")
        return False

    def keep(self, config: Any) -> None:
        """Write back what is known now, whole or not at all."""
        if self._path is None or (cache := config.get_timing_cache()) is None:
            return
        handle, unfinished = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(cache.serialize())
        os.replace(unfinished, self._path)


def timings_name(trt: Any, target: Device) -> str:
    """`tensorrt-10.13.3-nvidia-h200.timing`."""
    gpu = re.sub(r"\W+", "-", target.name).strip("-").lower()
    return f"{trt.__name__}-{trt.__version__}-{gpu}.timing"


def _set(config: Any, content: bytes) -> bool:
    cache = config.create_timing_cache(content)
    return cache is not None and bool(config.set_timing_cache(cache, False))
