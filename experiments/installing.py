"""Installs an environment beside the studio's own, when somebody presses the button for it.

Each installation is a process, `studio.py install`, and a folder: who does it, and what pip says meanwhile. The pages
only read the folder; a closed tab or a stopped server changes nothing for it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from bridges.environments import LITERT_TORCH, ROOT, TENSORFLOW, Environment
from core.errors import BadInput
from core.folders import data_folder
from core.processes import is_alive, kill_family

State = Literal["absent", "running", "installed", "failed"]
Stage = Literal["prepare", "download", "install"]
DOWNLOADS_BYTES: Mapping[str, int] = {TENSORFLOW.key: 680 * 10**6, LITERT_TORCH.key: 3_300 * 10**6}
"""What pip fetches for each, measured on Linux."""
ROOM_BYTES: Mapping[str, int] = {TENSORFLOW.key: 4 * 10**9, LITERT_TORCH.key: 14 * 10**9}
"""Free disk that each needs while it is installed: its files, what is fetched for them, and pip's copy of that."""
PROCESS_FILE, LOG_FILE, FETCHED = "process.json", "log.txt", "fetched"
LAST_LINES = 8
DONE = "\nInstalled in "
"""What `studio.py` says at the end."""
_REASONS = (
    (r"No space left on device", "The disk is full. Make room and try again."),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeout|Read timed out|ProxyError|Max retries exceeded",
        "The package index did not answer. Check the connection and pip's configuration, then try again.",
    ),
    (
        r"No matching distribution found for (?P<what>\S+)",
        "The package index has no {what} for this Python ({python}) and platform.",
    ),
    (r"THESE PACKAGES DO NOT MATCH THE HASHES", "A file arrived damaged. Try again."),
    (r"\bERROR\b|Installing failed", "pip ended with an error."),
)
ENDED = "The installation was ended from outside, or the machine ran out of memory. Try again."


@dataclass(frozen=True)
class Doing:
    """How far pip is."""

    stage: Stage
    done: int = 0
    """Packages fetched or installed."""
    total: int = 0
    """Packages that there are; while they are fetched, as many as are known of. 0 while nothing is known."""
    fetched_bytes: int = 0
    share: float = 0.0
    """Of this stage, between 0 and 1: of the bytes that were fetched in trials, or of the packages to install."""


@dataclass(frozen=True)
class Installation:
    """What is known of an environment and of the attempt to install it."""

    state: State
    doing: Doing = Doing("prepare")
    began_at: float = 0.0
    """Seconds since the epoch."""
    sentence: str = ""
    """Why it failed."""
    last_words: str = ""
    """The end of the log, where it failed."""


class _Process(BaseModel):
    model_config = ConfigDict(frozen=True)

    pid: int
    started_at: float


def installation(environment: Environment) -> Installation:
    """Whether the environment is here, is being installed, or could not be."""
    folder, noted = _folder(environment), _noted(environment)
    if noted and is_alive(noted.pid, noted.started_at):
        return Installation("running", _doing(environment), noted.started_at)
    if environment.is_installed:
        return Installation("installed")
    said = _read(folder / LOG_FILE)
    if noted is None or DONE in said:  # it was, and has been deleted since
        return Installation("absent")
    return Installation("failed", began_at=noted.started_at, sentence=_reason(said), last_words=_last_words(said))


def start(environment: Environment) -> None:
    """Begin to install it, in a process of its own; nothing happens where that is at work.

    Raises `BadInput` where the disk has too little room.
    """
    folder = _folder(environment)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if installation(environment).state in ("running", "installed"):
            return
        if reason := why_no_room(environment):
            raise BadInput(reason, action="Make room and try again")
        shutil.rmtree(folder)
        (folder / FETCHED).mkdir(parents=True)
        process = _launched(environment)
        noted = _Process(pid=process.pid, started_at=psutil.Process(process.pid).create_time())
        (folder / PROCESS_FILE).write_text(noted.model_dump_json())
    threading.Thread(target=_await, args=(process, folder), name="install", daemon=True).start()


