"""LiteRT's line about XNNPACK stays out of the terminal, and all else that is written there gets there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.tflite_greeting import GREETING, SMALLEST, without
from core.tflite_session import TfliteSession

FILE = Path(__file__).parents[1] / "runtimes" / "data" / "pooled.tflite"
ASKED = """
import numpy as np
from core.tflite_session import TfliteSession
with TfliteSession(open({file!r}, "rb").read(), "xnnpack", 1) as session:
    print(session.run(np.zeros((1, 3, 12, 10), np.float32)).shape)
"""
PLAIN = """
from ai_edge_litert.interpreter import Interpreter
Interpreter({file!r}).allocate_tensors()
"""


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    """In a process of its own, which has not been greeted yet."""
    return subprocess.run([sys.executable, "-c", code.format(file=str(FILE))], capture_output=True, check=True)


def test_a_file_is_opened_and_answers_without_a_word() -> None:
    told = run(ASKED)
    assert told.stdout.startswith(b"(1, ")
    assert told.stderr == b""


def test_litert_itself_still_greets() -> None:
    assert run(PLAIN).stderr == GREETING, "Where it no longer does, or says it otherwise, core.tflite_greeting can go"


def test_a_process_without_standard_error_opens_files_too() -> None:
    assert run("import os; os.close(2)" + ASKED).stdout.startswith(b"(1, ")


def test_other_words_are_written_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    with without(b"INFO: hello\n"):
        os.write(2, b"ERROR: no memory\nINFO: hello\nWARNING: slow\n")
        assert capfd.readouterr().err == ""
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "ERROR: no memory\nWARNING: slow\nafter\n"


def test_what_was_said_before_an_error_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with without(b"INFO: hello\n"):
            os.write(2, b"ERROR: no memory\n")
            raise RuntimeError("as raised")

    with pytest.raises(RuntimeError, match="as raised"):
        fail()
    assert capfd.readouterr().err == "ERROR: no memory\n"


def test_the_file_that_is_greeted_over_is_one_relu() -> None:
    with TfliteSession(SMALLEST, "xnnpack", 1) as session:
        assert [session.run(np.float32([x])).item() for x in (-2, 3)] == [0, 3]
