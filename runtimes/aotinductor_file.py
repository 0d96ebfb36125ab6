"""AOTInductor's package as a file. Imports torch: import it inside functions only."""

from __future__ import annotations

import json
import os
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from core.devices import Device

_SOURCES = ".cpp"
"""What it was compiled from, which lies in the package and which nothing opens."""
_FOLDER = "TMPDIR"
"""Names the folder that a package is unpacked to."""


def compile_package(program: torch.export.ExportedProgram, path: Path, *, facts: Mapping[str, str]) -> None:
    """Compile for the device that the program lies on, in a folder of its own, and keep these facts in the file.

    The compiler's cache is left as it is. The file names no folder of this machine.
    """
    # Opening needs neither, and they take long to import.
    import torch._inductor.config as compiler
    from torch._inductor.utils import fresh_cache

    settings: dict[str, Any] = {
        "cpp.dynamic_threads": True,  # else it takes as many as were set while it was compiled
        "aot_inductor.metadata": dict(facts),
    }
    # They make the file a quarter smaller and its making as fast again; early versions have neither.
    for name in ("enable_line_tables", "precompile_headers"):
        if hasattr(compiler.aot_inductor, name):
            settings[f"aot_inductor.{name}"] = False
    with tempfile.TemporaryDirectory() as scratch:
        with torch.no_grad(), fresh_cache(dir=scratch):
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)
        _clean(path, folders=(scratch, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))


def facts_of(path: Path) -> Mapping[str, str]:
    """What the package says it was compiled for, read without running any of it; empty where it says nothing."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".wrapper_metadata.json"):
                facts: dict[str, str] = json.loads(archive.read(name))
                return facts
    return {}


def open_package(path: Path, device: Device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The compiled network on the device. Runs code that the file contains.

    PyTorch unpacks it, and tidies up unless the process is ended from outside. On a CPU all is in memory by then, so
    what was unpacked goes at once; on a GPU, kernels are read when they are first needed.
    """
    if device.kind == "cuda":
        return _load(path, device.index)
    with tempfile.TemporaryDirectory() as scratch, _unpacked_to(scratch):
        return _load(path, -1)


def _load(path: Path, index: int) -> Callable[[torch.Tensor], torch.Tensor]:
    network: Callable[[torch.Tensor], torch.Tensor] = torch._inductor.aoti_load_package(str(path), device_index=index)
    return network


@contextmanager
def _unpacked_to(folder: str) -> Iterator[None]:
    before = os.environ.get(_FOLDER)
    os.environ[_FOLDER] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FOLDER]
        else:
            os.environ[_FOLDER] = before


def _clean(path: Path, *, folders: tuple[str, ...]) -> None:
    """Leave the generated C++ out, and write the folders' names over, byte for byte, where messages quote them."""
    slim = path.with_suffix(".slim")
    with zipfile.ZipFile(path) as full, zipfile.ZipFile(slim, "w") as archive:
        for entry in full.infolist():
            if not entry.filename.endswith(_SOURCES):
                content = full.read(entry)
                for folder in folders:
                    content = content.replace(folder.encode(), b"/" * len(folder.encode()))
                archive.writestr(entry, content)
    slim.replace(path)
