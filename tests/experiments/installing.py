"""An installer that plays one of pip's parts, in place of `studio.py install`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from bridges.environments import Environment
from experiments import installing
from experiments.installing import Installation, installation

LINES = """Making the environment .venv-fake ...
Collecting tensorflow==2.21.0 (from -r requirements-tensorflow.txt (line 2))
  Downloading tensorflow-2.21.0-cp311-cp311-linux_x86_64.whl (600.1 MB)
Collecting numpy>=2 (from tensorflow==2.21.0->-r requirements-tensorflow.txt (line 2))
"""
INSTALLING = "Installing collected packages: numpy, tensorflow\n"
PYTHON = f"""
import os, pathlib, sys, time
folder, lines = pathlib.Path(sys.argv[1]), {LINES!r}
(folder / "bin").mkdir(parents=True, exist_ok=True)
(folder / "bin" / "python").touch()
print(lines, end="")
"""
WORKS = """
site = folder / "lib" / "python3.11" / "site-packages"
(site / "pip-24.0.dist-info").mkdir(parents=True)
(site / "numpy-2.0.dist-info").mkdir()
print("Installing collected packages: numpy, tensorflow")
while not (folder / "go-on").exists():
    time.sleep(0.02)
(folder / "installed-requirements-fake.txt").touch()
print("Installed in 1 s.")
"""
DOWNLOADS = """
import subprocess
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(folder / "helper").write_text(str(helper.pid))
fetched = pathlib.Path(os.environ["TMPDIR"]) / "pip-unpack-x"
fetched.mkdir()
(fetched / "half").write_bytes(bytes(500_000))
(fetched / "half").rename(fetched / "tensorflow.whl")
time.sleep(600)
"""
FAILS = """
print("ERROR: No matching distribution found for tensorflow==2.21.0")
sys.exit(1)
"""


def fake(folder: Path) -> Environment:
    """An environment that is not there."""
    return Environment("fake", "Fake", folder / ".venv-fake", "1 GB")


def play(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install by that part of Python from now on."""

    def command(environment: Environment) -> list[str]:
        return [sys.executable, "-c", PYTHON + part, str(environment.folder)]

    monkeypatch.setattr(installing, "installer", command)
    for sizes in ("DOWNLOADS_BYTES", "ROOM_BYTES"):
        monkeypatch.setattr(installing, sizes, {"fake": 10**6, "tensorflow": 10**6, "litert-torch": 10**6})


def until(environment: Environment, state: str, stage: str = "", done: int = 0) -> Installation:
    """What is known of it as soon as it is so."""
    give_up = time.monotonic() + 60
    found = installation(environment)
    while (found.state, found.doing.stage) != (state, stage or found.doing.stage) or found.doing.done < done:
        assert time.monotonic() < give_up, found
        time.sleep(0.02)
        found = installation(environment)
    return found
