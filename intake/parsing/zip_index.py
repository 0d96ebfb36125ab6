"""What lies where in a zip, read strictly: whatever two readers could understand differently is refused.

Follows PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (its end).
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core.errors import Refused
from intake.limits import LIMITS
from intake.parsing.untrusted import Untrusted, cut_short, shown

START, EMPTY = b"PK\x03\x04", b"PK\x05\x06"
MOST_DIRECTORY_BYTES = 32 * 2**20
ENCRYPTED, SIZES_FOLLOW, UTF8 = 0x2041, 0x0008, 0x0800
_LOCAL, _CENTRAL = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
_END, _LOCATOR, _END64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sIQI"), struct.Struct("<4sQ2H2I4Q")
_ESCAPED_16, _ESCAPED_32 = 0xFFFF, 0xFFFFFFFF
_MOST = (_ESCAPED_16, _ESCAPED_32, _ESCAPED_32)


@dataclass(frozen=True)
class Entry:
    """One file inside a zip."""

    name: str
    method: int
    """0: stored as it is; 8: deflated."""
    crc: int
    packed: int
    """Bytes in the zip."""
    size: int
    """Bytes unpacked, as the zip says."""
    header: int
    """Where its local header begins."""
    flags: int
    mode: int
    """Of a file on Unix; 0 where it was written elsewhere."""


def entries(source: Untrusted) -> dict[str, Entry]:
    """All entries by name, folders left out, as the central directory lists them.

    Raises `Refused` for a zip that is cut short, or encrypted, or has names that lead elsewhere, links or duplicates.
    """
    start, size, count = _directory(source)
    found: dict[str, Entry] = {}
    for entry in _listed(source.read(start, size), count):
        _check(entry, start)
        if entry.name in found:
            raise _broken(f"has two entries named {shown(entry.name)}")
        found[entry.name] = entry
    return {name: entry for name, entry in found.items() if not name.endswith("/")}


def places(source: Untrusted, found: Mapping[str, Entry]) -> dict[str, int]:
    """Where the bytes of each entry begin, its local header compared with the central directory.

    Raises `Refused` where the two differ, or where entries overlap.
    """
    directory = _directory(source)[0]
    begins, free = {}, 0
    for entry in sorted(found.values(), key=lambda each: each.header):
        begins[entry.name] = _after_local_header(source, entry)
        if entry.header < free or begins[entry.name] + entry.packed > directory:
            raise _broken(f"says that {shown(entry.name)} lies where something else is")
        free = begins[entry.name] + entry.packed
    return begins


def _directory(source: Untrusted) -> tuple[int, int, int]:
    """Where the central directory begins, its bytes and its entries."""
    tail_at = max(0, source.size - _END.size - _ESCAPED_16)
    tail = source.read(tail_at, source.size - tail_at)
    at = tail.rfind(EMPTY)
    if at < 0 or len(tail) - at < _END.size:
        raise cut_short(source.size, "the list of contents that a zip ends with")
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(tail, at)
    end = tail_at + at
    if at + _END.size + comment != len(tail):
        raise _broken("goes on after its end")
    if wide := _end64(source, end):
        if any(told not in (meant, most) for told, meant, most in zip((count, size, start), wide, _MOST, strict=False)):
            raise _broken("says two different things of its list of contents")
        count, size, start, end = wide
        here = count if here in (count, _ESCAPED_16) else here
    if disk or first_disk or here != count:
        raise _broken("is one part of several")
    if count > LIMITS.entries or size > MOST_DIRECTORY_BYTES:
        raise Refused(f"The zip holds {count:,} entries", expected=f"at most {LIMITS.entries:,}")
    if start + size != end:
        raise _broken("says that its list of contents lies where it does not")
    return start, size, count


def _end64(source: Untrusted, end: int) -> tuple[int, int, int, int] | None:
    """Entries, bytes and beginning of the central directory, and where it ends, as the record for large zips says.

    None where there is no such record.
    """
    at = end - _LOCATOR.size
    locator, _, place, _ = _LOCATOR.unpack(source.read(at, _LOCATOR.size)) if at >= 0 else (b"", 0, 0, 0)
    if locator != b"PK\x06\x07":
        return None
    if place > at - _END64.size:
        raise _broken("says that its list of contents lies where it does not")
    signature, length, _, _, disk, first_disk, here, count, size, start = _END64.unpack(source.read(place, _END64.size))
    if signature != b"PK\x06\x06" or place + 12 + length != at or disk or first_disk or here != count:
        raise _broken("has a damaged list of contents")
    return count, size, start, place


def _listed(directory: bytes, count: int) -> Iterator[Entry]:
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            raise _broken("lists fewer entries than it says")
        fields = _CENTRAL.unpack_from(directory, at)
        signature, made_by, _, flags, method, _, _, crc, packed, size, names, extras, comments, *_, outside, header = (
            fields
        )
        if signature != b"PK\x01\x02":
            raise _broken("has a damaged list of contents")
        at += _CENTRAL.size
        name, extra = directory[at : at + names], directory[at + names : at + names + extras]
        at += names + extras + comments
        size, packed, header = _widened(extra, size, packed, header)
        mode = outside >> 16 if made_by >> 8 == 3 else 0
        yield Entry(_decoded(name), method, crc, packed, size, header, flags, mode)
    if at != len(directory):
        raise _broken("has a damaged list of contents")


def _widened(extra: bytes, *values: int) -> list[int]:
    """The sizes and the offset with those replaced that need 64 bits (APPNOTE 4.5.3)."""
    wide = iter(())
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and at + 4 + length <= len(extra):
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
        at += 4 + length
    try:
        return [next(wide) if value == _ESCAPED_32 else value for value in values]
    except StopIteration:
        raise _broken("leaves out a size") from None


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp437")


def _check(entry: Entry, directory: int) -> None:
    parts = entry.name.rstrip("/").split("/")
    if ".." in parts or "" in parts or "\\" in entry.name or "\0" in entry.name or re.fullmatch("[A-Za-z]:", parts[0]):
        raise _broken(f"has an entry whose name leads elsewhere: {shown(entry.name)}")
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _broken(f"has an entry that is a link: {shown(entry.name)}")
    if entry.flags & ENCRYPTED:
        raise _broken(f"is encrypted: {shown(entry.name)}")
    if entry.header + _LOCAL.size > directory or entry.packed > directory:
        raise cut_short(directory, f"{entry.packed:,} bytes of {shown(entry.name)} alone")


def _after_local_header(source: Untrusted, entry: Entry) -> int:
    fields = _LOCAL.unpack(source.read(entry.header, _LOCAL.size))
    signature, _, flags, method, _, _, _, packed, size, names, extras = fields
    name = source.read(entry.header + _LOCAL.size, names)
    if signature != START or _decoded(name) != entry.name or method != entry.method or flags & ENCRYPTED:
        raise _broken(f"says two different things of {shown(entry.name)}")
    unsaid = (0, _ESCAPED_32) if flags & SIZES_FOLLOW else (_ESCAPED_32,)
    if any(told not in (meant, *unsaid) for told, meant in ((packed, entry.packed), (size, entry.size))):
        raise _broken(f"says two different sizes of {shown(entry.name)}")
    return entry.header + _LOCAL.size + len(name) + int(extras)


def _broken(what: str) -> Refused:
    return Refused(f"The zip {what}", action="Write the file again where it was made")
