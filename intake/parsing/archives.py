"""Zips that are safe to read entry by entry. Nothing is ever unpacked to disk under a name of theirs."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from core.errors import Refused
from intake.limits import LIMITS, MIB, Limits
from intake.parsing.untrusted import shown

HARMLESS_BYTES = 16 * MIB
"""Up to here an entry may grow as much as it likes."""
READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error, NotImplementedError)
"""What `zipfile` raises for an entry that is damaged."""
_END, _FAR_LOCATOR, _FAR_END = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
_LONGEST_NAME = 1000


def opened(file: Path, name: str, limits: Limits = LIMITS) -> zipfile.ZipFile:
    """The zip, whose entries have sane names and sizes and do not share bytes; `name` is what sentences call it.

    Raises `Refused` for links, devices, encrypted entries and names that lead out of the zip, for a name that is there
    twice, and for bombs: too many entries, too much to unpack, or entries that overlap (D. Fifield, "A better zip
    bomb", WOOT 2019, https://www.usenix.org/conference/woot19/presentation/fifield).
    """
    _check_directory(file, name, limits)
    try:
        archive = zipfile.ZipFile(file)
    except READ_ERRORS as error:
        why = "names that are not UTF-8" if isinstance(error, UnicodeDecodeError) else shown(str(error))
        raise Refused(f"{shown(name)} is a damaged zip ({why})", action="Make the zip again and upload it") from None
    try:
        _check_entries(archive, name, limits)
    except Refused:
        archive.close()
        raise
    return archive


def size_text(count: float) -> str:
    """A number of bytes in the largest unit of which there is at least one: `1.5 GiB`, `12 bytes`."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def _check_directory(file: Path, name: str, limits: Limits) -> None:
    """Look at how many entries the zip announces before its directory is read into memory."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - _END.size - 0xFFFF))
        tail = stream.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            raise Refused(
                f"{shown(name)} is cut short: {size_text(size)} without the directory that ends a zip",
                action="Copy or make the zip again and upload it",
            )
        entries, directory = _END.unpack_from(tail, at)[4:6]
        far = tail.rfind(b"PK\x06\x07", 0, at)
        if far >= 0 and len(tail) - far >= _FAR_LOCATOR.size:
            stream.seek(min(_FAR_LOCATOR.unpack_from(tail, far)[2], size))
            if (end := stream.read(_FAR_END.size)).startswith(b"PK\x06\x06") and len(end) == _FAR_END.size:
                entries, directory = _FAR_END.unpack(end)[7:9]
    if entries > limits.entries or directory > limits.entries * (_LONGEST_NAME + 100):
        raise _too_many(name, entries, limits)


def _too_many(name: str, entries: int, limits: Limits) -> Refused:
    return Refused(
        f"{shown(name)} has {entries:,} entries",
        expected=f"at most {limits.entries:,}",
        action="Take fewer files into the zip",
    )


def _check_entries(archive: zipfile.ZipFile, name: str, limits: Limits) -> None:
    entries = archive.infolist()
    if len(entries) > limits.entries:
        raise _too_many(name, len(entries), limits)
    seen: set[str] = set()
    for entry in entries:
        _check_name(entry.orig_filename)
        _check_kind(entry)
        _check_growth(entry, limits)
        if entry.filename in seen:
            raise Refused(f"{shown(entry.filename)} is in the zip twice", action="Make the zip again, each file once")
        seen.add(entry.filename)
    total = sum(entry.file_size for entry in entries)
    if total > limits.unpacked_bytes:
        raise Refused(
            f"{shown(name)} has {size_text(archive.start_dir)} and would unpack to {size_text(total)}",
            expected=f"at most {size_text(limits.unpacked_bytes)}",
            action="Split it into smaller zips",
        )
    _check_overlaps(entries, archive.start_dir)


def _check_name(name: str) -> None:
    problem = ""
    if any(ord(each) < 32 or ord(each) == 127 for each in name):
        problem = "has control characters in its name"
    elif len(name) > _LONGEST_NAME:
        problem = f"has a name of {len(name):,} characters"
    elif "\\" in name:
        problem = "has a backslash in its name"
    elif name.startswith("/") or re.match(r"[A-Za-z]:", name):
        problem = "has an absolute path"
    elif ".." in name.split("/"):
        problem = "leads out of the zip"
    if problem:
        raise Refused(
            f"The entry {shown(name)} {problem}",
            expected="paths inside the zip, with forward slashes: cats/1.jpg",
            action="Make the zip again",
        )


def _check_kind(entry: zipfile.ZipInfo) -> None:
    mode = entry.external_attr >> 16
    problem = ""
    if entry.flag_bits & 1:
        problem = "is encrypted"
    elif stat.S_ISLNK(mode):
        problem = "is a link"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a device or a pipe"
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"is compressed with method {entry.compress_type}"
    if problem:
        raise Refused(
            f"The entry {shown(entry.filename)} {problem}",
            expected="plain files, stored or deflated",
            action="Make an ordinary zip without a password",
        )


def _check_growth(entry: zipfile.ZipInfo, limits: Limits) -> None:
    if entry.file_size > max(HARMLESS_BYTES, limits.unpacked_ratio * entry.compress_size):
        raise Refused(
            f"The entry {shown(entry.filename)} has {size_text(entry.compress_size)} and would unpack to "
            f"{size_text(entry.file_size)}",
            expected=f"at most {limits.unpacked_ratio} times as much",
            action="Make the zip again without compression",
        )


def _check_overlaps(entries: Sequence[zipfile.ZipInfo], directory: int) -> None:
    header = 30
    spans = sorted((each.header_offset, each.header_offset + header + each.compress_size) for each in entries)
    if any(end > start for (_, end), (start, _) in pairwise([*spans, (directory, directory)])):
        raise Refused("Entries of the zip overlap each other, as in a zip bomb", action="Make the zip again")
