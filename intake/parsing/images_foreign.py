"""What is said of files that are no set of images, by the bytes that they begin with."""

from __future__ import annotations

from core.errors import Refused
from intake.parsing.archives import size_text
from intake.parsing.images import SUFFIXES
from intake.parsing.images_arrays import SNIPPET
from intake.parsing.images_layout import TABLE_SUFFIXES, TREE
from intake.parsing.untrusted import shown

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
HEAD_BYTES = 4096
_ZIP_SNIPPET = """import shutil
# photos/ has a folder for each class
shutil.make_archive("photos", "zip", "photos")"""
_NPY_SNIPPET = """import numpy as np
x, y = np.load("x.npy"), np.load("y.npy")
np.savez_compressed("data.npz", x=x, y=y)"""
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_STARTS = {
    b"\x93NUMPY": ("is a single array (.npy)", "x and y in one npz file", _NPY_SNIPPET),
    b"\x1f\x8b": ("is a gzip or tar.gz file", "a zip", _ZIP_SNIPPET),
    b"BZh": ("is a bzip2 file", "a zip", _ZIP_SNIPPET),
    b"\xfd7zXZ": ("is an xz file", "a zip", _ZIP_SNIPPET),
    b"7z\xbc\xaf": ("is a 7z file", "a zip", _ZIP_SNIPPET),
    b"Rar!": ("is a RAR file", "a zip", _ZIP_SNIPPET),
    b"\x89HDF": ("is an HDF5 file", "an npz file", SNIPPET),
    b"MATLAB 5.0": ("is a MATLAB file", "an npz file", SNIPPET),
    b"PAR1": ("is a Parquet file", "a zip of images, or an npz file", SNIPPET),
    b"%PDF": ("is a PDF", "a zip of images", _ZIP_SNIPPET),
    b"\x7fELF": ("is a program", "a zip of images", _ZIP_SNIPPET),
    b"MZ": ("is a program", "a zip of images", _ZIP_SNIPPET),
    b"\x80\x02": ("is a pickle, which could run code and is never opened", "an npz file", SNIPPET),
    b"\x80\x03": ("is a pickle, which could run code and is never opened", "an npz file", SNIPPET),
    b"\x80\x04": ("is a pickle, which could run code and is never opened", "an npz file", SNIPPET),
    b"\x80\x05": ("is a pickle, which could run code and is never opened", "an npz file", SNIPPET),
    b"version https://git-lfs": ("is a Git LFS pointer, not the file itself", "the file that `git lfs pull` gets", ""),
    b"%!PS": ("is a PostScript file", "a zip of PNG or JPEG images", _ZIP_SNIPPET),
}


def check_is_zip(head: bytes, size_bytes: int, name: str) -> None:
    """Raise `Refused`, by its first bytes, for a file that is no zip; an npz file is one as well."""
    called = shown(name)
    if size_bytes == 0:
        raise Refused(f"{called} is cut short: 0 bytes", action="Upload it again")
    if head.startswith(ZIP_STARTS):
        return
    for start, (what, expected, snippet) in _STARTS.items():
        if head.startswith(start):
            raise Refused(f"{called} {what}", expected=expected, snippet=snippet)
    if head[257:262] == b"ustar":
        raise Refused(f"{called} is a tar file", expected="a zip", snippet=_ZIP_SNIPPET)
    if head.startswith(_IMAGES) or head[8:12] == b"WEBP":
        raise Refused(
            f"{called} is a single image", expected="a zip with a folder of images for each class", snippet=TREE
        )
    if name.lower().endswith(TABLE_SUFFIXES) or _is_table(head):
        raise Refused(
            f"{called} is a table without its images",
            expected="the table and the images that it names in the same zip",
            snippet="photos.zip\n├── labels.csv  path,label\n└── images/  1.jpg  2.jpg",
        )
    what = (
        "is a web page" if head.lstrip()[:1] == b"<" else f"({size_text(size_bytes)}) is neither a zip nor an npz file"
    )
    raise Refused(f"{called} {what}", expected="a zip of images, or an npz file with x and y", snippet=TREE)


def _is_table(head: bytes) -> bool:
    """Whether these are lines of text whose cells name image files."""
    text = head.decode("latin-1").lower()
    lines = text.splitlines()[:10]
    named = any(line.count(suffix + separator) for line in lines for suffix in SUFFIXES for separator in ",;\t")
    return named and "\0" not in text
