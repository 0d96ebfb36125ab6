"""Whether what the sandbox left behind is what its parser says: looked at once, before anything here relies on it.

A parser that a hostile file took over can write any bytes. None of them are believed: files, sizes and shapes have to
be those that the facts speak of.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from core.errors import Refused
from intake.index import INDEX_FILE, Line
from intake.items import (
    GRAPH_FILE,
    KERAS_FILE,
    MOST_THUMBNAILS,
    TFLITE_FILE,
    THUMBNAIL,
    THUMBNAILS_FILE,
    WEIGHTS_FILE,
    Graph,
    ImageSet,
    Item,
    TfliteFile,
    Weights,
)
from intake.limits import MIB
from intake.parsing import safetensors_file, tflite
from intake.parsing.graph_scan import LARGEST_BYTES
from intake.parsing.tensors import Tensor
from intake.parsing.untrusted import opened
from intake.sandbox.verdicts import nonsense

LARGEST_INDEX_BYTES, LARGEST_THUMBNAILS_BYTES = 64 * MIB, 4 * MIB
_LINES: TypeAdapter[list[Line]] = TypeAdapter(list[Line])


def check_written(folder: Path, item: Item) -> None:
    """Nothing where the folder holds just the files that such an item has. Raises `Refused` for anything else."""
    wanted = {
        "weights": {WEIGHTS_FILE},
        "graph": {GRAPH_FILE},
        "keras": {KERAS_FILE, TFLITE_FILE},
        "tflite": {TFLITE_FILE},
        "images": {INDEX_FILE, THUMBNAILS_FILE},
    }[item.kind]
    if {path.name for path in folder.iterdir()} != wanted:
        raise nonsense()
    if isinstance(item, ImageSet):
        _check_index(folder / INDEX_FILE, item)
        _check_thumbnails(folder / THUMBNAILS_FILE)
    elif isinstance(item, Weights):
        _check_weights(folder / WEIGHTS_FILE, item)
    elif isinstance(item, Graph):
        _check_graph(folder / GRAPH_FILE, item)
    elif isinstance(item, TfliteFile):
        _check_tflite(folder / TFLITE_FILE, item)


def _check_index(path: Path, item: ImageSet) -> None:
    """A line for every image, in its class and its split."""
    if path.stat().st_size > LARGEST_INDEX_BYTES:
        raise nonsense()
    try:
        lines = _LINES.validate_json(path.read_bytes(), strict=True)
    except (ValidationError, RecursionError):
        raise nonsense() from None
    numbers = Counter(number for _, number, _ in lines)
    expected = Counter({number: count for number, count in enumerate(item.per_class) if count} or {-1: item.images})
    splits = Counter(split for _, _, split in lines)
    if numbers != expected or splits != Counter(item.counts):
        raise nonsense()


def _check_thumbnails(path: Path) -> None:
    """Small pictures, so few of them that a page can draw them all."""
    if path.stat().st_size > LARGEST_THUMBNAILS_BYTES:
        raise nonsense()
    try:
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != ["labels.npy", "pixels.npy"]:
                raise nonsense()
            (count, *sides), kind = _header(archive, "pixels.npy")
            labels = _header(archive, "labels.npy")
        if not 1 <= count <= MOST_THUMBNAILS or sides != [THUMBNAIL, THUMBNAIL, 3] or kind != np.dtype(np.uint8):
            raise nonsense()
        if labels[0] != (count,) or labels[1] != np.dtype(np.int64):
            raise nonsense()
        with np.load(path, allow_pickle=False) as arrays:
            for name in ("pixels", "labels"):
                arrays[name]
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        raise nonsense() from None


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of an array, of which nothing else is read. Raises `ValueError` for what is none."""
    with archive.open(name) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    return shape, kind


def _check_weights(path: Path, item: Weights) -> None:
    """The very tensors of the facts."""
    with opened(path) as source:
        tensors, _ = safetensors_file.read(source)
    found = {name: (each.shape, each.dtype) for name, each in tensors.items() if isinstance(each, Tensor)}
    if found != {name: (each.shape, each.dtype) for name, each in item.tensors.items()}:
        raise nonsense()


def _check_graph(path: Path, item: Graph) -> None:
    """A graph with as many operators as the facts speak of."""
    if path.stat().st_size > LARGEST_BYTES or sum(item.operators.values()) != item.nodes:
        raise nonsense()


def _check_tflite(path: Path, item: TfliteFile) -> None:
    """A network of the facts' operators, input and classes, whose parts belong together: looked through once more."""
    if path.stat().st_size > min(tflite.LARGEST_BYTES, 2 * item.size_bytes + MIB):
        raise nonsense()
    try:
        facts = tflite.described(path.read_bytes())
    except Refused:
        raise nonsense() from None
    if any(getattr(item, name) != found for name, found in facts.items()):
        raise nonsense()
