"""Files that claim to be weights. Each payload would touch the file that STUDIO_MARKER names, and none may run."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.hostile.case import Case
from tests.hostile.pickles import (
    COMMAND,
    FLOATS,
    call,
    checkpoint,
    entry,
    mapping,
    name,
    number,
    numbers,
    pickled,
    replaced,
    safetensors,
    several,
    state,
    storage,
    tensor,
    text,
    written,
    zipped,
)

RUNS = call("posix", "system", text(COMMAND))
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
PIXEL = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\x03\x01"
    b"\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82"
)


def saved(content: bytes, **others: bytes) -> Callable[[Path], Path]:
    """A checkpoint with that pickle."""
    return lambda folder: checkpoint(folder, content, **others)


def plain(content: bytes, file: str) -> Callable[[Path], Path]:
    """A file of these bytes."""
    return lambda folder: written(folder, content, file)


def headed(header: object, values: bytes = FLOATS) -> Callable[[Path], Path]:
    """A safetensors file with that header."""
    return lambda folder: safetensors(folder, header, values)


def archive(parts: dict[str, bytes], file: str = "weights.pt", method: int = 0) -> Callable[[Path], Path]:
    """A zip."""
    return lambda folder: zipped(folder / file, parts, method)


def altered(old: bytes, new: bytes, at: int = 0) -> Callable[[Path], Path]:
    """An honest checkpoint with one stretch of its bytes replaced."""
    return lambda folder: replaced(checkpoint(folder, HONEST), old, new, at=at)


def cut(share: float) -> Callable[[Path], Path]:
    """The first part of an honest checkpoint."""

    def build(folder: Path) -> Path:
        content = checkpoint(folder, HONEST).read_bytes()
        return written(folder, content[: int(len(content) * share)])

    return build


def linked(folder: Path) -> Path:
    """The pickle is a link to a file of the system."""
    path = folder / "weights.pt"
    with zipfile.ZipFile(path, "w") as packed:
        link = zipfile.ZipInfo("weights/data.pkl")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
        packed.writestr("weights/data/0", FLOATS)
    return path


def twice(folder: Path) -> Path:
    """Two entries of one name, the second with a payload."""
    path = checkpoint(folder, HONEST)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("weights/xata.pkl", pickled(RUNS))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"xata.pkl", b"data.pkl"))
    return path


def misplaced(folder: Path) -> Path:
    """The list of contents places the second storage where the first is."""
    path = checkpoint(folder, TWO, data_1=FLOATS)
    with zipfile.ZipFile(path) as packed:
        first, second = (packed.getinfo(f"weights/data/{key}") for key in "01")
    return replaced(path, struct.pack("<I", second.header_offset), struct.pack("<I", first.header_offset), at=-1)


def overlapping(folder: Path) -> Path:
    """The second storage lies inside the first, local header and all."""
    path = checkpoint(folder, TWO, data_1=FLOATS)
    content = path.read_bytes()
    second = content.index(b"weights/data/1") - 30
    inner = content[second : content.index(b"PK\x01\x02")]
    path = checkpoint(folder, TWO, data_0=inner, data_1=FLOATS)
    content = path.read_bytes()
    return replaced(path, struct.pack("<I", content.rindex(inner)), struct.pack("<I", content.index(inner)), at=-1)


def large_zip_lies(folder: Path) -> Path:
    """Ends with the record for large zips, which tells another number of entries."""
    path = checkpoint(folder, HONEST)
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<H2I", content, end + 10)
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count - 1, count - 1, size, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    path.write_bytes(content[:end] + record + locator + content[end:])
    return path


def many_entries(folder: Path) -> Path:
    """One entry, of which the list of contents says there are 65,534."""
    path = checkpoint(folder, HONEST)
    count = struct.pack("<2H", 4, 4)
    return replaced(path, count, struct.pack("<2H", 65_534, 65_534), at=-1)


def tar_of_pickles(folder: Path) -> Path:
    """What torch before 0.4 wrote."""
    path = folder / "weights.pt"
    with tarfile.open(path, "w") as packed:
        packed.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    return path


def arrays(folder: Path) -> Path:
    """An npz, which belongs to the data."""
    np.savez(folder / "weights.npz", x=np.zeros((2, 2)), y=np.zeros(2))
    return folder / "weights.npz"


def deep(opening: bytes, closing: bytes, count: int = 20_000) -> bytes:
    """A pickle nested that often."""
    return pickled(opening * count + b"N" + closing * count)


HONEST = state(conv__weight=tensor())
TWO = state(a=tensor(), b=tensor(storage(key="1")))
SCRIPT = {"m/data.pkl": pickled(RUNS), "m/constants.pkl": pickled(b")"), "m/code/__torch__/m.py": b"import os\n"}
WEB = b"<!DOCTYPE html>\n<html><body>Sign in to download</body></html>\n"
BAD = float("nan")

CODE = [
    ("os-system", pickled(RUNS), "posix.system"),
    ("os-system-as-a-weight", state(a=tensor(), b=RUNS), "posix.system"),
    ("eval", pickled(call("__builtin__", "eval", text("1"))), "builtins.eval"),
    ("exec", pickled(call("builtins", "exec", text("1"))), "builtins.exec"),
    ("getattr", pickled(call("builtins", "getattr", name("os", "path"), text("join"))), "builtins.getattr"),
    ("subprocess", pickled(call("subprocess", "Popen", text(COMMAND), b"\x88")), "subprocess.Popen"),
    ("partial", pickled(call("functools", "partial", name("posix", "system"), text(COMMAND))), "posix.system"),
    ("nested-load", pickled(call("pickle", "loads", b"B" + struct.pack("<I", 3) + b"\x80\x02.")), "pickle.loads"),
    ("torch-load", pickled(call("torch.serialization", "load", text("/tmp/x.pt"))), "torch.serialization.load"),
    ("torch-hub", pickled(call("torch.hub", "load", text("a/b"), text("c"))), "torch.hub.load"),
    ("from-bytes", pickled(call("torch.storage", "_load_from_bytes", text("x"))), "torch.storage._load_from_bytes"),
    ("dotted", pickled(text("torch.nn.modules.module") + text("os.system") + b"\x93" + several(text("x")) + b"R"),
     "torch.nn.modules.module.os.system"),
    ("names-on-the-stack", pickled(text("os") + b"q\0" + text("system") + b"q\1" + text("torch") + b"h\0h\1\x93"),
     "os.system"),
    ("numpy", pickled(call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), numbers((0,)))),
     "numpy.core.multiarray._reconstruct"),
    ("library-loader", pickled(call("ctypes", "CDLL", text("/tmp/x.so"))), "ctypes.CDLL"),
    ("import", pickled(call("importlib", "import_module", text("antigravity"))), "importlib.import_module"),
    ("inst", pickled(b"(" + text(COMMAND) + b"iposix\nsystem\n"), "posix.system"),
    ("obj", pickled(b"(" + name("posix", "system") + text(COMMAND) + b"o"), "posix.system"),
    ("newobj-ex", pickled(name("collections", "OrderedDict") + b")}\x92"), "NEWOBJ_EX"),
    ("build-attributes", pickled(name("types", "SimpleNamespace") + b")\x81" + mapping({"__class__": RUNS}) + b"b"),
     "types.SimpleNamespace"),
    ("extension", pickled(b"\x82\x01"), "EXT1"),
    ("long-extension", pickled(b"\x84\x01\0\0\0"), "EXT4"),
    ("text-id", b"P0\n.", "PERSID"),
    ("whole-module", pickled(name("torchvision.models.resnet", "ResNet") + b")\x81" + mapping({"a": b"\x88"}) + b"b"),
     "torchvision.models.resnet.ResNet"),
    ("whole-module-of-ones-own", pickled(name("__main__", "Net") + b")\x81}b"), "__main__.Net"),
]  # fmt: skip
"""Pickles in a checkpoint that ask for more than tensors."""

LIES = [
    ("id-no-tuple", pickled(text("storage") + b"Q"), "names a storage"),
    ("id-too-short", pickled(several(text("storage"), name("torch", "FloatStorage")) + b"Q"), "names a storage"),
    ("id-leads-elsewhere", state(a=tensor(storage(key="../../etc/passwd"))), "not in the file"),
    ("id-missing", state(a=tensor(storage(key="7"))), "not in the file"),
    ("storage-larger", state(a=tensor(storage(count=1 << 40), (1 << 40,))), "says more than the file holds"),
    ("storage-a-little-larger", state(a=tensor(storage(count=7), (7,))), "says more than the file holds"),
    ("tensor-larger", state(a=tensor(shape=(1 << 20, 1 << 20))), "Tensor says more than the file holds"),
    ("expanded", state(a=tensor(storage(count=1), (1 << 20, 1 << 20), (0, 0))), "Tensor says more than the file holds"),
    ("offset-beyond", state(a=tensor(first=4)), "Tensor says more than the file holds"),
    ("stride-beyond", state(a=tensor(strides=(300, 1))), "Tensor says more than the file holds"),
    ("negative-stride", state(a=tensor(first=5, shape=(6,), strides=(-1,))), "whole numbers"),
    ("negative-offset", state(a=tensor(first=-1)), "whole numbers"),
    ("negative-side", state(a=tensor(shape=(-2, 3), strides=(3, 1))), "whole numbers"),
    ("many-sides", state(a=tensor(shape=(1,) * 70)), "whole numbers"),
    ("sparse", state(a=call("torch._utils", "_rebuild_sparse_tensor", b"N", several(tensor(), tensor()))), "sparse"),
    ("no-values", state(a=call("torch._utils", "_rebuild_meta_tensor_no_storage", b"N")), "no values"),
    ("quantized", state(a=call("torch._utils", "_rebuild_qtensor", storage("QInt8Storage"))), "quantized"),
    ("complex", state(a=tensor(storage("ComplexFloatStorage", count=3), (3,))), "complex numbers"),
    ("int8-weights", state(conv__weight=tensor(storage("CharStorage"))), "quantized already"),
    ("nothing", pickled(b"}"), "no tensors"),
    ("single-tensor", pickled(tensor()), "without a name"),
    ("names-are-numbers", pickled(b"}(" + number(0) + tensor() + b"u"), "no tensors that have a name"),
    ("name-with-controls", state(**{"a\x1b[31m": tensor()}), "named"),
    ("name-turned-round", state(**{"a\N{RIGHT-TO-LEFT OVERRIDE}b": tensor()}), "named"),
    ("name-too-long", state(**{"a" * 501: tensor()}), "named"),
    ("name-without-a-letter", state(**{"\udc80": tensor()}), "named"),
    ("two-of-them", pickled(mapping({key: mapping({"w": tensor()}) for key in "ab"})), "2 dicts of tensors"),
    ("two-pickles", HONEST + HONEST, "before its file does"),
    ("bytearray-of-12-GiB", b"\x80\x05\x96" + struct.pack("<Q", 12 << 30) + b".", "damaged"),
    ("text-of-4-GiB", pickled(b"X\xff\xff\xff\xff"), "damaged"),
    ("huge-number", pickled(b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20)), "LONG4"),
    ("memo-of-4-billion", pickled(b"N" + b"r\xff\xff\xff\xff" + b"0"), "POP"),
    ("memo-unknown", pickled(b"h\x07"), "damaged"),
    ("frame-lies", b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"}.", "damaged"),
    ("stack-empty", pickled(b"R"), "damaged"),
    ("nested-20000-deep", deep(b"(", b"t"), "nested more than 1,000 deep"),
    ("lists-20000-deep", deep(b"](", b"e"), "nested more than 1,000 deep"),
    ("doubled-60-times", pickled(b")" + b"q\0h\0\x86" * 60), "no tensors"),
    ("marks-without-end", pickled(b"(" * 10_000), "nested more than 1,000 deep"),
    (
        "one-list-in-many-calls",
        pickled(b"]q\0(" + (b"K\1K\2\x86" * 50_000) + b"e" + name("collections", "OrderedDict") + b"q\1h\0\x85q\2"
                + b"h\1h\2R" * 10_000),
        "fills more than",
    ),
    (
        "one-dict-under-many-keys",
        pickled(b"}(" + text("all") + b"}q\0(" + b"".join(text(f"{each:06}") + b"N" for each in range(20_000)) + b"u"
                + b"".join(text(f"{each:06}") + b"h\0" for each in range(20_000)) + b"u"),
        "no tensors",
    ),
    ("prefix-without-end", state(**{"module." * 20_000 + "w": tensor()}), "named"),
    ("no-end", HONEST[:-1], "damaged"),
    ("no-pickle", b"hello", "damaged"),
]  # fmt: skip
"""Pickles in a checkpoint that say what is not so."""

ZIPS: list[tuple[str, Callable[[Path], Path], str]] = [
    ("deflated", archive({"w/data.pkl": HONEST, "w/data/0": FLOATS}, method=zipfile.ZIP_DEFLATED), "compressed"),
    ("link", linked, "link"),
    ("two-entries-of-one-name", twice, "two entries"),
    ("misplaced", misplaced, "two different things"),
    ("overlap", overlapping, "where something else is"),
    ("other-name-before-it", altered(b"weights/data/0", b"weights/data/1"), "two different things"),
    ("other-size-before-it", altered(struct.pack("<2I", 24, 24), struct.pack("<2I", 24, 25)), "two different sizes"),
    ("size-4-GiB", altered(struct.pack("<2I", 24, 24), struct.pack("<2I", 1 << 31, 1 << 31), -1), "Cut short"),
    ("encrypted", altered(b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\1"), "encrypted"),
    ("large-zip-lies", large_zip_lies, "two different things"),
    ("says-65534-entries", many_entries, "65,534"),
    ("absolute-name", archive({"/weights/data.pkl": HONEST}), "leads elsewhere"),
    ("name-upwards", archive({"weights/data.pkl": HONEST, "weights/../../x": FLOATS}), "leads elsewhere"),
    ("backslash", archive({"weights/data.pkl": HONEST, "weights\\..\\x": FLOATS}), "leads elsewhere"),
    ("two-checkpoints", archive({"a/data.pkl": HONEST, "b/data.pkl": pickled(RUNS)}), "2 pickles"),
    ("something-beside", archive({"a/data.pkl": HONEST, "a/data/0": FLOATS, "a/run.py": b""}), "a/run.py"),
    ("big-endian", lambda folder: checkpoint(folder, HONEST, byteorder=b"big"), "big-endian"),
    ("goes-on", lambda folder: written(folder, checkpoint(folder, HONEST).read_bytes() + b"MZ" * 9), "after its end"),
    ("cut-in-half", cut(0.5), "Cut short"),
    ("cut-at-the-end", cut(0.97), "Cut short"),
    ("torchscript", archive(SCRIPT), "is a program, not weights"),
    ("exported", archive({"m/archive_format": b"pt2", "m/models/m.json": b"{}"}, "m.pt2"), "is a program, not weights"),
    ("images", archive({"cat/1.png": PIXEL}, "images.zip"), "images"),
    ("arrays", arrays, "Arrays"),
    ("model-in-a-zip", archive({"best.pt": b""}, "best.zip"), "model in it"),
    ("empty-zip", archive({}, "empty.zip"), "0 files"),
]  # fmt: skip

FOREIGN: list[tuple[str, Callable[[Path], Path], str]] = [
    ("legacy", plain(LEGACY + pickled(number(1001)) + pickled(b"}"), "old.pt"), "Old or foreign pickle"),
    ("tar", tar_of_pickles, "Old or foreign pickle"),
    ("bare", plain(pickle.dumps({"a": 1}), "weights.pkl"), "Old or foreign pickle"),
    ("bare-with-code", plain(pickled(RUNS), "weights.pt"), "posix.system"),
    ("bare-of-protocol-0", plain(b"cos\nsystem\n(S'" + COMMAND.encode() + b"'\ntR.", "weights.pt"), "os.system"),
    ("scikit-learn", plain(pickled(name("sklearn.svm._classes", "SVC") + b")\x81}b"), "model.joblib"), "sklearn"),
    ("web-page", plain(WEB, "weights.pt"), "Not a checkpoint"),
    ("xhtml", plain(b"\xef\xbb\xbf\n<?xml version='1.0'?>\n" + WEB, "weights.pt"), "web page"),
    (
        "git-lfs",
        plain(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "w.safetensors"),
        "Git LFS",
    ),
    ("empty", plain(b"", "weights.pt"), "Cut short: 0 bytes"),
    ("one-byte", plain(b"P", "weights.pt"), "Cut short: 1 byte"),
    ("zeros", plain(bytes(4096), "weights.bin"), "zeros"),
    ("engine", plain(b"ptrt" + bytes(64), "model.engine"), "TensorRT"),
    (
        "openvino-binary",
        plain(np.linspace(-1, 1, 64, dtype="<f4").tobytes(), "model.bin"),
        "Not a model that the studio",
    ),
    ("comments", plain(b"<!---->" * 200, "weights.pt"), "Not a checkpoint"),
    ("utf-16", plain("not weights".encode("utf-16"), "weights.pt"), "a text"),
    ("braces", plain(b"import x{{{ # not weights", "weights.pt"), "a text"),
    ("openvino", plain(b'<?xml version="1.0"?>\n<net name="m" version="11"></net>', "model.xml"), "OpenVINO"),
    ("gguf", plain(b"GGUF\x03" + bytes(64), "model.gguf"), "GGUF"),
    ("png", plain(PIXEL, "weights.pt"), "image"),
    ("pdf", plain(b"%PDF-1.7\n" + bytes(64), "weights.pt"), "PDF"),
    ("gzip", plain(gzip.compress(HONEST * 9), "weights.pt.gz"), "gzip"),
    ("program", plain(b"\x7fELF" + bytes(64), "weights.pt"), "program"),
    ("json", plain(b'{"architectures": ["ViT"]}', "config.json"), "JSON"),
    ("python", plain(b"import os\nos.system('true')\n", "weights.pt"), "a text"),
    ("noise", plain(bytes(range(200, 256)) * 9, "weights.pt"), "Not a model that the studio knows"),
]

HEADERS: list[tuple[str, object, str]] = [
    ("longer-than-the-file", b"", "Cut short"),
    ("of-2-TiB", b"", "at most 16,777,216"),
    ("not-json", b'{"a": ', "not JSON"),
    ("not-utf-8", b'{"\xff": 1}', "UTF-8"),
    ("of-keys", b"{" + b",".join(b'"%07x":1' % each for each in range(30_000)) + b"}", "lists 30,000 tensors"),
    ("twice", b'{"a": {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, "a": 1}', "two entries named a"),
    ("nested", b'{"a":' * 90_000, "nested too deep"),
    ("number-of-5000-digits", b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ("not-a-number", b'{"a": NaN}', "not JSON"),
    ("entry-no-object", {"a": [1]}, "by other things"),
    ("type-unknown", {"a": entry("F31")}, "of the type F31"),
    ("type-no-text", {"a": entry() | {"dtype": 3}}, "no type"),
    ("shape-negative", {"a": entry(shape=(-2, -3))}, "no shape"),
    ("shape-no-list", {"a": entry() | {"shape": "23"}}, "no shape"),
    ("shape-a-float", {"a": entry(shape=(2.0, 3))}, "no shape"),
    ("shape-too-large", {"a": entry(shape=(1 << 32, 1 << 32, 1 << 32))}, "values of 4 bytes in 24"),
    ("shape-overflows", {"a": entry(shape=(1 << 62, 4))}, "no shape"),
    ("offsets-turned-round", {"a": entry(begin=24, end=0)}, "ends before it begins"),
    ("offsets-negative", {"a": entry(begin=-24, end=0)}, "no place"),
    ("offsets-beyond", {"a": entry(shape=(4, 3), end=48)}, "Cut short"),
    ("gap", {"a": entry(shape=(1,), begin=20)}, "gap"),
    ("overlap", {"a": entry(), "b": entry()}, "overlap"),
    ("rest", {"a": entry(shape=(2,), end=8)}, "last 16 bytes"),
    ("metadata-no-text", {"__metadata__": {"a": 1}, "a": entry()}, "metadata"),
    ("nothing", {}, "last 24 bytes"),
    ("named-as-the-metadata", {"__metadata__": entry()}, "metadata"),
    ("not-finite", {"fc.weight": entry()}, "fc.weight"),
    ("infinite", {"fc.weight": entry()}, "1 infinite"),
    ("bf16-not-finite", {"fc.bias": entry("BF16", (12,))}, "12 NaN"),
    ("f64-too-large", {"fc.bias": entry("F64", (3,))}, "3 infinite"),
    ("f8", {"a": entry("F8_E4M3", (24,))}, "8 bits"),
    ("packed-4-bit", {"fc.weight": entry("U8", (24, 1))}, "quantized already"),
    ("unsigned", {"a": entry("U32", (6,))}, "of the type U32"),
]


def header_case(kind: str, header: object) -> Callable[[Path], Path]:
    """The file of one row of `HEADERS`."""
    values = {
        "not-finite": np.array([1, 2, np.nan, 4, np.nan, 6], "<f4").tobytes(),
        "infinite": np.array([1, 2, 3, -np.inf, 5, 6], "<f4").tobytes(),
        "bf16-not-finite": struct.pack("<12H", *[0x7FC0] * 12),
        "f64-too-large": np.array([1e300, -1e300, 1e40]).tobytes(),
    }
    lengths = {"longer-than-the-file": 9_999_999, "of-2-TiB": 1 << 41}
    if kind in lengths:
        return plain(struct.pack("<Q", lengths[kind]) + b'{"a": 1}' * 9, "weights.safetensors")
    return headed(header, values.get(kind, FLOATS))


MORE = np.arange(12, dtype="<f4").tobytes()
PARAMETER = call("torch._utils", "_rebuild_parameter", tensor(), b"\x88", call("collections", "OrderedDict"))
OLD_NUMBER = call(
    "numpy.core.multiarray",
    "scalar",
    call("numpy", "dtype", text("f8"), b"\x89\x88"),
    call("_codecs", "encode", text("x")),
)
HONEST_CASES: list[tuple[str, Callable[[Path], Path]]] = [
    ("plain", saved(HONEST)),
    ("parameters", saved(state(conv__weight=PARAMETER))),
    ("protocol-4", saved(b"\x80\x04\x95\x07\0\0\0\0\0\0\0" + HONEST[2:])),
    ("named-bin", lambda folder: checkpoint(folder, HONEST, file="pytorch_model.bin")),
    ("under-state-dict", saved(pickled(mapping({
        "epoch": number(3), "arch": text("resnet18"), "state_dict": mapping({"w": tensor()}), "best": OLD_NUMBER,
        "optimizer": mapping({"state": b"}", "param_groups": b"]"}), "args": name("argparse", "Namespace") + b")\x81}b",
    })))),
    ("data-parallel", saved(pickled(mapping({"module.w": tensor(), "module.b": tensor(shape=(3,))})))),
    ("compiled", saved(pickled(mapping({"_orig_mod.w": tensor()})))),
    ("shared", saved(state(a=tensor(), b=tensor()))),
    ("turned", saved(state(a=tensor(shape=(3, 2), strides=(1, 3))))),
    ("part-of-a-storage", saved(state(a=tensor(storage(key="1", count=12), (4,), (2,), 3)), data_1=MORE)),
    ("one-number-and-none", saved(state(a=tensor(shape=()), b=tensor(shape=(0, 3))))),
    ("doubles", saved(state(a=tensor(storage("DoubleStorage", count=3), (3,))))),
    ("halves", saved(state(a=tensor(storage("HalfStorage", count=3), (3,))), data_0=np.ones(3, "<f2").tobytes())),
    ("whole-numbers", saved(state(a=tensor(storage("LongStorage", count=3), (3,)), b=tensor(storage("BoolStorage"))))),
    ("names-as-markup", saved(pickled(mapping(dict.fromkeys(("<img src=x onerror=alert(1)>", "=cmd"), tensor()))))),
    ("safetensors", headed({"a": entry()})),
    ("safetensors-as-long-as-BM", headed(b'{"a": {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'.ljust(19_778))),
    ("safetensors-padded", headed(b'{"a": {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}   ')),
    ("safetensors-with-texts", headed({"__metadata__": {"format": "pt"}, "a": entry("F16", (12,))}, bytes(24))),
    ("safetensors-bf16", headed({"a": entry("BF16", (12,))}, bytes(24))),
    ("safetensors-named-pt", lambda folder: safetensors(folder, {"a": entry()}, file="weights.pt")),
]  # fmt: skip

CASES: list[Case] = [
    *(Case(f"weights-code-{kind}", "model", saved(content), says) for kind, content, says in CODE),
    *(Case(f"weights-lie-{kind}", "model", saved(content), says) for kind, content, says in LIES),
    *(Case(f"weights-zip-{kind}", "model", build, says) for kind, build, says in ZIPS),
    *(Case(f"weights-foreign-{kind}", "model", build, says) for kind, build, says in FOREIGN),
    *(Case(f"weights-header-{kind}", "model", header_case(kind, header), says) for kind, header, says in HEADERS),
    *(Case(f"weights-honest-{kind}", "model", build, "") for kind, build in HONEST_CASES),
]
