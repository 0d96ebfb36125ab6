"""What is asked of a sandboxed process, and how it has to be confined while it does it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "core", ROOT / "intake", ROOT / "bridges")
"""All of the project that a parser may import."""
Mechanism = Literal["bubblewrap", "landlock", "none"]
"""What starts the process: bubblewrap, or Python itself, which confines itself either way but with `none`."""
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/nix/store", "/etc/ld.so.cache")
DEVICES = (Path("/dev/null"), Path("/dev/urandom"))
"""Where C++ takes random numbers from, which TensorFlow does as it starts."""
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/proc/self/cmdline", "/sys/devices/system/cpu")


_ASKED = """import json, sys, sysconfig
print(json.dumps([sys.base_prefix, *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))]))"""


class Interpreter(BaseModel):
    """A Python and where it finds what it imports."""

    model_config = ConfigDict(frozen=True)

    executable: Path
    """Behind all links of an environment."""
    folders: tuple[Path, ...]
    """Of its own library, and of what it is linked with."""
    packages: tuple[Path, ...]


def own_interpreter() -> Interpreter:
    """The Python that runs this process."""
    folders = (*(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")), Path(sys.base_prefix, "lib"))
    packages = tuple(Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages"))
    return Interpreter(executable=Path(os.path.realpath(sys.executable)), folders=folders, packages=packages)


@functools.cache
def interpreter_of(python: Path) -> Interpreter:
    """The Python of another environment, which is asked where its libraries lie."""
    answer = subprocess.run([python, "-I", "-c", _ASKED], check=True, capture_output=True, text=True, timeout=30)
    prefix, *library, pure, binary = json.loads(answer.stdout)
    return Interpreter(
        executable=Path(os.path.realpath(python)),
        folders=(*map(Path, library), Path(prefix, "lib")),
        packages=tuple(dict.fromkeys((Path(pure), Path(binary)))),
    )


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
    """The folder that its findings are written to."""
    options: dict[str, Any] = {}
    seconds: float
    memory_bytes: int
    out_bytes: int
    """Of all that it writes."""
    kept_free_bytes: int = 0
    """Of the disk: with less of it left, the process is ended."""
    sources: tuple[Path, ...] = SOURCES
    """Folders of modules that may be imported beside the libraries."""
    scratch: Path | None = None
    """A second folder that may be written to, for libraries that read nothing but files; whoever asks deletes it."""
    python: Interpreter = Field(default_factory=own_interpreter)

    @property
    def writable(self) -> tuple[Path, ...]:
        """The folders that may be written to."""
        return (self.out, self.scratch) if self.scratch else (self.out,)


class Request(BaseModel):
    """What the parent writes on the standard input of the process."""

    model_config = ConfigDict(frozen=True)

    task: Task
    trap: Trap
    readable: tuple[Path, ...]
    mechanism: Mechanism


def readable(task: Task) -> tuple[Path, ...]:
    """All that the process has to read: Python, libraries, the parsers and the one file."""
    python = [task.python.executable, *task.python.folders, *task.python.packages]
    found = [*python, *map(Path, _LIBRARIES), *task.sources, task.file]
    return tuple(dict.fromkeys(path for path in found if path.exists()))


def facts_of_machine() -> tuple[Path, ...]:
    """Files of the kernel in which libraries look up the processor."""
    return tuple(path for path in map(Path, _MACHINE) if path.exists())
