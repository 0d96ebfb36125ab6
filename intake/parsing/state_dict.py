"""Which of the things in a checkpoint are the weights, under the names that the network gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from core.errors import Refused
from intake.items import TensorFacts
from intake.parsing.snippets import SAVE_WEIGHTS
from intake.parsing.tensors import Tensor, Unfit
from intake.parsing.untrusted import shown

USUAL = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module"),
    *("ema", "state_dict_ema", "model_ema"),
)
"""Keys under which training programs keep them, the likeliest first."""
PREFIXES = {"module.": "DataParallel", "_orig_mod.": "torch.compile"}
"""What is put before every name, and by what."""
LONGEST_TEXT, MOST_TEXTS, DEEPEST = 200, 50, 3


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, with what was done to get at them."""

    tensors: dict[str, Tensor | Unfit]
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Short texts and numbers that lay beside the tensors, as the name of an architecture does."""


def chosen(root: Any) -> StateDict:
    """The state_dict in what a checkpoint holds. Raises `Refused` where there is none, or more than one."""
    if isinstance(root, Tensor | Unfit):
        raise _none("holds a single tensor without a name")
    notes: list[str] = []
    beside: dict[str, Any] = {}
    for _ in range(DEEPEST):
        key = _way_down(root) if isinstance(root, dict) else None
        if key is None:
            break
        notes.append(f"The weights are those under {shown(key)} of the checkpoint.")
        beside |= {name: value for name, value in root.items() if name != key}
        root = root[key]
    tensors = _tensors(root)
    if not tensors:
        raise _none("holds no tensors that have a name")
    beside |= {name: value for name, value in root.items() if name not in tensors}
    return without_prefix(StateDict(tensors, (*notes, *_left_out(beside)), _texts(beside)))


def _way_down(root: Mapping[str, Any]) -> str | None:
    """Under which key the weights lie; None where they lie right here, or nowhere."""
    values = {id(value): value for value in root.values()}  # one dict may stand under any number of keys
    filled = {place for place, value in values.items() if _tensors(value)}
    holding = [key for key, value in root.items() if id(value) in filled]
    usual = sorted((key for key in holding if key in USUAL), key=USUAL.index)
    if usual or _tensors(root):
        return usual[0] if usual else None
    if len(holding) > 1:
        raise _none(f"holds {len(holding)} dicts of tensors: {', '.join(map(shown, holding[:5]))}")
    return next(iter(holding), None) or next((key for key in USUAL if isinstance(root.get(key), dict)), None)


def _tensors(value: Any) -> dict[str, Tensor | Unfit]:
    entries = value if isinstance(value, dict) else {}
    return {name: each for name, each in entries.items() if isinstance(each, Tensor | Unfit)}


def without_prefix(found: StateDict) -> StateDict:
    """With what wrappers put before every name taken off, and said."""
    tensors, notes = found.tensors, list(found.notes)
    for _ in range(DEEPEST):
        prefix = next((each for each in PREFIXES if all(name.startswith(each) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        notes.append(f"The prefix {prefix} was taken off every name: {PREFIXES[prefix]} puts it there.")
    return StateDict(tensors, tuple(notes), found.metadata)


def _left_out(beside: Mapping[str, Any]) -> tuple[str, ...]:
    names = ", ".join(shown(name) for name in islice(beside, 8))
    more = f" and {len(beside) - 8} more" if len(beside) > 8 else ""
    return (f"Left out, as no part of the network: {names}{more}.",) if beside else ()


def _texts(beside: Mapping[str, Any]) -> dict[str, str]:
    texts = ((name, str(value)) for name, value in beside.items() if type(value) in (str, int, float))
    fit = (
        (name, text)
        for name, text in texts
        if len(name) + len(text) < LONGEST_TEXT and name.isprintable() and text.isprintable()
    )
    return dict(islice(fit, MOST_TEXTS))


def type_notes(tensors: Mapping[str, TensorFacts], doubles: int) -> tuple[str, ...]:
    """What became of the types of the weights, of which `doubles` were FP64 in the file."""
    notes = [f"{doubles} of {len(tensors)} tensors were in FP64: they were rounded to FP32."] if doubles else []
    for dtype, title in (("F16", "FP16"), ("BF16", "BF16")):
        if count := sum(tensor.dtype == dtype for tensor in tensors.values()):
            notes.append(f"{count} of {len(tensors)} tensors are weights in {title}: computed as FP32.")
    return tuple(notes)


def _none(what: str) -> Refused:
    return Refused(
        f"The file {what}",
        expected="one state_dict, the tensors of a network by their names",
        action="Save that alone",
        snippet=SAVE_WEIGHTS,
    )
