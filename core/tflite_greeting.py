"""What LiteRT says once a process when XNNPACK first computes, kept out of a terminal. Imports LiteRT inside functions.

It has no switch for that line (2.3.0: none in Python, and no environment variable is asked), which would stand in the
middle of a line of progress.
"""

from __future__ import annotations

import os
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock

GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
SMALLEST = b64decode(
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAsAAAA6AAAAAMAAAADAAAAGAAAAAwAAAAEAAAA+P////z///8EAAQABAAA"
    "AAEAAAAQAAAADAAUABAADAAIAAQADAAAABAAAAA8AAAAQAAAAEQAAAABAAAAEAAAAAAACgAMAAAACAAEAAoAAAAIAAAADAAAAAEA"
    "AAABAAAAAQAAAAAAAAABAAAAAQAAAAEAAAAAAAAAAgAAADQAAAAEAAAA4P///wwAAAACAAAADAAAAAEAAAB5AAAAAQAAAAEAAAAM"
    "ABAADAAAAAgABAAMAAAADAAAAAEAAAAMAAAAAQAAAHgAAAABAAAAAQAAAAEAAAAQAAAADAAMAAsAAAAAAAQADAAAABMAAAAAAAAT"
)
"""A .tflite file of one ReLU of one float32: what XNNPACK takes, and nothing more."""
_STDERR = 2
_ONE_AT_A_TIME = Lock()


@cache
def greet_once() -> None:
    """Have LiteRT greet over a file of ours, the greeting dropped, so that it opens the next ones without a word.

    No other file is opened while standard error is held, so that the last words of one that ends the process are seen.
    A process without standard error, or that can make no file, is left as it is.
    """
    from ai_edge_litert.interpreter import Interpreter

    with suppress(OSError), without(GREETING):
        Interpreter(model_content=SMALLEST, num_threads=1).allocate_tensors()


@contextmanager
def without(words: bytes) -> Iterator[None]:
    """Drops these words from what this process writes to standard error, and writes all else once it is left.

    Raises `OSError` before anything is done where there is no standard error, or no file to hold it.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as held:
        before = os.dup(_STDERR)
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(before, _STDERR)
            os.close(before)
            held.seek(0)
            os.write(_STDERR, held.read().replace(words, b""))
