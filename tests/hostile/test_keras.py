"""Every Keras model of the corpus in the confinement that it is read in, with TensorFlow's own Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridges.environments import TENSORFLOW
from core.progress import result_of
from intake.limits import LIMITS
from intake.sandbox import SCRATCH_FOLDERS, why_unavailable
from intake.sandbox.running import run
from intake.sandbox.task import ROOT, SOURCES, Task, interpreter_of
from tests.hostile.corpus import complaint
from tests.hostile.keras_models import CASES

pytestmark = pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))


def test_every_file_is_taken_or_gets_its_sentence_and_none_runs(tmp_path: Path) -> None:
    if reason := why_unavailable():
        pytest.skip(reason)
    files, out, scratch = tmp_path / "files", tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    built = {}
    for case in CASES:
        (files / case.id).mkdir(parents=True)
        built[case.id] = ("keras", str(case.build(files / case.id)))
    for name in SCRATCH_FOLDERS:
        (scratch / name).mkdir(parents=True)
    task = Task(
        parser="tests.hostile.confined:parse",
        file=files,
        out=out,
        options={"files": built, "given": {"scratch": str(scratch)}},
        seconds=240,
        memory_bytes=LIMITS.memory_bytes,
        out_bytes=2**30,
        sources=(*SOURCES, ROOT / "tests"),
        scratch=scratch,
        python=interpreter_of(TENSORFLOW.python),
    )
    found = result_of(run(task))
    assert found["marked"] == []
    assert [problem for case in CASES if (problem := complaint(case, found["said"][case.id][0]))] == []