def cancel(environment: Environment) -> None:
    """End the installation that is at work, and delete the half of the environment that it made."""
    noted = _noted(environment)
    if noted is None or not is_alive(noted.pid, noted.started_at):
        return
    kill_family(noted.pid)
    shutil.rmtree(environment.folder, ignore_errors=True)
    forget(environment)


def forget(environment: Environment) -> None:
    """Delete what is known of an attempt that has ended."""
    shutil.rmtree(_folder(environment), ignore_errors=True)


def free_bytes() -> int:
    """What is free where environments are made and where their files are fetched to, whichever has less."""
    return min(shutil.disk_usage(each).free for each in (ROOT, data_folder()))


def why_no_room(environment: Environment) -> str:
    """One sentence where the disk has too little room for it; else empty."""
    needed, free = ROOM_BYTES[environment.key], free_bytes()
    if free >= needed:
        return ""
    return (
        f"{environment.title} needs {needed / 1e9:.0f} GB of free disk while it is installed, and {free / 1e9:.1f} GB "
        "are free"
    )


def installer(environment: Environment) -> list[str]:
    """The command that installs it."""
    return [sys.executable, str(ROOT / "studio.py"), "install", environment.key]


def _launched(environment: Environment) -> subprocess.Popen[bytes]:
    folder = _folder(environment)
    told = {"STUDIO_PIP_TALKS": "1", "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder / FETCHED)}
    with (folder / LOG_FILE).open("wb") as log:
        return subprocess.Popen(
            installer(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=os.environ | told,
            start_new_session=True,
        )


def _await(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Leave no zombie behind, nor what was fetched; by now that may be the folder of another attempt."""
    process.wait()
    with FileLock(folder.with_suffix(".lock")):
        if (noted := _noted_in(folder)) and noted.pid == process.pid:
            shutil.rmtree(folder / FETCHED, ignore_errors=True)


def _folder(environment: Environment) -> Path:
    return data_folder() / "installing" / environment.key


def _noted(environment: Environment) -> _Process | None:
    return _noted_in(_folder(environment))


def _noted_in(folder: Path) -> _Process | None:
    try:
        return _Process.model_validate_json((folder / PROCESS_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _doing(environment: Environment) -> Doing:
    folder = _folder(environment)
    said = _read(folder / LOG_FILE)
    if found := re.search(r"^Installing collected packages: (.+)$", said, re.MULTILINE):
        total = len(found[1].split(", "))
        done = min(total, _packages(environment))
        return Doing("install", done, total, share=done / total)
    known = set(re.findall(r"^(?:Collecting|Processing) (\S+)", said, re.MULTILINE))
    if not known:
        return Doing("prepare")
    sizes = _sizes(folder / FETCHED)
    share = min(1.0, sum(sizes) / DOWNLOADS_BYTES[environment.key])
    return Doing("download", min(len(sizes), len(known)), len(known), sum(sizes), share)


def _sizes(folder: Path) -> list[int]:
    """Bytes of each file that pip has fetched, or is fetching; it moves and deletes them meanwhile."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                sizes += [os.path.getsize(os.path.join(parent, name))] if name.endswith(".whl") else []
    return sizes


def _packages(environment: Environment) -> int:
    """How many are installed, without those that every environment begins with."""
    places = [*environment.folder.glob("lib/python*/site-packages"), *environment.folder.glob("Lib/site-packages")]
    names = {name for place in places for name in os.listdir(place) if name.endswith(".dist-info")}
    return len({name.partition("-")[0] for name in names} - {"pip", "setuptools"})


def _read(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""


def _reason(said: str) -> str:
    for pattern, sentence in _REASONS:
        if found := re.search(pattern, said):
            version = "{}.{}".format(*sys.version_info)
            return sentence.format(python=version, **found.groupdict())
    return ENDED


def _last_words(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return "\n".join(line[:300] for line in lines[-LAST_LINES:])


def seconds_left(doing: Doing, seconds: float) -> float | None:
    """About how long the stage goes on, judged by its share after `seconds` of it; None while that says little."""
    if not 0.02 < doing.share < 1 or seconds < 3:
        return None
    return seconds * (1 - doing.share) / doing.share
