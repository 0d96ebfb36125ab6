"""The environments beside the studio's own, and whether they are here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Environment:
    """A Python with libraries that cannot be in one process, or one environment, with the studio's."""

    key: str
    """As `studio.py install` has it."""
    title: str
    folder: Path
    size: str
    """Of what is downloaded and installed, for people who consider it: `2.3 GB`."""

    @property
    def python(self) -> Path:
        """Its interpreter, which need not be there."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def is_installed(self) -> bool:
        """Whether it was installed to its end."""
        return self.python.exists() and (self.folder / f"installed-requirements-{self.key}.txt").exists()

    def version(self, distribution: str) -> str | None:
        """Of a distribution in it, read from its files without starting it; None where it is not there."""
        folders = [*self.folder.glob("lib/python*/site-packages"), *self.folder.glob("Lib/site-packages")]
        found = distributions(name=distribution, path=[str(folder) for folder in folders])
        return next((each.version for each in found), None)

    @property
    def command(self) -> str:
        """What to type to install it."""
        return f"python3 studio.py install {self.key}"

    @property
    def why_missing(self) -> str | None:
        """One sentence with the way to get it, or None where it is here."""
        if self.is_installed:
            return None
        return (
            f"{self.title} is not installed: add it with the button on the System page, or by `{self.command}` "
            f"({self.size}, in an environment of its own)"
        )


TENSORFLOW = Environment("tensorflow", "TensorFlow", ROOT / ".venv-tf", "2.3 GB")
LITERT_TORCH = Environment("litert-torch", "LiteRT Torch", ROOT / ".venv-litert-torch", "6 GB")
ENVIRONMENTS = {each.key: each for each in (TENSORFLOW, LITERT_TORCH)}
