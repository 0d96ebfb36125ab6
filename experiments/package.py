"""What a person takes away: one zip with the artifact, its recipe, its measurements and code that runs it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import BadInput, Unavailable
from experiments.folders import run_folder
from experiments.recipe import to_yaml
from experiments.result import RunResult
from experiments.store import RunRecord
from runtimes import RUNTIMES
from runtimes.runtime import Artifact

COMPANIONS = ("contract.json", "samples.npz")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Every entry's date, so that the same contents give the same bytes."""


@dataclass(frozen=True)
class Package:
    """A zip on disk and what it holds."""

    path: Path
    contents: tuple[str, ...]
    sha256: str


def artifact_of(record: RunRecord) -> Artifact:
    """The artifact a finished run left. Raises `BadInput` for other runs and `Unavailable` when its files are gone."""
    if record.summary is None:
        raise BadInput(f"The run {record.id} is {record.state}", expected="a finished run", action="Choose another one")
    folder = run_folder(record.id) / "artifact"
    artifact = Artifact(
        record.recipe.runtime, record.summary.precision, folder, record.summary.artifact_files, record.recipe.engine
    )
    missing = [name for name in (*artifact.files, *COMPANIONS) if not (folder / name).exists()]
    if missing:
        raise Unavailable(f"The run's files are gone: {', '.join(missing)}", action="Run its recipe again")
    return artifact


def sample_code(record: RunRecord) -> str:
    """The program that runs the artifact, as the zip holds it."""
    return RUNTIMES[record.recipe.runtime].sample_code(artifact_of(record))


def build_package(record: RunRecord, result: RunResult) -> Package:
    """Write the zip of a finished run, with everything measured in it, into its folder."""
    artifact = artifact_of(record)
    files = {name: (artifact.folder / name).read_bytes() for name in (*artifact.files, *COMPANIONS)}
    files |= {name: text.encode() for name, text in _texts(record, artifact, result).items()}
    files["SHA256SUMS"] = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()
    ).encode()
    path = run_folder(record.id) / f"{record.recipe.model}-{artifact.precision}-{record.id}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(f"{path.stem}/{name}", EPOCH), content, zipfile.ZIP_DEFLATED)
    return Package(path, tuple(files), hashlib.sha256(path.read_bytes()).hexdigest())


def _texts(record: RunRecord, artifact: Artifact, result: RunResult) -> dict[str, str]:
    runtime = RUNTIMES[record.recipe.runtime]
    return {
        "run.py": runtime.sample_code(artifact),
        "requirements.txt": "\n".join(runtime.requirements) + "\n",
        "recipe.yaml": to_yaml(record.recipe),
        "result.json": json.dumps(result.model_dump(mode="json", context={"plain": True}), indent=1),
        "README.txt": _readme(record),
    }


def _readme(record: RunRecord) -> str:
    return f"""{record.recipe.title}

    python -m pip install -r requirements.txt
    python run.py                    classifies the images in samples.npz
    python run.py photo.png ...      classifies your own

contract.json   input size, normalisation and the names of the classes
recipe.yaml     how this file was made; replay it with: python3 studio.py optimize recipe.yaml
result.json     what was measured on this very file, with the conditions
SHA256SUMS      check the files with: sha256sum -c SHA256SUMS
"""
