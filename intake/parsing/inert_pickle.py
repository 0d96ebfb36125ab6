"""What a pickle describes, without unpickling it.

A pickle is a program for a small stack machine, and `pickle.Unpickler` carries it out with real classes and functions.
This machine only ever makes texts, numbers, tuples, lists, dicts and the stand-ins of its caller, and knows no other
instruction; a name of a class or function is looked up in the caller's table and nowhere else.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, TypeAlias

from core.errors import Refused
from intake.parsing.snippets import SAVE_WEIGHTS
from intake.parsing.untrusted import shown

MOST_BYTES, MOST_INSTRUCTIONS = 32 * 2**20, 1_000_000
"""Of a pickle that is read at all: 20,000 tensors, or 5,000 with the state of an optimizer beside them."""
MOST_MARKS, MOST_GATHERED = 1_000, 2_000_000
"""Gatherings that are open at once, and values that all calls and dicts together are given."""
MOST_SEARCHED = 200_000
"""Instructions among which names are looked for once it is clear that the pickle is not taken."""
HARMFUL = sys.stdlib_module_names - {
    "argparse", "array", "collections", "copyreg", "dataclasses", "datetime", "decimal", "enum", "functools", "pathlib",
    "typing",
}  # fmt: skip
"""Packages that no class of a network is in: all of the standard library but those that only hold values."""

Name: TypeAlias = tuple[str, str]
"""Module and name of a class or function."""
Known: TypeAlias = Mapping[Name, Callable[[tuple[Any, ...]], object]]
"""What stands for a call of each; called with the arguments."""


@dataclass(frozen=True)
class Global:
    """A class or function, by its name only."""

    name: Name


def described(content: bytes, known: Known, stored: Callable[[object], object]) -> Any:
    """What the pickle holds; `stored` gives what stands for a persistent id.

    Raises `Refused` for one that asks for a class or function that is not known, that is damaged, has too many
    instructions, or uses some that plain data does not need.
    """
    machine = _Machine(known, stored)
    try:
        return machine.result_of(content)
    except (Refused, ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        strangers = dict.fromkeys((*machine.unknown, *(name for name in names_in(content) if name not in known)))
        if strangers:
            raise strange(tuple(strangers)) from None
        if isinstance(error, Refused):
            raise
        raise Refused("The pickle in it is damaged", action="Write the file again where it was made") from None


def strange(names: tuple[Name, ...]) -> Refused:
    """Why a pickle that asks for these is not taken: what could do harm is named first, else it is a class."""
    harmful = [name for name in names if name[0].partition(".")[0] in HARMFUL or "." in name[1]]
    if harmful:
        return Refused(
            f"The file asks for {_listed(harmful)}, which weights never need and which would run code on the machine "
            "that opens it",
            expected="a state_dict of tensors alone",
            action="Do not open it elsewhere either, unless you know who made it",
        )
    return Refused(
        f"The file holds more than weights: it asks for {_listed(names)}, whose code would run where it is opened",
        expected="a state_dict of tensors alone",
        action="Save the weights alone in the program that made the file",
        snippet=SAVE_WEIGHTS,
    )


def _listed(names: Sequence[Name]) -> str:
    first = shown(".".join(names[0]))
    return f"{first} and {len(names) - 1:,} more" if len(names) > 1 else first


def names_in(content: bytes) -> tuple[Name, ...]:
    """Classes and functions that a pickle of any protocol asks for as far as it can be read, each once.

    Those of `STACK_GLOBAL` are taken from the two texts before it, which can be fooled: for sentences only.
    """
    found: dict[Name, None] = {}
    texts: list[str] = []
    try:
        for count, (code, argument, _) in enumerate(pickletools.genops(BytesIO(content))):
            if code.name in ("GLOBAL", "INST"):
                found[_name(str(argument))] = None
            elif code.name == "STACK_GLOBAL" and len(texts) > 1:
                found[texts[-2], texts[-1]] = None
            elif "UNICODE" in code.name:
                texts.append(str(argument))
            if count > MOST_SEARCHED:
                break
    except (ValueError, IndexError, OverflowError):
        pass
    return tuple(found)


def _name(argument: str) -> Name:
    """Of what `pickletools` gives for GLOBAL and INST, in the names of Python 3."""
    module, _, name = argument.partition(" ")
    return "builtins" if module == "__builtin__" else module, name


@dataclass
class _Machine:
    known: Known
    stored: Callable[[object], object]
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    """Stacks that wait for the current one to be gathered, one for each open mark."""
    memo: dict[int, Any] = field(default_factory=dict)
    handled: int = 0
    """Values that calls and dicts were given so far: a list can be given to any number of them."""
    unknown: list[Name] = field(default_factory=list)
    """The class or function at which it stopped, if it did."""

    def result_of(self, content: bytes) -> Any:
        """What all instructions together leave."""
        for count, (code, argument, _) in enumerate(pickletools.genops(file := BytesIO(content))):
            act = _ACTIONS.get(code.name)
            if act is None:
                raise Refused(
                    f"The pickle in it uses the instruction {code.name}, which weights never need",
                    action="Save the weights alone where the network was trained",
                )
            if count > MOST_INSTRUCTIONS:
                raise Refused(f"The pickle in it has more than {MOST_INSTRUCTIONS:,} instructions")
            act(self, argument)
        if file.tell() != len(content):
            raise Refused(f"The pickle in it ends {len(content) - file.tell():,} bytes before its file does")
        if len(self.stack) != 1 or self.below:
            raise ValueError("more than one value is left")
        return self.stack[0]

    def push(self, value: object) -> None:
        self.stack.append(value)

    def frame(self, length: int) -> None:
        """How much a reader should fetch at once; everything is here already."""
        if length > MOST_BYTES:
            raise OverflowError

    def mark(self, _: object) -> None:
        if len(self.below) >= MOST_MARKS:
            raise Refused(f"The pickle in it is nested more than {MOST_MARKS:,} deep")
        self.below.append(self.stack)
        self.stack = []

    def gathered(self) -> list[Any]:
        """All since the last mark."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def pair(self, count: int) -> None:
        values = tuple(self.stack[-count:])
        if len(values) < count:
            raise IndexError
        del self.stack[-count:]
        self.push(values)

    def named(self, argument: str) -> None:
        self.look_up(_name(argument))

    def named_on_stack(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise TypeError
        self.look_up((module, name))

    def look_up(self, name: Name) -> None:
        if name not in self.known:
            self.unknown.append(name)
            raise KeyError(name)
        self.push(Global(name))

    def call(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or not isinstance(function, Global):
            raise TypeError
        self._take_in(1 + sum(len(each) for each in arguments if isinstance(each, list | tuple | dict)))
        self.push(self.known[function.name](arguments))

    def put_in(self, _: object) -> None:
        values = [self.stack.pop(), self.stack.pop()]
        self._fill(values[::-1])

    def put_all_in(self, _: object) -> None:
        self._fill(self.gathered())

    def _fill(self, values: list[Any]) -> None:
        """Keys and values in turn. Only texts are kept as keys: nothing else names a weight."""
        self._take_in(len(values))
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(
                (key, value) for key, value in zip(values[::2], values[1::2], strict=True) if type(key) is str
            )

    def _take_in(self, count: int) -> None:
        self.handled += count
        if self.handled > MOST_GATHERED:
            raise Refused(f"The pickle in it fills more than {MOST_GATHERED:,} places")

    def append(self, _: object) -> None:
        self._extend([self.stack.pop()])

    def append_all(self, _: object) -> None:
        self._extend(self.gathered())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)

    def ignore_state(self, _: object) -> None:
        """What BUILD would give to an object: here nothing has attributes."""
        self.stack.pop()
        self.stack[-1]

    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def remember_next(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def recall(self, place: int) -> None:
        self.push(self.memo[place])

    def persistent(self, _: object) -> None:
        self.push(self.stored(self.stack.pop()))


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": _Machine.frame,
    "STOP": lambda machine, argument: None,
    "MARK": _Machine.mark,
    "NONE": lambda machine, argument: machine.push(None),
    "NEWTRUE": lambda machine, argument: machine.push(True),
    "NEWFALSE": lambda machine, argument: machine.push(False),
    "EMPTY_TUPLE": lambda machine, argument: machine.push(()),
    "EMPTY_LIST": lambda machine, argument: machine.push([]),
    "EMPTY_DICT": lambda machine, argument: machine.push({}),
    "EMPTY_SET": lambda machine, argument: machine.push([]),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.gathered())),
    "TUPLE1": lambda machine, argument: machine.pair(1),
    "TUPLE2": lambda machine, argument: machine.pair(2),
    "TUPLE3": lambda machine, argument: machine.pair(3),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(
        ("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "SHORT_BINSTRING", "BINSTRING"),
        _Machine.push,
    ),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.remember),
    "MEMOIZE": _Machine.remember_next,
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.recall),
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_on_stack,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.call),
    "BUILD": _Machine.ignore_state,
    "APPEND": _Machine.append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _Machine.append_all),
    "SETITEM": _Machine.put_in,
    "SETITEMS": _Machine.put_all_in,
    "BINPERSID": _Machine.persistent,
}
"""By the names of `pickletools`. There is no INST, OBJ, NEWOBJ_EX, EXT, PERSID, LONG4, BYTEARRAY8, DUP or POP."""
