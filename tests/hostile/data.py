"""Sets of images: honest ones of every form and kind, broken ones, and such as are made to do harm."""

from __future__ import annotations

import pickle
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.case import Case
from tests.hostile.data_files import (
    RANDOM,
    TOUCH,
    Payload,
    central,
    chunk,
    classes,
    cut,
    directory,
    encrypted,
    entry,
    far_directory,
    image,
    local,
    many,
    moded,
    named,
    npy,
    npz,
    only,
    overlapping,
    png,
    raw,
    saved,
    tarred,
    twice,
    with_mode,
    wrong_checksum,
    zipped,
)

X, Y = RANDOM.integers(0, 256, (8, 6, 5, 3), np.uint8), np.arange(8) % 2
GRAY = RANDOM.integers(0, 256, (8, 6, 5), np.uint8)
Y_FILE = npy("{'descr': '<i8', 'fortran_order': False, 'shape': (8,)}", np.arange(8).tobytes())
TABLE = b"path,label\nimages/0.png,cat\nimages/1.png,dog\n"
IMAGES = {f"images/{at}.png": image() for at in range(2)}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/tmp/marker) (w) file closefile\nshowpage\n"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>fetch('http://127.0.0.1/')</script></svg>"
BOMB = b"a\0\0" + zlib.compress(bytes(3_000_000))
TIFF_OF_WIDTH = b"II*\0\x08\0\0\0\x01\0\0\x01\x03\0\x01\0\0\0\x09\0\0\0\x08\0\0\0"
HUGE = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 1000000, 1000)}"
RUNS = f"{{'descr': exec({TOUCH!r}), 'fortran_order': False, 'shape': (8,)}}"


def _case(name: str, build: Callable[[Path], Path], says: str = "") -> Case:
    return Case(f"data-{name}", "data", build, says)


