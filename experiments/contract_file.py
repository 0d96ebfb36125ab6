"""The input contract as it lies beside every artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from core.data import Contract, InputContract, TextContract

CONTRACT_FILE, SAMPLES_FILE, TOKENIZER_FILE = "contract.json", "samples.npz", "tokenizer.json"


def contract_fields(contract: Contract) -> dict[str, Any]:
    """The contract as `contract.json` has it."""
    fields = {"shape": contract.shape, **asdict(contract)}
    if isinstance(contract, TextContract):
        return {"task": "text", **fields}
    for part_of_shape in ("channels", "height", "width"):
        del fields[part_of_shape]
    return fields


def contract_of(fields: Mapping[str, Any]) -> Contract:
    """The contract that `contract_fields` wrote, be it in an earlier version."""
    given = {name: value for name, value in fields.items() if name not in ("shape", "task", "right")}
    if fields.get("task") == "text":
        return TextContract(**given)
    return InputContract(*fields["shape"], **given)
