"""What lies beside an artifact says exactly what its input has to be, also where an earlier version wrote it."""

from __future__ import annotations

import json

import pytest

from core.data import Contract, InputContract, TextContract
from experiments.contract_file import contract_fields, contract_of

IMAGES = InputContract(3, 20, 24, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), ("a", "b"), "pad", 0.9, "lanczos")
TEXTS = TextContract(12, 1, ("a", "b"))


@pytest.mark.parametrize("contract", [IMAGES, TEXTS])
def test_it_is_read_as_it_was_written(contract: Contract) -> None:
    read = contract_of(json.loads(json.dumps(contract_fields(contract))))
    assert type(read) is type(contract)
    assert json.dumps(contract_fields(read)) == json.dumps(contract_fields(contract))


def test_texts_are_told_apart() -> None:
    fields = contract_fields(TEXTS)
    assert (fields["task"], fields["shape"], fields["length"], fields["padding"]) == ("text", (2, 12), 12, 1)
    assert "task" not in contract_fields(IMAGES)


def test_an_earlier_version_said_less() -> None:
    fields = {"shape": [1, 28, 28], "mean": [72.9], "std": [90.0], "labels": ["a"]}
    assert contract_of(fields) == InputContract(1, 28, 28, [72.9], [90.0], ["a"])  # type: ignore[arg-type]
