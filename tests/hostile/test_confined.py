"""The whole corpus in the confinement that every uploaded file is read in."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.progress import result_of
from intake.limits import LIMITS
from intake.sandbox import why_unavailable
from intake.sandbox.running import run
from intake.sandbox.task import ROOT, SOURCES, Task
from tests.hostile.corpus import CORPUS, HONEST, HOSTILE, complaint

MOST_SECONDS = 2.0
"""Of the processor, for one file."""


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(HOSTILE) >= 120
    assert len(HONEST) >= 40
    assert len({case.id for case in CORPUS}) == len(CORPUS)


def test_every_file_is_taken_or_gets_its_sentence_and_none_runs(tmp_path: Path) -> None:
    if reason := why_unavailable():
        pytest.skip(reason)
    files, out = tmp_path / "files", tmp_path / "out"
    out.mkdir()
    built = {}
    for case in CORPUS:
        (files / case.id).mkdir(parents=True)
        built[case.id] = (case.wanted, str(case.build(files / case.id)))
    task = Task(
        parser="tests.hostile.confined:parse",
        file=files,
        out=out,
        options={"files": built},
        seconds=120,
        memory_bytes=LIMITS.memory_bytes,
        out_bytes=2**30,
        sources=(*SOURCES, ROOT / "tests"),
    )
    found = result_of(run(task))
    assert found["marked"] == []
    assert [problem for case in CORPUS if (problem := complaint(case, found["said"][case.id][0]))] == []
    assert {case: seconds for case, (_, seconds) in found["said"].items() if seconds > MOST_SECONDS} == {}
