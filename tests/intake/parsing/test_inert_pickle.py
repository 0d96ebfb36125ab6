"""Plain data as `pickle` itself reads it, and nothing else."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from core.errors import Refused
from intake.parsing.inert_pickle import MOST_INSTRUCTIONS, Known, described, names_in
from tests.hostile.pickles import call, name, number, pickled, text

KNOWN: Known = {("package", "thing"): lambda arguments: ("thing", arguments)}


def read(content: bytes) -> Any:
    return described(content, KNOWN, lambda identity: ("stored", identity))


def random_data(random: np.random.Generator, depth: int = 0) -> Any:
    """Nested dicts, lists and tuples of texts, numbers, bytes and None."""
    kind = int(random.integers(9 if depth < 4 else 6))
    inner = [random_data(random, depth + 1) for _ in range(int(random.integers(5)))] if kind > 5 else []
    plain = [
        None,
        bool(random.integers(2)),
        int(random.integers(-(2**62), 2**62)),
        float(random.random()),
        "é" * kind,
        b"\0x",
    ]
    return [*plain, inner, tuple(inner), {f"k{place}": value for place, value in enumerate(inner)}][kind]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_is_read_as_pickle_reads_it(protocol: int) -> None:
    random = np.random.default_rng(protocol)
    for _ in range(40):
        data = random_data(random)
        content = pickle.dumps(data if protocol > 2 else without_bytes(data), protocol)
        assert read(content) == pickle.loads(content)


def without_bytes(data: Any) -> Any:
    """Protocol 2 has no bytes: it calls `_codecs.encode` for them."""
    if isinstance(data, bytes):
        return data.decode()
    if isinstance(data, dict):
        return {key: without_bytes(value) for key, value in data.items()}
    return type(data)(map(without_bytes, data)) if isinstance(data, list | tuple) else data


def test_a_list_that_holds_itself_ends() -> None:
    data: list[Any] = []
    data.append(data)
    assert read(pickle.dumps(data, 2))[0][0][0] is not None


def test_only_the_callers_stand_ins_are_made() -> None:
    assert read(pickled(call("package", "thing", number(3)))) == ("thing", (3,))
    assert read(pickled(text("7") + b"Q")) == ("stored", "7")
    with pytest.raises(Refused, match=r"package\.other"):
        read(pickled(call("package", "other", number(3))))


def test_a_dotted_name_is_another_name() -> None:
    with pytest.raises(Refused, match=r"package\.thing"):
        described(pickled(name("package", "thing")), {("package.thing", ""): KNOWN["package", "thing"]}, id)


def test_too_many_instructions_are_refused() -> None:
    with pytest.raises(Refused, match="instructions"):
        read(b"\x80\x02" + b"N" * (MOST_INSTRUCTIONS + 2) + b".")


def test_names_are_found_in_every_protocol() -> None:
    for protocol in range(6):
        assert ("fractions", "Fraction") in names_in(pickle.dumps(__import__("fractions").Fraction(1, 3), protocol))
