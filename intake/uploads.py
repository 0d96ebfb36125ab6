"""Files on their way in: written to disk piece by piece, kept until they were checked, and counted before they come.

Each is a folder of `own/<owner>/uploads/`: `upload.json` says what was promised, `content.part` is what has come so far
and `content<suffix>` the whole file. The name that it bore is only ever text.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import BadInput, Refused
from core.folders import data_folder
from intake.library import own_folder
from intake.limits import GIB, KEPT_FREE_BYTES, LIMITS, MIB, quota_bytes

Wanted = Literal["model", "data"]
UPLOAD_FILE, PART = "upload.json", "content.part"
LEFTOVER_SECONDS = 24 * 3600.0
LONGEST_NAME = 120


class Upload(BaseModel):
    """One file that is coming, or has come and was not checked yet."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    name: str
    """What it was called, without folders and control characters; for eyes only."""
    size_bytes: int
    """As promised; what has come is exactly that once it is finished."""
    wanted: Wanted
    began_at: float
    """Seconds since the epoch."""

    @property
    def path(self) -> Path:
        """Where the whole file lies once it has come; it has the suffix of its name, where that is plain letters."""
        suffix = Path(self.name).suffix.lower()
        return self.part.with_name(f"content{suffix if re.fullmatch(r'[.][a-z0-9]{1,12}', suffix) else ''}")

    @property
    def part(self) -> Path:
        """What has come so far."""
        return _folder_of(self.owner, self.id) / PART


