"""Writes zips, images and arrays byte by byte, as no ordinary program would.

What would run leaves a marker: it creates the file that STUDIO_MARKER names.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Files = Mapping[str, bytes]
RANDOM = np.random.default_rng(8)
TOUCH = "import os, pathlib; pathlib.Path(os.environ['STUDIO_MARKER']).touch()"
"""Leaves the marker."""


class Payload:
    """Leaves the marker where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (TOUCH,)


def image(kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (12, 10), **options: object) -> bytes:
    """An image file of random pixels."""
    depth = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode, 1)
    pixels = RANDOM.integers(0, 256, (size[1], size[0], depth), np.uint8)
    if mode == "I;16":
        made = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    elif mode in ("1", "P"):
        made = Image.fromarray(pixels[:, :, 0]).convert(mode)
    else:
        made = Image.frombytes(mode, size, pixels.tobytes())
    content = io.BytesIO()
    made.save(content, kind, **options)
    return content.getvalue()


def classes(kind: str = "PNG", mode: str = "RGB", suffix: str = "png", **options: object) -> Files:
    """Two class folders of two images each."""
    return {f"{name}/{at}.{suffix}": image(kind, mode, **options) for name in ("cat", "dog") for at in range(2)}


def zipped(files: Files, name: str = "photos.zip") -> Callable[[Path], Path]:
    """Writes a zip of these files."""

    def build(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in files.items():
                archive.writestr(entry, content)
        return folder / name

    return build


def entry(change: Callable[[zipfile.ZipInfo], None], content: bytes = b"x") -> Callable[[Path], Path]:
    """Writes two class folders and one more entry, `cat/evil.png`, whose header was changed."""

    def build(folder: Path) -> Path:
        path = zipped(classes())(folder)
        info = zipfile.ZipInfo("cat/evil.png")
        change(info)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(info, content)
        return path

    return build


def moded(mode: int) -> Callable[[zipfile.ZipInfo], None]:
    """Makes an entry of that kind of file."""

    def change(info: zipfile.ZipInfo) -> None:
        info.external_attr = mode << 16

    return change


def raw(name: str, content: bytes) -> Callable[[Path], Path]:
    """Writes these bytes."""

    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def saved(**arrays: object) -> Callable[[Path], Path]:
    """Writes an npz file."""

    def build(folder: Path) -> Path:
        np.savez_compressed(folder / "data.npz", **arrays)  # type: ignore[arg-type]
        return folder / "data.npz"

    return build


def central(name: bytes, *, packed: int, unpacked: int, offset: int, method: int = 0, flags: int = 0) -> bytes:
    """One line of a zip's directory."""
    return (
        struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, flags, method, 0, 0, 0, packed, unpacked, len(name),
            0, 0, 0, 0, 0, offset,
        )
        + name
    )  # fmt: skip


def directory(body: bytes, lines: list[bytes]) -> bytes:
    """A zip of this body and these lines of its directory."""
    listed = b"".join(lines)
    count = len(lines) % 2**16
    return body + listed + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(listed), len(body), 0)


def local(name: bytes, content: bytes, method: int = 0, unpacked: int | None = None) -> bytes:
    """One entry of a zip."""
    sizes = (len(content), len(content) if unpacked is None else unpacked)
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, method, 0, 0, 0, *sizes, len(name), 0)
    return header + name + content


def overlapping(folder: Path) -> Path:
    """Ten entries that share one body, as in Fifield's bomb."""
    packed = zlib.compress(bytes(10_000_000), 9)[2:-4]
    body = local(b"cat/0.png", packed, 8, 10_000_000)
    lines = [
        central(f"cat/{at}.png".encode(), packed=len(packed), unpacked=10_000_000, offset=0, method=8)
        for at in range(10)
    ]
    return raw("overlap.zip", directory(body, lines))(folder)


def wrong_checksum(folder: Path) -> Path:
    """A zip of one image that was changed after it was packed."""
    content = image("BMP")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        archive.writestr("cat/1.bmp", content)
    path = folder / "photos.zip"
    path.write_bytes(path.read_bytes().replace(content[-20:], bytes(20)))
    return path


def many(count: int, unpacked: int) -> Callable[[Path], Path]:
    """That many entries without bytes, each of which says that it unpacks to so many."""

    def build(folder: Path) -> Path:
        body = bytearray()
        lines = []
        for at in range(count):
            name = f"c/{at}.png".encode()
            lines.append(central(name, packed=0, unpacked=unpacked, offset=len(body), method=8))
            body += local(name, b"", 8, unpacked)
        return raw("many.zip", directory(bytes(body), lines))(folder)

    return build


def far_directory(folder: Path) -> Path:
    """A zip that announces 2^40 entries."""
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2**40, 2**40, 100, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 4, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return raw("far.zip", b"PK\x03\x04" + end + locator + last)(folder)


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A gray PNG of that size without its pixels, and with these chunks."""
    header = chunk(b"IHDR", struct.pack(">2L5B", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((width + 1) * height) if width * height < 1e6 else b""))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def npz(**entries: bytes) -> Callable[[Path], Path]:
    """An npz file with these bytes as its arrays."""
    return zipped({f"{name}.npy": content for name, content in entries.items()}, "data.npz")


def npy(header: str, body: bytes = b"") -> bytes:
    """An npy file with that header."""
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + body


def tarred(folder: Path) -> Path:
    """A tar file."""
    return raw("photos.tar", b"cat/1.png".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0") + bytes(1024))(folder)


def only(content: bytes, suffix: str = "png") -> Callable[[Path], Path]:
    """A class folder with an honest image beside this one, which is half of the set."""
    return zipped({"cat/0.png": image(), f"dog/0.{suffix}": content})


def encrypted(folder: Path) -> Path:
    """A zip with a password."""
    name = b"cat/1.png"
    return raw("locked.zip", directory(local(name, b"x" * 20), [
        central(name, packed=20, unpacked=20, offset=0, flags=1)
    ]))(folder)  # fmt: skip


def with_mode(method: int) -> Callable[[Path], Path]:
    """A zip of that compression."""

    def build(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "photos.zip", "w", method) as archive:
            archive.writestr("cat/1.png", image())
        return folder / "photos.zip"

    return build


def twice(folder: Path) -> Path:
    """A zip with the same name two times."""
    name, content = b"cat/1.png", image()
    body = local(name, content)
    lines = [central(name, packed=len(content), unpacked=len(content), offset=at * len(body)) for at in range(2)]
    return raw("twice.zip", directory(body * 2, lines))(folder)


def named(name: bytes, flags: int = 0, inner: bytes | None = None) -> Callable[[Path], Path]:
    """A zip of one image whose name is given byte by byte, in its directory and in the entry itself."""
    content = image()
    body = local(name if inner is None else inner, content)
    line = central(name, packed=len(content), unpacked=len(content), offset=0, flags=flags)
    return raw("named.zip", directory(body, [line]))


def cut(build: Callable[[Path], Path], share: float) -> Callable[[Path], Path]:
    """The first part of a file."""

    def build_cut(folder: Path) -> Path:
        path = build(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return build_cut
