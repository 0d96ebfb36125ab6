"""A file that should be a network: told apart by what is in it, never by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import Refused
from core.progress import Steps
from intake.items import WEIGHTS_FILE, Weights
from intake.limits import LIMITS
from intake.parsing import checkpoint, safetensors_file
from intake.parsing.kinds import FOR_TENSORFLOW, is_for_tensorflow, kind_of, refusal_of_zip
from intake.parsing.state_dict import StateDict, chosen, type_notes, without_prefix
from intake.parsing.tensors import Tensor, check_names, write
from intake.parsing.untrusted import Untrusted, opened
from intake.parsing.zip_index import entries


def parse(file: Path, out: Path, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """The facts of a `Weights`, a `Graph` or a `TfliteFile` as plain data, its file written anew into the folder `out`.

    Of a file of TensorFlow, which only its own environment can read, `{"kind": FOR_TENSORFLOW}` comes back.
    `options["name"]` is what the file was called when it was uploaded, where that of `file` is not. Raises `Refused`.
    """
    name = str(options.get("name") or file.name)
    with opened(file) as source:
        if source.size > LIMITS.model_bytes:
            raise Refused(f"The file has {source.size:,} bytes", expected=f"at most {LIMITS.model_bytes:,}")
        kind = kind_of(source, name)
        if kind == "keras" or (kind == "zip" and is_for_tensorflow(entries(source))):
            return {"kind": FOR_TENSORFLOW}
        if kind in ("zip", "safetensors"):
            found, warnings = _weights(source, kind)
            return (yield from _written(source, found, out, name, warnings))
    if kind == "tflite":
        from intake.parsing import tflite

        return (yield from tflite.parse(file, out, options))
    from intake.parsing import graph

    return (yield from graph.parse(file, out, options))


def _weights(source: Untrusted, kind: str) -> tuple[StateDict, tuple[str, ...]]:
    if kind == "safetensors":
        tensors, metadata = safetensors_file.read(source)
        return without_prefix(StateDict(tensors, metadata=metadata)), ()
    listed = entries(source)
    if refusal := refusal_of_zip(tuple(listed)):
        raise refusal
    root, warnings = checkpoint.read(source, listed)
    return chosen(root), warnings


def _written(
    source: Untrusted, found: StateDict, out: Path, name: str, warnings: tuple[str, ...]
) -> Steps[dict[str, Any]]:
    if not found.tensors:
        raise Refused("The file holds no tensors", expected="the weights of a network")
    check_names(tuple(found.tensors))
    doubles = sum(isinstance(tensor, Tensor) and tensor.dtype == "F64" for tensor in found.tensors.values())
    facts = yield from write(source, found.tensors, out / WEIGHTS_FILE)
    item = Weights(
        name=name,
        size_bytes=source.size,
        notes=(*found.notes, *type_notes(facts, doubles)),
        warnings=warnings,
        tensors=facts,
        metadata=dict(found.metadata),
    )
    return item.model_dump(mode="json")
