"""Tasks for a process of another environment that need nothing but Python, some of which end badly."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np

from core.errors import BadInput, NothingDone
from core.progress import Metric, Note, Progress, Steps

_FAR_TOO_MANY = 2**48


def count(to: int) -> Steps[dict[str, Any]]:
    """Tells each number; returns their sum and which process counted."""
    for number in range(1, to + 1):
        yield Progress(done=number, total=to, unit="numbers")
    return {"sum": to * (to + 1) // 2, "process": os.getpid()}


def chatter() -> Steps[dict[str, Any]]:
    """Prints where messages go, as Python and as C++ do."""
    yield Note(text="before")
    print('{"result": {"forged": true}}')
    sys.stdout.flush()
    os.write(1, b"not even JSON\n")
    return {"forged": False}


def refuse() -> Steps[dict[str, Any]]:
    """Raises what a person can mend."""
    yield Note(text="looking")
    raise BadInput("An odd value", expected="an even one", action="Choose another")


def change_nothing() -> Steps[dict[str, Any]]:
    """Raises that there was nothing to do."""
    yield Note(text="looking")
    raise NothingDone("Nothing to prune")


def stumble() -> Steps[dict[str, Any]]:
    """Raises what a library would."""
    yield Note(text="looking")
    raise ValueError("shapes (3,) and (4,) not aligned\nand a second line")


def take_too_much() -> Steps[dict[str, Any]]:
    """Asks for more memory than there is."""
    yield Note(text="looking")
    return {"size": int(np.ones(_FAR_TOO_MANY, np.uint8).size)}


def abort_in_epoch() -> Steps[dict[str, Any]]:
    """Dies as a failed assertion in C++ does."""
    yield Metric(name="loss", value=1.0, step=1)
    os.abort()


def abort_without_memory() -> Steps[dict[str, Any]]:
    """Dies as C++ does where memory runs out and nobody catches it."""
    yield Metric(name="loss", value=1.0, step=1)
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n")
    os.abort()


class ResourceExhaustedError(Exception):
    """As TensorFlow's is called."""


def exhaust() -> Steps[dict[str, Any]]:
    """Raises what TensorFlow does where memory runs out in a compiled function."""
    yield Note(text="looking")
    raise ResourceExhaustedError(
        "Graph execution error:\n\nOOM when allocating tensor with shape[9,9] on /device:CPU:0 by allocator cpu"
    )


def exhaust_on_processor() -> Steps[dict[str, Any]]:
    """Raises what TensorFlow does where oneDNN, which computes on processors, gets no memory."""
    yield Note(text="looking")
    raise RuntimeError(
        "Graph execution error:\n\nOperation received an exception:Status: 1, message: could not create a primitive"
    )


def be_killed_in_epoch() -> Steps[dict[str, Any]]:
    """Dies as one does that the operating system picks when memory runs out."""
    yield Metric(name="loss", value=1.0, step=1)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return {}


def leave() -> Steps[dict[str, Any]]:
    """Ends the whole process from within."""
    yield Note(text="looking")
    sys.exit(3)


def go_on_forever() -> Steps[dict[str, Any]]:
    """Never ends by itself."""
    yield Metric(name="loss", value=float(os.getpid()), step=0)
    while True:
        time.sleep(0.01)
        yield Metric(name="loss", value=float(os.getpid()), step=1)