ARCHIVES = [
    _case("parent-folder", named(b"../../evil.png"), "leads out of the zip"),
    _case("parent-inside", named(b"cat/../../../evil.png"), "leads out of the zip"),
    _case("absolute", named(b"/etc/evil.png"), "absolute path"),
    _case("drive", named(b"C:/evil.png"), "absolute path"),
    _case("backslash", named(b"cat\\evil.png"), "backslash"),
    _case("nul-in-name", named(b"cat/1.png\0.exe"), "control characters"),
    _case("newline-in-name", named(b"cat/1\n2.png"), "control characters"),
    _case("long-name", named(b"c" * 2000 + b"/1.png"), "2,006 characters"),
    _case("names-not-utf8", named(b"cat/\xff\xfe.png", flags=0x800), "not UTF-8"),
    _case("names-differ", named(b"cat/1.png", inner=b"dog/1.png"), "damaged in the zip"),
    _case("link", entry(moded(stat.S_IFLNK | 0o777), b"/etc/passwd"), "is a link"),
    _case("device", entry(moded(stat.S_IFCHR | 0o666)), "device or a pipe"),
    _case("pipe", entry(moded(stat.S_IFIFO | 0o666)), "device or a pipe"),
    _case("encrypted", encrypted, "is encrypted"),
    _case("lzma", with_mode(zipfile.ZIP_LZMA), "compressed with method 14"),
    _case("bzip2", with_mode(zipfile.ZIP_BZIP2), "compressed with method 12"),
    _case("twice", twice, "in the zip twice"),
    _case("overlapping", overlapping, "overlap"),
    _case("ratio", zipped({"cat/1.bmp": bytes(20_000_000)}), "would unpack to 19.1 MiB"),
    _case("total", many(2_200, 16 * 2**20), "would unpack to 34.4 GiB"),
    _case("70000-entries", many(70_000, 0), "70,000 entries"),
    _case("far-directory", far_directory, "1,099,511,627,776 entries"),
    _case("cut", cut(zipped(classes()), 0.5), "cut short"),
    _case("empty-file", raw("photos.zip", b""), "0 bytes"),
    _case("empty-zip", zipped({}), "0 images"),
    _case("only-texts", zipped({"a/1.txt": b"x", "b/2.txt": b"y"}), "0 images"),
    _case("only-a-zip", zipped({"inner.zip": b"PK\x03\x04"}), "0 images"),
    _case("checkpoint", zipped({"model/data.pkl": pickle.dumps(Payload())}), "as a model"),
]
PICTURES = [
    _case("wrong-checksum", wrong_checksum, "damaged in the zip"),
    _case(
        "size-lies",
        raw(
            "s.zip",
            directory(local(b"cat/1.png", image()), [central(b"cat/1.png", packed=50, unpacked=10_000, offset=0)]),
        ),
        "cannot be read",
    ),
    _case("400-megapixels", only(png(20_000, 20_000)), "more than 100 megapixels"),
    _case("120-megapixels", only(png(12_000, 10_000)), "more than 100 megapixels"),
    _case("text-bomb", only(png(9, 9, chunk(b"zTXt", BOMB))), "cannot be read"),
    _case("profile-bomb", only(png(9, 9, chunk(b"iCCP", BOMB))), "cannot be read"),
    _case("pixels-missing", only(png(2_000, 2_000)), "cannot be read"),
    _case("eps-as-png", only(EPS), "no PNG, JPEG"),
    _case("svg-as-jpg", only(SVG, "jpg"), "no PNG, JPEG"),
    _case("html-as-jpg", only(b"<html>404 Not Found</html>", "jpg"), "no PNG, JPEG"),
    _case("ico-as-png", only(image("ICO", "RGBA")), "no PNG, JPEG"),
    _case("jpeg-cut", only(image("JPEG", size=(64, 64))[:600], "jpg"), "cannot be read"),
    _case("webp-cut", only(image("WEBP", size=(64, 64))[:100], "webp"), "cannot be read"),
    _case("tiff-without-size", only(TIFF_OF_WIDTH, "tif"), "cannot be read"),
    _case("empty-image", only(b""), "0 bytes"),
]
ARRAYS = [
    _case("object-array", saved(x=np.array([Payload()], object), y=np.zeros(1, int)), "have to be unpickled"),
    _case("object-labels", saved(x=X, y=np.array([Payload()] * 8, object)), "have to be unpickled"),
    _case("huge-header", npz(x=npy(HUGE), y=Y_FILE), "and the file holds 0 bytes"),
    _case("code-in-header", npz(x=npy(RUNS), y=Y_FILE), "no array that numpy wrote"),
    _case(
        "negative-shape",
        npz(x=npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-8, -6, 5)}", bytes(240)), y=Y_FILE),
        "says it has the shape [-8, -6, 5]",
    ),
    _case("no-array", npz(x=b"hello", y=Y_FILE), "no array that numpy wrote"),
    _case("no-x", saved(images=X, y=Y), "arrays called x and y"),
    _case("lengths", saved(x=X, y=Y[:7]), "8 images and y 7 labels"),
    _case("float-labels", saved(x=X, y=Y + np.array([0] * 5 + [0.5] + [0] * 2)), "y, row 5 has the label 1.5"),
    _case("negative-label", saved(x=X, y=Y - 1), "y, row 0 has the label -1"),
    _case("nan-label", saved(x=X, y=np.full(8, np.nan)), "the label nan"),
    _case("one-hot", saved(x=X, y=np.eye(8)), "shape [8, 8]"),
    _case("nan-pixels", saved(x=np.where(X > 250, np.nan, X), y=Y), "not finite"),
    _case("normalised", saved(x=(X - 120.0) / 60, y=Y), "before they were normalised"),
    _case("single-image", saved(x=X[0], y=Y[:6]), "[N, H, W, C]"),
    _case("flattened", saved(x=GRAY.reshape(8, -1), y=Y), "shape [8, 30] and the type uint8"),
    _case("by-columns", saved(x=np.asfortranarray(X), y=Y), "column by column"),
    _case("complex", saved(x=X.astype(complex), y=Y), "complex128"),
    _case("no-rows", saved(x=X[:0], y=Y[:0]), "0 images"),
    _case("no-test-labels", saved(x_train=X, y_train=Y, x_test=X), "x_test has no labels"),
    _case(
        "npy",
        raw("x.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': ()}", pickle.dumps(Payload()))),
        "single array",
    ),
    _case("pickle", raw("data.npz", pickle.dumps(Payload())), "never opened"),
]
TABLES = [
    _case("bare-table", raw("labels.csv", TABLE), "in the same zip"),
    _case("table-of-others", zipped({"a.png": image(), "labels.csv": b"path,label\nb.jpg,cat\n"}), "names no image"),
    _case(
        "table-no-label", zipped(IMAGES | {"labels.csv": TABLE + b"images/1.png,\n"}), "labels.csv, row 4 has no label"
    ),
    _case("table-half-label", zipped(IMAGES | {"labels.csv": b"path,label\nimages/0.png,0.5\n"}), "the label 0.5"),
    _case("table-twice", zipped(IMAGES | {"labels.csv": TABLE + b"images/0.png,dog\n"}), "a second time"),
    _case("table-columns", zipped(IMAGES | {"labels.csv": b"images/0.png,1,2\nimages/1.png,2,3\n"}), "3 columns"),
    _case("two-tables", zipped(IMAGES | {"a.csv": TABLE, "b.csv": TABLE}), "2 tables"),
    _case("table-missing", zipped(IMAGES | {"labels.csv": TABLE + b"images/9.png,dog\n"}), "not in the zip"),
    _case("table-huge-cell", zipped(IMAGES | {"labels.csv": TABLE + b"images/1.png," + b"x" * 200_000}), "row 4"),
]
FOREIGN = [
    _case("tar", tarred, "tar file"),
    _case("gzip", raw("photos.tar.gz", b"\x1f\x8b\x08" + bytes(50)), "gzip"),
    _case("7z", raw("photos.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50)), "7z file"),
    _case("rar", raw("photos.rar", b"Rar!\x1a\x07" + bytes(50)), "RAR file"),
    _case("hdf5", raw("data.h5", b"\x89HDF\r\n\x1a\n" + bytes(50)), "HDF5"),
    _case("pdf", raw("photos.zip", b"%PDF-1.7\n"), "PDF"),
    _case("one-picture", raw("cat.png", image()), "single image"),
    _case("web-page", raw("photos.zip", b"<!DOCTYPE html><html>Sign in</html>"), "web page"),
    _case("page-before-zip", raw("photos.zip", b"<html><!--" + directory(b"", [])), "web page"),
    _case("lfs-pointer", raw("photos.zip", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS"),
    _case("noise", raw("photos.zip", bytes(range(200, 256)) * 20), "neither a zip nor an npz"),
]
TURNED = Image.Exif()
TURNED[0x0112] = 6
FRAMES = [Image.new("P", (8, 8), color) for color in range(3)]
ANIMATED = {f"{name}/1.gif": image("GIF", "P", save_all=True, append_images=FRAMES) for name in "ab"}
LATIN = "images/0.png;Käse\nimages/1.png;Brot\n".encode("latin-1")
TABBED = "\ufefffilename\tclass\n0.png\t3\n1.png\t0\n".encode()
HONEST = [
    _case("png", zipped(classes())),
    _case("jpeg", zipped(classes("JPEG", suffix="JPG"))),
    _case("webp", zipped(classes("WEBP", suffix="webp"))),
    _case("bmp", zipped(classes("BMP", suffix="bmp"))),
    _case("gif", zipped(classes("GIF", "P", "gif"))),
    _case("tiff", zipped(classes("TIFF", suffix="tiff", compression="tiff_lzw"))),
    _case("animated", zipped(ANIMATED)),
    _case("gray", zipped(classes(mode="L"))),
    _case("gray-alpha", zipped(classes(mode="LA"))),
    _case("one-bit", zipped(classes(mode="1"))),
    _case("rgba", zipped(classes(mode="RGBA"))),
    _case("palette", zipped(classes(mode="P"))),
    _case("cmyk", zipped(classes("JPEG", "CMYK", "jpg"))),
    _case("16-bit", zipped(classes(mode="I;16"))),
    _case("turned", zipped(classes("JPEG", suffix="jpg", exif=TURNED))),
    _case(
        "top-and-rubbish",
        zipped(
            {f"my photos/{name}": content for name, content in classes().items()}
            | {"__MACOSX/my photos/cat/._0.png": b"x", "my photos/.DS_Store": b"x", "my photos/cat/Thumbs.db": b"x"}
        ),
    ),
    _case(
        "train-test",
        zipped({f"{top}/{name}": content for top in ("train", "test") for name, content in classes().items()}),
    ),
    _case(
        "train-valid-test",
        zipped(
            {f"d/{top}/{name}": content for top in ("train", "valid", "test") for name, content in classes().items()}
        ),
    ),
    _case("deep-folders", zipped({"cat/2024/1.png": image(), "dog/2025/may/1.png": image()})),
    _case("numbered-folders", zipped({f"{at}/1.png": image() for at in range(11)})),
    _case("strange-names", zipped({"<script>alert(1)</script>/=cmd().png": image(), "日本/é ü.png": image()})),
    _case("plain", zipped({f"{at}.png": image() for at in range(3)})),
    _case("one-class", zipped({f"cat/{at}.png": image() for at in range(3)})),
    _case(
        "one-broken-of-forty",
        zipped({f"{'cat' if at % 2 else 'dog'}/{at}.png": image() for at in range(40)} | {"cat/0.jpg": b"broken"}),
    ),
    _case("zip-inside", zipped(classes() | {"more.zip": b"PK\x03\x04", "notes.txt": b"x"})),
    _case("table", zipped(IMAGES | {"labels.csv": TABLE})),
    _case("table-semicolon-latin1", zipped(IMAGES | {"labels.csv": LATIN})),
    _case("table-tab-bom-numbers", zipped(IMAGES | {"data.tsv": TABBED})),
    _case("table-splits", zipped(IMAGES | {"labels.csv": b"image,target,split\n0,cat,train\n1,dog,test\n"})),
    _case("npz", saved(x=X, y=Y)),
    _case("npz-gray", saved(x=GRAY, y=Y[:, None])),
    _case("npz-channels-first", saved(x=np.ascontiguousarray(X.transpose(0, 3, 1, 2)) / np.float32(255), y=Y)),
    _case("npz-float-255", saved(X=X.astype(np.float64), Y=Y.astype(np.float32))),
    _case("npz-unlabelled", saved(x=X)),
    _case("npz-names", saved(x=X, y=np.array(["cat", "dog"] * 4))),
    _case("npz-16-bit", saved(x=GRAY.astype(np.uint16) * 257, y=Y)),
    _case("npz-keras", saved(x_train=GRAY, y_train=Y, x_test=GRAY[:3], y_test=Y[:3])),
    _case("npz-alpha", saved(x=RANDOM.integers(0, 256, (8, 6, 5, 4), np.uint8), y=Y)),
]
CASES: list[Case] = [*ARCHIVES, *PICTURES, *ARRAYS, *TABLES, *FOREIGN, *HONEST]
