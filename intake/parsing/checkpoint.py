"""Weights in a file of `torch.save`: a zip with a pickle that describes tensors, and their values beside it.

Written by `torch.serialization._save`; nothing of it is imported or run here. The names that the pickle may ask for are
those of `torch._utils` that rebuild a plain tensor, and a few that hold the numbers that people save beside weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import Refused
from intake.parsing.inert_pickle import MOST_BYTES, Global, Known, described
from intake.parsing.snippets import STORE_UNPACKED
from intake.parsing.tensors import ITEM_BYTES, Tensor, Unfit, tensor_in
from intake.parsing.untrusted import Untrusted, shown
from intake.parsing.zip_index import Entry, places

PICKLE = "data.pkl"
_BESIDE = {"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"}
_STORAGES = {
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "DoubleStorage": "F64",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
}
_QUANTIZED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
_DTYPES = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float64": "F64",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
    "complex128": "C128",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
}
_UNFIT = {
    "_rebuild_qtensor": "has been quantized by torch already",
    "_rebuild_sparse_tensor": "is sparse, which torch itself does not check when it opens a file",
    "_rebuild_sparse_csr_tensor": "is sparse, which torch itself does not check when it opens a file",
    "_rebuild_nested_tensor": "is a nested tensor of several shapes",
    "_rebuild_meta_tensor_no_storage": "has a shape and no values: it was saved from the device `meta`",
}


class Other:
    """Stands for a value beside the weights, which nobody looks at."""


@dataclass(frozen=True)
class _Storage:
    dtype: str | None
    """None where the tensor says it."""
    place: tuple[int, int]
    """First byte in the file, and bytes."""


def read(source: Untrusted, entries: Mapping[str, Entry]) -> tuple[Any, tuple[str, ...]]:
    """What the pickle describes: dicts by name, `Tensor`, `Unfit`, plain values and `Other`; and warnings.

    Raises `Refused`.
    """
    root = _root(entries)
    _check_stored(entries)
    begins = places(source, entries)
    if (order := entries.get(f"{root}/byteorder")) and source.read(begins[order.name], min(order.size, 8)) != b"little":
        raise Refused("The file was written by a big-endian machine", expected="little-endian values")
    pickle = entries[f"{root}/{PICKLE}"]
    if pickle.size > MOST_BYTES:
        raise Refused(f"The pickle in it has {pickle.size:,} bytes", expected=f"at most {MOST_BYTES:,}")
    found = described(source.read(begins[pickle.name], pickle.size), KNOWN, _stored(root, entries, begins))
    damaged = [name for name, entry in entries.items() if _crc(source, begins[name], entry) != entry.crc]
    return found, tuple(_DAMAGED.format(shown(name.removeprefix(f"{root}/"))) for name in damaged[:3])


_DAMAGED = "The part {} of the file does not match its checksum: the file may be damaged."


def _root(entries: Mapping[str, Entry]) -> str:
    """The folder that all entries lie in."""
    roots = [name.partition("/")[0] for name in entries if name.endswith(f"/{PICKLE}") and name.count("/") == 1]
    if len(roots) != 1:
        raise Refused(f"The file has {len(roots)} pickles named {PICKLE}", expected="one")
    for name in entries:
        folder, _, rest = name.partition("/")
        if folder != roots[0] or not (rest in _BESIDE or rest == PICKLE or re.fullmatch(r"data/\d{1,20}", rest)):
            raise Refused(f"The file holds {shown(name)}, which torch.save does not write", expected="weights alone")
    return roots[0]


def _check_stored(entries: Mapping[str, Entry]) -> None:
    for entry in entries.values():
        if entry.method != 0:
            raise Refused(
                f"The file is compressed ({shown(entry.name)}): it could unpack to any size",
                expected="a file as torch.save writes it",
                action="Store it uncompressed",
                snippet=STORE_UNPACKED,
            )
        if entry.packed != entry.size:
            raise Refused(f"The zip says two different sizes of {shown(entry.name)}")


def _crc(source: Untrusted, start: int, entry: Entry) -> int:
    import zlib

    value = 0
    for chunk in source.chunks(start, entry.size, 8 * 2**20):
        value = zlib.crc32(chunk, value)
    return value


def _stored(root: str, entries: Mapping[str, Entry], begins: Mapping[str, int]) -> Callable[[object], object]:
    """What stands for the persistent id of a storage: `("storage", type, key, device, elements)`."""

    def stored(identity: object) -> object:
        if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
            raise Refused("The pickle in it names a storage in a way that torch does not")
        _, kind, key, _, count = identity
        if not isinstance(kind, Global) or type(count) is not int or count < 0 or type(key) is not str:
            raise Refused("The pickle in it names a storage in a way that torch does not")
        name = f"{root}/data/{key[:21]}"
        if not re.fullmatch(r"\d{1,20}", key) or name not in entries:
            raise Refused(f"The pickle in it asks for the storage {shown(key)}, which is not in the file")
        if kind.name[1] in _QUANTIZED:
            return Unfit(_UNFIT["_rebuild_qtensor"])
        dtype = _STORAGES.get(kind.name[1])
        length = count * (ITEM_BYTES[dtype] if dtype else 1)
        if length > entries[name].size:
            raise Refused(
                f"A storage says more than the file holds: {length:,} bytes, and there are {entries[name].size:,}"
            )
        return _Storage(dtype, (begins[name], length))

    return stored


def _tensor(arguments: tuple[Any, ...]) -> Tensor | Unfit:
    """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)`; the first version has 4."""
    storage, first, shape, strides = arguments[:4]
    if isinstance(storage, Unfit):
        return storage
    if not isinstance(storage, _Storage) or storage.dtype is None:
        raise TypeError
    return tensor_in(storage.dtype, shape, strides, first, storage.place)


def _typed_tensor(arguments: tuple[Any, ...]) -> Tensor | Unfit:
    """`_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)`."""
    storage, first, shape, strides, _, _, dtype = arguments[:7]
    if not isinstance(storage, _Storage) or not isinstance(dtype, Global):
        raise TypeError
    if dtype.name[1] not in _DTYPES:
        return Unfit(f"is of the type {shown(dtype.name[1])}")
    return tensor_in(_DTYPES[dtype.name[1]], shape, strides, first, storage.place)


def _parameter(arguments: tuple[Any, ...]) -> object:
    """`_rebuild_parameter(tensor, requires_grad, hooks)`: the tensor."""
    return arguments[0]


def _size(arguments: tuple[Any, ...]) -> object:
    """`torch.Size(sides)`: a tuple."""
    return arguments[0] if isinstance(arguments[0], tuple) else ()


def _ordered(arguments: tuple[Any, ...]) -> dict[str, object]:
    """`OrderedDict()`, or with a list of pairs."""
    pairs = arguments[0] if arguments else []
    return {pair[0]: pair[1] for pair in pairs if type(pair[0]) is str} if isinstance(pairs, list) else {}


def _other(_: tuple[Any, ...]) -> Other:
    return Other()


def _unfit(reason: str) -> Callable[[tuple[Any, ...]], Unfit]:
    return lambda arguments: Unfit(reason)


KNOWN: Known = {
    ("collections", "OrderedDict"): _ordered,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    **{("torch._utils", name): _unfit(reason) for name, reason in _UNFIT.items()},
    **{(module, name): _other for module in ("torch", "torch.cuda") for name in (*_STORAGES, *_QUANTIZED)},
    ("torch.storage", "UntypedStorage"): _other,
    **{("torch", name): _other for name in (*_DTYPES, "device", "per_tensor_affine", "per_channel_affine")},
    ("torch", "Size"): _size,
    ("torch.serialization", "_get_layout"): _other,
    **{("collections", name): _other for name in ("defaultdict", "Counter")},
    **{("builtins", name): _other for name in ("set", "int", "float", "list", "dict")},
    ("argparse", "Namespace"): _other,
    **{(module, "scalar"): _other for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    ("numpy", "dtype"): _other,
    ("_codecs", "encode"): _other,
}
"""What each would make here. None of them is the real one: they keep facts, or nothing at all."""
