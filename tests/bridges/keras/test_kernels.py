"""Which layers are worked on, of models that are only lists of layers."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from bridges.keras.kernels import Which, chosen


@dataclass
class Conv2D:
    name: str


@dataclass
class Dense:
    name: str


@dataclass
class Flatten:
    name: str


def model(*layers: Any) -> Any:
    return SimpleNamespace(layers=list(layers))


DEEP = model(Conv2D("first"), Conv2D("second"), Flatten("flat"), Dense("third"), Dense("last"))
FLAT = model(Flatten("flat"), Dense("first"), Dense("last"))
ONE = model(Conv2D("only"), Flatten("flat"), Dense("last"))


@pytest.mark.parametrize(
    ("given", "which", "keep_ends", "names"),
    [
        (DEEP, "all", False, ["first", "second", "third", "last"]),
        (DEEP, "all", True, ["second", "third"]),
        (DEEP, "convolutions", True, ["second"]),
        (DEEP, "dense", True, ["third"]),
        (FLAT, "all", True, ["first", "last"]),
        (ONE, "convolutions", True, ["only"]),
        (FLAT, "convolutions", True, []),
    ],
)
def test_the_ends_are_kept_as_long_as_there_is_something_between(
    given: Any, which: Which, keep_ends: bool, names: list[str]
) -> None:
    assert chosen(given, which, keep_ends=keep_ends) == names
