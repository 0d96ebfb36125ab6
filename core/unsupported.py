"""Which operator an engine or an exporter has no answer to, taken from its own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import RunFailed

_WORDS = tuple(
    map(
        re.compile,
        (
            # ONNX Runtime: no kernel; not with these types; no such operator
            r"Could not find an implementation for (?P<op>\w+)\(\d+\) node with name '(?P<node>[^']*)'",
            r"Type '(?:tensor\()?(?P<type>\w+)\)?' of input parameter .* of operator \((?P<op>\w+)\) "
            r"in node \((?P<node>[^)]*)\)",
            r"error: (?P<op>[\w.]*:?\w+)\(-?\d+\) is not a registered function/op",
            r'In Node, \("(?P<node>[^"]*)", (?P<op>\w+), "[^"]*", -?\d+\).* Error No (?:Op registered|opset import)',
            # OpenVINO: the reader of ONNX and TFLite files; the compilers for CPU and GPU
            r"No conversion rule found for operations: (?P<op>\S[^\n]*)",
            r"Conversion is failed for: (?P<op>[\w.-]+)",
            r"Unsupported operation of type: (?P<op>\w+) name: (?P<node>\S+)",
            r"\[GPU\] (?P<op>\w+) op is not supported",
            # LiteRT
            r"unresolved custom op: (?P<op>\w+)",
            r"op for builtin opcode '(?P<op>\w+)'",
            # PyTorch's exporter to ONNX
            r"No ONNX function found for <OpOverload\(op='(?P<op>[^']+)'",
        ),
    )
)
_VERSION = re.compile(r"-\d+\b")


def operator_in(message: str) -> str | None:
    """The operator that an error message names, with its node and type where it tells; None where it names none.

    >>> operator_in("Could not find an implementation for Conv(22) node with name 'stem.0'")
    'Conv (in stem.0)'
    """
    found = next((match for words in _WORDS if (match := words.search(message))), None)
    if found is None:
        return None
    told = found.groupdict()
    operator = _VERSION.sub("", told["op"]).replace(":", ".").strip(" .")
    kind = f" on {told['type']}" if told.get("type") else ""
    return operator + kind + (f" (in {told['node']})" if told.get("node") else "")


@contextmanager
def naming_the_operator(who: str, errors: tuple[type[Exception], ...], *, action: str) -> Iterator[None]:
    """Turns one of these errors of `who` into `RunFailed` where it names an operator; any other passes as it is."""
    try:
        yield
    except errors as error:
        operator = operator_in(str(error))
        if operator is None:
            raise
        raise RunFailed(f"{who} does not support the operator {operator}", action=action) from error
