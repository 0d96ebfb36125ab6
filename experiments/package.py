"""What a person takes away: one zip with the artifact, its recipe, its measurements and code that runs it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import BadInput, Unavailable
from core.folders import run_folder
from experiments import serving, triton
from experiments.contract_file import CONTRACT_FILE, SAMPLES_FILE, TOKENIZER_FILE
from experiments.package_texts import REPOSITORY, Usage, readme, usages
from experiments.recipe_file import to_yaml
from experiments.requirements import requirements_of
from experiments.result import RunResult
from experiments.run_record import RunRecord
from experiments.serving_texts import text_server_code
from runtimes import runtime_of
from runtimes.runtime import Artifact
from runtimes.text_code import takes_texts

COMPANIONS = {
    CONTRACT_FILE: "how pixels become the network's input, and the names of the classes",
    SAMPLES_FILE: "test images to try it on, with the answers that are checked",
}
TEXT_COMPANIONS = {
    CONTRACT_FILE: "how long a text is in tokens, and the names of the classes",
    SAMPLES_FILE: "test texts as tokens to try it on, with the answers that are checked",
    TOKENIZER_FILE: "turns texts into tokens",
}
SUMS = "SHA256SUMS"
WORTH_PACKING = 0.85
"""An artifact is compressed where gzip makes less than this share of it: weights without zeros it hardly shortens."""


@dataclass(frozen=True)
class Options:
    """What a package may hold besides what each holds."""

    server: bool = False
    """An HTTP server with a Dockerfile."""
    triton: bool = False
    """A model repository for NVIDIA Triton Inference Server."""


@dataclass(frozen=True)
class Entry:
    """One file of a package."""

    name: str
    about: str
    """What it is, in a few words."""
    source: Path | str
    """The file on disk, or the text itself."""
    packs: bool = True
    """Whether compressing it is worth the time."""

    @property
    def text(self) -> str:
        """Its text; empty for what is a file on disk."""
        return self.source if isinstance(self.source, str) else ""

    @property
    def size_bytes(self) -> int:
        """Before it is compressed."""
        return self.source.stat().st_size if isinstance(self.source, Path) else len(self.source.encode())

    def open(self) -> io.BufferedReader | io.BytesIO:
        """Its bytes, read as they are asked for."""
        return self.source.open("rb") if isinstance(self.source, Path) else io.BytesIO(self.source.encode())

    @property
    def sha256(self) -> str:
        """Of its bytes, in hexadecimal digits."""
        with self.open() as source:
            return hashlib.file_digest(source, "sha256").hexdigest()


@dataclass(frozen=True)
class Package:
    """A zip on disk and what it holds."""

    path: Path
    folder: str
    """The one folder in it."""
    entries: tuple[Entry, ...]
    sha256: str
    usages: tuple[Usage, ...]


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


def companions_of(artifact: Artifact) -> Mapping[str, str]:
    """What lies beside the artifact, each file with what it is."""
    return TEXT_COMPANIONS if takes_texts(artifact) else COMPANIONS


def build_package(
    record: RunRecord, result: RunResult, options: Options = Options(), path: Path | None = None
) -> Package:
    """Write the zip of a finished run, with everything measured in it, to `path` or into the run's folder.

    The same contents always give the same bytes. Files are read piece by piece, so that memory stays as it is. Raises
    `BadInput` where the path cannot be written, and as `artifact_of` does.
    """
    artifact = artifact_of(record)
    folder = _name(record, artifact, options)
    repository = triton.repository(record.recipe, result, _contract(artifact)) if options.triton else None
    ways = usages(record.recipe, result, server=options.server, triton=repository, of_texts=takes_texts(artifact))
    entries = _entries(record, artifact, result, options, repository)
    text = readme(record.recipe, result, ways, [(entry.name, entry.about) for entry in entries])
    entries.append(Entry("README.txt", "how to use all this", text))
    return packed(path or run_folder(record.id) / f"{folder}.zip", folder, entries, ways)


def packed(path: Path, folder: str, entries: Sequence[Entry], ways: tuple[Usage, ...]) -> Package:
    """The package of these entries and their checksums, written to `path`. Raises `BadInput` where that cannot be."""
    sums = "".join(f"{entry.sha256}  {entry.name}\n" for entry in entries)
    entries = (*entries, Entry(SUMS, f"checks the files: sha256sum -c {SUMS}", sums))
    _write(path, folder, entries)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Package(path, folder, entries, digest, ways)


def _name(record: RunRecord, artifact: Artifact, options: Options) -> str:
    extras = "-server" * options.server + "-triton" * options.triton
    return f"{record.recipe.model}-{artifact.precision}-{record.id}{extras}"


def _contract(artifact: Artifact) -> dict[str, object]:
    contract: dict[str, object] = json.loads((artifact.folder / CONTRACT_FILE).read_text())
    return contract


def _entries(
    record: RunRecord,
    artifact: Artifact,
    result: RunResult,
    options: Options,
    repository: triton.Repository | None,
) -> list[Entry]:
    """Everything but the README and the checksums, in the order in which it is listed."""
    program = runtime_of(artifact).sample_code(artifact)
    pins = "".join(f"{line}\n" for line in requirements_of(program, result.conditions))
    packs = result.size.gzip_bytes < WORTH_PACKING * result.size.size_bytes
    entries = [
        *(Entry(name, "the network that was measured", artifact.folder / name, packs) for name in artifact.files),
        *(Entry(name, about, artifact.folder / name) for name, about in companions_of(artifact).items()),
        Entry("run.py", "classifies, and checks itself on the samples", program),
        Entry("requirements.txt", "what run.py needs, in the versions that were measured", pins),
        Entry("recipe.yaml", "how it was made", to_yaml(record.recipe)),
        Entry("result.json", "what was measured on this very file, with the conditions", _result_json(result)),
    ]
    if options.server:
        entries += _server_entries(record, artifact, result)
    if repository:
        entries += _triton_entries(repository, entries)
    return entries


def _result_json(result: RunResult) -> str:
    return json.dumps(result.model_dump(mode="json", context={"plain": True}), indent=1)


def _server_entries(record: RunRecord, artifact: Artifact, result: RunResult) -> list[Entry]:
    tokenizer = (TOKENIZER_FILE,) if takes_texts(artifact) else ()
    files = ("run.py", "serve.py", CONTRACT_FILE, *tokenizer, *artifact.files)
    code = text_server_code if takes_texts(artifact) else serving.server_code
    return [
        Entry("serve.py", "the HTTP server (FastAPI)", code(record.recipe, result)),
        Entry("requirements-server.txt", "what serve.py needs", "\n".join(serving.REQUIREMENTS) + "\n"),
        Entry("Dockerfile", "a container with the server", serving.dockerfile(record.recipe, result, files)),
    ]


ABOUT_TRITON = {
    "config.pbtxt": "how Triton serves it",
    "labels.txt": "the names of the classes, for Triton",
    "model.py": "Triton's Python backend around run.py",
}


def _triton_entries(repository: triton.Repository, entries: Iterable[Entry]) -> list[Entry]:
    known = {entry.name: entry for entry in entries}
    texts = [
        Entry(f"{REPOSITORY}/{name}", ABOUT_TRITON[name.rpartition("/")[2]], text)
        for name, text in repository.texts.items()
    ]
    copies = [
        Entry(f"{REPOSITORY}/{name}", f"the same as {source}", known[source].source, known[source].packs)
        for name, source in repository.copies.items()
    ]
    return [*texts, *copies]


def _write(path: Path, folder: str, entries: Iterable[Entry]) -> None:
    """Write the zip beside its place and then put it there, so that nobody ever reads half of one."""
    try:
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error})", expected="a file in a folder that exists") from None
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for entry in entries:
                _add(archive, f"{folder}/{entry.name}", entry)
        Path(unfinished).chmod(0o644)
        os.replace(unfinished, path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error})", expected="room for it and a writable folder") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)


def _add(archive: zipfile.ZipFile, name: str, entry: Entry) -> None:
    """A file as anybody may read it, dated as the format's first day, so that the same contents give the same bytes."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED if entry.packs else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    info.file_size = entry.size_bytes
    with entry.open() as source, archive.open(info, "w") as target:
        shutil.copyfileobj(source, target, 1 << 20)
