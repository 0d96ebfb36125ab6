"""A file that nobody vouches for, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import Refused

LONGEST_SHOWN = 120


@dataclass(frozen=True)
class Untrusted:
    """An open file of which never more is in memory than was asked for."""

    path: Path
    file: BinaryIO
    size: int
    """In bytes."""

    def read(self, start: int, count: int) -> bytes:
        """Exactly so many bytes from there. Raises `Refused` where the file ends before."""
        self.file.seek(start)
        content = self.file.read(count)
        if len(content) < count:
            raise cut_short(self.size, f"at least {start + count:,} bytes")
        return content

    def chunks(self, start: int, count: int, largest: int) -> Iterator[bytes]:
        """The same in pieces of `largest` bytes; only the last is shorter."""
        for done in range(0, count, largest):
            yield self.read(start + done, min(largest, count - done))


@contextmanager
def opened(path: Path) -> Iterator[Untrusted]:
    """The file, open for reading."""
    with path.open("rb") as file:
        yield Untrusted(path, file, path.stat().st_size)


def cut_short(size: int, expected: str = "") -> Refused:
    """That the file ends too early."""
    return Refused(
        f"Cut short: {size:,} byte{'' if size == 1 else 's'}",
        expected=expected,
        action="Copy the file again, and compare its size with the original's",
    )


def shown(text: str) -> str:
    """Text out of a file as a sentence may hold it: in one line, control characters by their number, not too long."""
    line = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text[: LONGEST_SHOWN + 1])
    return line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]}…"
