"""What kind of file it is, by its first bytes; every kind that is not taken has its sentence and its way out."""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from core.errors import Refused
from intake.parsing import snippets
from intake.parsing.inert_pickle import MOST_BYTES, names_in, strange
from intake.parsing.safetensors_file import FORMAT_HEADER_BYTES
from intake.parsing.untrusted import Untrusted, cut_short, shown
from intake.parsing.zip_index import EMPTY, START

Kind: TypeAlias = Literal["zip", "safetensors", "onnx", "tflite", "keras"]
FOR_TENSORFLOW = "for-tensorflow"
"""The kind of a finding that is no item: the file is one that TensorFlow's environment reads."""
HEAD_BYTES = 1024
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The number that a file of torch before 1.6 begins with, as a pickle of its own."""


@dataclass(frozen=True)
class Foreign:
    """One kind of file that is not taken."""

    says: str
    action: str = ""
    snippet: str = ""

    def refusal(self) -> Refused:
        """The error to raise."""
        return Refused(
            self.says,
            expected="a state_dict in .safetensors or .pt, or a network in .onnx, .keras, .h5 or .tflite",
            action=self.action,
            snippet=self.snippet,
        )


_DATA = "Upload it where the data goes"
_UNPACK = "Unpack it, and upload the file inside"
_ENGINE = Foreign(
    "A TensorRT engine, which fits one GPU and one version only", "Upload the ONNX file it was built from"
)
_IMAGE = Foreign("An image", _DATA)
_PROGRAM = Foreign("A program of this or another system")
_ARRAYS = Foreign("Arrays of NumPy", _DATA + ", if these are images and labels")
SCRIPT = Foreign(
    "TorchScript: it is a program, not weights",
    "Convert it to ONNX, or save its weights alone",
    snippets.TORCHSCRIPT_TO_ONNX,
)
EXPORTED = Foreign(
    "A .pt2 file of torch.export: it is a program, not weights", "Convert it to ONNX", snippets.EXPORTED_TO_ONNX
)
LEGACY_PICKLE = Foreign("Old or foreign pickle", "Save it again with torch 1.6 or newer", snippets.SAVE_AGAIN)
LFS = Foreign(
    "Not a checkpoint: a pointer of Git LFS to the real file", "Run `git lfs pull`, and upload what it fetches"
)
PAGE = Foreign(
    "Not a checkpoint: a web page", "Download the file itself; the address led to a page about it or to a log-in"
)

BEGINNINGS: tuple[tuple[int, bytes, Foreign], ...] = (
    (0, LEGACY, LEGACY_PICKLE),
    (257, b"ustar", Foreign("Old or foreign pickle, or another archive in tar", "Save it again", snippets.SAVE_AGAIN)),
    (4, b"ORTM", Foreign("A model in the internal format of ONNX Runtime", "Upload the ONNX file it was made from")),
    (0, b"ptrt", _ENGINE), (0, b"ftrt", _ENGINE), (0, b"vtrt", _ENGINE),
    (0, b"GGUF", Foreign("GGUF, the format of llama.cpp for language models", "Upload the network's own weights")),
    (0, b"version https://git-lfs", LFS),
    (0, b"\x89PNG", _IMAGE), (0, b"\xff\xd8\xff", _IMAGE), (0, b"GIF8", _IMAGE), (8, b"WEBP", _IMAGE),
    (0, b"BM", _IMAGE), (0, b"II*\0", _IMAGE), (0, b"MM\0*", _IMAGE),
    (0, b"%PDF", Foreign("A PDF document")),
    (0, b"\x93NUMPY", _ARRAYS),
    (0, b"\x7fELF", _PROGRAM), (0, b"MZ", _PROGRAM), (0, b"\xcf\xfa\xed\xfe", _PROGRAM),
    (0, b"\x1f\x8b", Foreign("Packed with gzip", _UNPACK)), (0, b"BZh", Foreign("Packed with bzip2", _UNPACK)),
    (0, b"\xfd7zXZ", Foreign("Packed with xz", _UNPACK)), (0, b"7z\xbc\xaf", Foreign("Packed with 7-Zip", _UNPACK)),
    (0, b"Rar!", Foreign("Packed with RAR", _UNPACK)), (0, b"\x28\xb5\x2f\xfd", Foreign("Packed with zstd", _UNPACK)),
)  # fmt: skip
"""Where in a file which bytes tell what it is."""

TAKEN: tuple[tuple[int, bytes, Kind], ...] = ((0, b"\x89HDF\r\n\x1a\n", "keras"), (4, b"TFL3", "tflite"))
"""The same of files that are read."""
OF_TENSORFLOW = r"config\.json|model\.weights\.h5|([^/]+/)*saved_model\.pb"
"""Names in a zip of a Keras model or of a SavedModel."""

TEXTS: tuple[tuple[str, Foreign], ...] = (
    (r"(<\?xml[^>]*>\s*)?(<!--((?!-->).)*-->\s*)*<(!doctype html|html|head|body)\b", PAGE),
    (r"(<\?xml[^>]*>\s*)?<net\b", Foreign("An OpenVINO model", "Upload the ONNX file or the weights it was made from")),
    (r"<", Foreign("Not a checkpoint: a page or document in a markup language")),
    (
        r"[\[{]",
        Foreign("Not a checkpoint: a text in JSON, as a model's settings are", "Upload the weights that lie beside it"),
    ),
    (r"", Foreign("Not a checkpoint: a text")),
)
"""Regular expressions for the beginning of a text, the first that fits."""

ZIPS: tuple[tuple[str, Foreign | None], ...] = (
    (r"[^/]+/(constants\.pkl|code/.*)", SCRIPT),
    (r"([^/]+/)?(archive_format|models/.+\.json|serialized_exported_program\.json|data/aotinductor/.*)", EXPORTED),
    (r"[^/]+/data\.pkl", None),
    (r"(.*/)?Manifest\.json|.*\.mlmodel", Foreign("A Core ML model", "Upload the network it was converted from")),
    (r"MAR-INF/.*", Foreign("An archive of TorchServe", _UNPACK)),
    (r".*\.(safetensors|pt|pth|bin|onnx|h5|tflite|ckpt)", Foreign("A zip with a model in it", _UNPACK)),
    (r".*\.(png|jpe?g|webp|bmp|gif|tiff?)", Foreign("A zip of images", _DATA)),
    (r".*\.npy", _ARRAYS),
)  # fmt: skip
"""Regular expressions for a name in a zip, the first that fits; None for what `torch.save` may have written."""


def kind_of(source: Untrusted, name: str) -> Kind:
    """How the file is to be read. Raises `Refused` for every other kind, with what it is."""
    head = source.read(0, min(source.size, HEAD_BYTES))
    if source.size < 8:
        raise cut_short(source.size, "a network")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= FORMAT_HEADER_BYTES:
        return "safetensors"
    if head.startswith((START, EMPTY)):
        return "zip"
    for at, beginning, kind in TAKEN:
        if head.startswith(beginning, at):
            return kind
    for at, beginning, foreign in BEGINNINGS:
        if head.startswith(beginning, at):
            raise foreign.refusal()
    if pickle := _bare_pickle(source, head):
        raise pickle
    if text := _text(head):
        raise text
    if name.lower().endswith(".safetensors"):
        return "safetensors"
    if name.lower().endswith(".onnx") or _is_onnx(head):
        return "onnx"
    raise _unknown(source, head)


def is_for_tensorflow(names: Iterable[str]) -> bool:
    """Whether a zip with these entries is a Keras model or a SavedModel, and nothing that is known to be another."""
    names = tuple(names)
    others = [pattern for pattern, _ in ZIPS[:3]]
    if any(re.fullmatch(pattern, name) for pattern in others for name in names):
        return False
    return any(re.fullmatch(OF_TENSORFLOW, name) for name in names)


def refusal_of_zip(names: Iterable[str]) -> Refused | None:
    """Why a zip with these entries is not taken; None for what `torch.save` may have written."""
    names = tuple(names)
    for pattern, foreign in ZIPS:
        if any(re.fullmatch(pattern, name, re.IGNORECASE) for name in names):
            return foreign.refusal() if foreign else None
    return Foreign(f"A zip of {len(names)} files without a network in it").refusal()


def _bare_pickle(source: Untrusted, head: bytes) -> Refused | None:
    """Why a pickle that is no zip is not taken, with the class or function that it asks for; None for no pickle."""
    if not (re.match(rb"\x80[\x02-\x05]", head) or re.match(rb"[(]|c[\w.]+\n\w+\n|[}\]][qp(]", head)):
        return None
    names = names_in(source.read(0, min(source.size, MOST_BYTES)))
    if not names and head[:1] != b"\x80":
        return None
    if not names:
        return LEGACY_PICKLE.refusal()
    error = strange(names)
    packages = {module.partition(".")[0] for module, _ in names}
    library = next((each for each in ("sklearn", "xgboost", "lightgbm", "joblib", "pandas") if each in packages), None)
    if library:
        return Foreign(
            f"Old or foreign pickle, of {library}", "Networks of PyTorch and ONNX are what the studio takes"
        ).refusal()
    return Refused(
        f"Old or foreign pickle. {error.received}", expected=error.expected, action=error.action, snippet=error.snippet
    )


def _text(head: bytes) -> Refused | None:
    """What kind of text it is; None for other bytes."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return None
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    return next(kind for pattern, kind in TEXTS if re.match(pattern, text.lstrip(), re.I | re.S)).refusal()


def _is_onnx(head: bytes) -> bool:
    """Whether it begins as a `ModelProto`: its version (field 1, a varint), then another of its first eight fields."""
    return head[0] == 0x08 and head[1] < 100 and head[2] in {0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42}


def _unknown(source: Untrusted, head: bytes) -> Refused:
    (length,) = struct.unpack("<Q", head[:8])
    if 2 <= length <= FORMAT_HEADER_BYTES and not any(head[8:]) and length + 8 > source.size:
        return cut_short(source.size, f"{length + 8:,} for the header alone")
    if not any(head):
        return Foreign(
            "The file begins with zeros only", "Copy the file again: it was not written to its end"
        ).refusal()
    return Foreign(f"Not a model that the studio knows (it begins with {shown(head[:8].hex(' '))})").refusal()