class Part:
    """What is written to while an upload comes in. A context manager: left early, the whole upload is gone."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._file = upload.part.open("wb")
        self._written = 0

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is not None:
            delete(self._upload.owner, self._upload.id)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Add to the file. Raises `Refused` for more than was promised and for a disk that is nearly full."""
        self._written += len(piece)
        if self._written > self._upload.size_bytes:
            raise Refused(
                f"{self._upload.name} is longer than the {size_in_words(self._upload.size_bytes)} it was to have",
                action="Choose the file again",
            )
        refuse_full_disk(len(piece))
        self._file.write(piece)

    def finish(self) -> Path:
        """The whole file, safe on the disk. Raises `Refused` where less has come than was promised."""
        if self._written < self._upload.size_bytes:
            whole = size_in_words(self._upload.size_bytes)
            raise Refused(
                f"{self._upload.name} was cut short: {self._written:,} bytes of {whole} came",
                action="Choose the file again",
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._upload.part.replace(self._upload.path)


def begin(owner: str, name: str, size_bytes: int, wanted: Wanted) -> Upload:
    """A place for a file of that size; what it will take counts from now on.

    Raises `Refused` for one that is empty, too large, or over what this person may keep, and where the disk is nearly
    full.
    """
    with FileLock(own_folder(owner) / "uploads.lock"):
        sweep(owner)
        check(owner, name, size_bytes, wanted)
        upload = Upload(
            id=uuid.uuid4().hex[:12],
            owner=owner,
            name=shown_name(name),
            size_bytes=size_bytes,
            wanted=wanted,
            began_at=time.time(),
        )
        folder = _folder(owner) / upload.id
        folder.mkdir(parents=True)
        (folder / UPLOAD_FILE).write_text(upload.model_dump_json())
    return upload


def check(owner: str, name: str, size_bytes: int, wanted: Wanted) -> None:
    """Raises `Refused` for a file that would not be taken, in a sentence that says how much would be."""
    shown, limit = shown_name(name), limit_bytes(wanted)
    if size_bytes <= 0:
        raise Refused(f"{shown} is empty (0 bytes)", action="Choose a file with something in it")
    if size_bytes > limit:
        raise Refused(
            f"{shown} has {size_in_words(size_bytes)}",
            expected=f"at most {size_in_words(limit)}",
            action="Choose a smaller file",
        )
    refuse_beyond_room(owner, f"{shown} has", size_bytes)


def refuse_beyond_room(owner: str, what: str, more_bytes: int) -> None:
    """Raises `Refused` where that many bytes more are over what this person may keep, or too much for the disk.

    `what` begins the sentence, and goes on with the size: "a.pt has".
    """
    if more_bytes > (room := quota_bytes() - kept_bytes(owner)):
        raise Refused(
            f"{what} {size_in_words(more_bytes)}, and of your {size_in_words(quota_bytes())} there are "
            f"{size_in_words(max(0, room))} left",
            action="Delete models or files that you do not need any more",
        )
    refuse_full_disk(more_bytes)


def refuse_full_disk(more_bytes: int) -> None:
    """Raises `Refused` where that many bytes more would leave too little of the disk to everyone's runs."""
    free = shutil.disk_usage(data_folder()).free
    if free - more_bytes < KEPT_FREE_BYTES:
        raise Refused(
            f"The disk of this machine is nearly full: {size_in_words(free)} are left, of which "
            f"{size_in_words(KEPT_FREE_BYTES)} are kept for runs",
            action="Delete old runs on the Runs page, or ask whoever runs this machine",
        )


def limit_bytes(wanted: Wanted) -> int:
    """How large one file of that kind may be."""
    return LIMITS.model_bytes if wanted == "model" else LIMITS.data_bytes


def kept_bytes(owner: str) -> int:
    """What everything that this person brought takes, uploads on their way as if they were complete."""
    coming = {each.id: each for each in waiting(owner)}
    folder = own_folder(owner)
    lying = sum(
        path.lstat().st_size
        for path in _files(folder)
        if not (path.parent.name in coming and path.parent.parent == _folder(owner))
    )
    return lying + sum(each.size_bytes for each in coming.values())


def waiting(owner: str) -> list[Upload]:
    """Files that are coming or wait to be checked, the newest first."""
    found = (_read(path) for path in _folder(owner).glob(f"*/{UPLOAD_FILE}"))
    return sorted((each for each in found if each), key=lambda each: -each.began_at)


def find(owner: str, key: str) -> Upload:
    """What was promised of an upload. Raises `BadInput` where it is not here."""
    upload = _read(_folder_of(owner, key) / UPLOAD_FILE)
    if upload is None:
        raise BadInput("That file is not here any more", action="Upload it again")
    return upload


def delete(owner: str, key: str) -> None:
    """Forget an upload and its file."""
    shutil.rmtree(_folder_of(owner, key), ignore_errors=True)


def sweep(owner: str) -> None:
    """Delete what broken uploads left more than a day ago."""
    for folder in _folder(owner).glob("*"):
        if time.time() - _last_change(folder) > LEFTOVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def shown_name(name: str) -> str:
    """A file's name as text of one short line, without folders and without characters that cannot be seen."""
    last = re.split(r"[/\\]", name)[-1]
    seen = "".join(each for each in last if unicodedata.category(each)[0] != "C").strip()
    short = seen if len(seen) <= LONGEST_NAME else f"{seen[: LONGEST_NAME - 21]}…{seen[-20:]}"
    return short or "The file"


def size_in_words(size_bytes: int) -> str:
    """`3 bytes`, `12.5 MiB`, `4 GiB`."""
    if size_bytes < MIB:
        return f"{size_bytes:,} bytes"
    value, unit = (size_bytes / GIB, "GiB") if size_bytes >= GIB else (size_bytes / MIB, "MiB")
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def _folder(owner: str) -> Path:
    return own_folder(owner) / "uploads"


def _folder_of(owner: str, key: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{12}", key):
        raise BadInput(f"{key!r} is no upload", action="Upload the file again")
    return _folder(owner) / key


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; those that go away meanwhile are left out."""
    for root, _, names in os.walk(folder):
        for name in names:
            if (path := Path(root) / name).is_file():
                yield path


def _last_change(folder: Path) -> float:
    """Seconds since the epoch at which something in the folder was last written."""
    times = [path.lstat().st_mtime for path in (folder, *_files(folder)) if path.exists()]
    return max(times, default=0.0)


def _read(path: Path) -> Upload | None:
    try:
        return Upload.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
