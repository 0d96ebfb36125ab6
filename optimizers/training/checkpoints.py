"""What lets a killed training go on as if nothing had happened. Imports torch: import it inside functions only."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor, nn

SAVE_EVERY_S = 5.0
"""Of training, at least, between two checkpoints of one training."""
UNUSABLE = (
    OSError, EOFError, BadZipFile, UnpicklingError, RuntimeError, ValueError, LookupError, TypeError, AttributeError,
)  # fmt: skip
"""What reading a damaged file, or one that another version wrote, ends with."""


class Checkpoint:
    """The file of one training, named by all that decides its result."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path, self._fingerprint = folder / f"training-{fingerprint[:16]}.pt", fingerprint
        self._tried_at, self.has_failed = time.monotonic(), False

    @property
    def exists(self) -> bool:
        """Whether a training with this fingerprint left one."""
        return self._path.exists()

    @property
    def is_due(self) -> bool:
        """Whether the last one is old enough to be worth another."""
        return time.monotonic() - self._tried_at >= SAVE_EVERY_S

    def write(self, states: list[dict[str, Any]]) -> None:
        """Keep the states in place of what was kept before, so that a cut in power leaves the one or the other.

        Raises `OSError` where there is no room; what was kept before is still there then.
        """
        content, part = io.BytesIO(), self._path.with_suffix(".part")
        torch.save({"fingerprint": self._fingerprint, "states": states}, content)
        try:
            with part.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._path)
        except OSError:
            self.has_failed = True
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        finally:
            self._tried_at = time.monotonic()

    def read(self) -> list[dict[str, Any]]:
        """The states that were kept, their tensors on the CPU. Raises one of `UNUSABLE`."""
        with ZipFile(self._path) as archive:
            if archive.testzip():  # which torch does not look for
                raise ValueError("its content is damaged")
        kept = torch.load(self._path, map_location="cpu", weights_only=True)
        if kept["fingerprint"] != self._fingerprint:
            raise ValueError("it belongs to another training")
        states: list[dict[str, Any]] = kept["states"]
        return states


def fingerprint_of(parts: Iterable[Any]) -> str:
    """A hash of plain values, dataclasses of them, arrays, tensors and networks."""
    digest = hashlib.sha256()
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    digest.update(f"\n{type(value).__qualname__}:".encode())
    if isinstance(value, Tensor):
        _feed(digest, (str(value.dtype), tuple(value.shape)))
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, np.ndarray):
        _feed(digest, (str(value.dtype), value.shape))
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    elif isinstance(value, nn.Module):
        for name, module in value.named_modules():
            digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()}\n".encode())
        _feed(digest, {**dict(value.named_parameters()), **dict(value.named_buffers())})
    elif is_dataclass(value):
        _feed(digest, {field.name: getattr(value, field.name) for field in fields(value)})
    elif isinstance(value, dict):
        _feed(digest, list(value.items()))
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)}\n".encode())
        for each in value:
            _feed(digest, each)
    else:
        digest.update(repr(value).encode())
