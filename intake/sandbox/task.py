"""What is asked of a sandboxed process, and how it has to be confined while it does it."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "core", ROOT / "intake")
"""All of the project that a parser may import."""
Mechanism = Literal["bubblewrap", "landlock", "none"]
"""What starts the process: bubblewrap, or Python itself, which confines itself either way but with `none`."""
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/nix/store", "/etc/ld.so.cache")
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")


class Trap(BaseModel):
    """Things outside that a confined process has to fail to reach; it tries before it reads anything."""

    model_config = ConfigDict(frozen=True)

    canary: Path
    """A file that the user may read."""
    mark: Path
    """A file that the user could make."""
    port: int = 9
    """On the loopback address: the parent listens there for TCP and UDP, or nobody does."""
    parent: int
    """Id of the process that asks."""


class Task(BaseModel):
    """One file and the parser that reads it."""

    model_config = ConfigDict(frozen=True)

    parser: str
    """`module:function`; empty to try the trap and nothing else."""
    file: Path
    out: Path
    """The only folder that may be written to."""
    options: dict[str, Any] = {}
    seconds: float
    memory_bytes: int
    out_bytes: int
    """Of all that it writes."""
    kept_free_bytes: int = 0
    """Of the disk: with less of it left, the process is ended."""
    sources: tuple[Path, ...] = SOURCES
    """Folders of modules that may be imported beside the libraries."""


class Request(BaseModel):
    """What the parent writes on the standard input of the process."""

    model_config = ConfigDict(frozen=True)

    task: Task
    trap: Trap
    readable: tuple[Path, ...]
    mechanism: Mechanism


def packages() -> list[Path]:
    """The folders in which this process finds its libraries."""
    return [Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]


def interpreter() -> Path:
    """The Python that runs this process, behind all links of an environment."""
    return Path(os.path.realpath(sys.executable))


def readable(task: Task) -> tuple[Path, ...]:
    """All that the process has to read: Python, libraries, the parsers and the one file."""
    python = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    libraries = [Path(sys.base_prefix, "lib"), *map(Path, _LIBRARIES)]
    found = [interpreter(), *python, *libraries, *packages(), *task.sources, task.file]
    return tuple(dict.fromkeys(path for path in found if path.exists()))


def facts_of_machine() -> tuple[Path, ...]:
    """Files of the kernel in which libraries look up the processor."""
    return tuple(path for path in map(Path, _MACHINE) if path.exists())
