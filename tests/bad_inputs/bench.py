"""Where the rows are tried: a data folder, pages, jobs that run in this process, and files that were read beforehand.

The parsers read every file in the sandbox, but one confined process reads all of them; what they said is given back
when the product asks the sandbox for it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.errors import Refused
from core.progress import Note, Steps, result_of
from experiments import bringing, jobs
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.store import Store
from experiments.worker import execute
from intake import sandbox, shelf, uploads
from intake.items import Item
from intake.limits import LIMITS
from intake.sandbox.running import run
from intake.sandbox.task import ROOT, SOURCES, Task
from tests.hostile.case import Case

SHOWN = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "code", "metric")


@dataclass(frozen=True)
class Files:
    """Files by the id of their case, and what was found in each."""

    paths: Mapping[str, Path]
    out: Path
    found: Mapping[str, Any]
    marked: Sequence[str]
    """Those that ran something."""

    def parse(self, parser: str, file: Path, out: Path, options: Any = None) -> Steps[dict[str, Any]]:
        """`sandbox.parse`, with what was found before in a file of the same content."""
        known = None if parser == "prepare" else self._known(file)
        if known is None:
            return (yield from _in_sandbox(parser, file, out, options))
        if "refused" in known:
            received, expected, action, snippet = known["refused"]
            raise Refused(received, expected=expected, action=action, snippet=snippet)
        for path in self.out.glob(f"{known['number']}-*"):
            shutil.copyfile(path, out / path.name.partition("-")[2])
        return dict(known["facts"])

    def _known(self, file: Path) -> Any:
        content = file.read_bytes()
        return next((self.found[str(path)] for path in self.paths.values() if path.read_bytes() == content), None)


_in_sandbox = sandbox.parse


def files_of(cases: Sequence[Case], folder: Path) -> Files:
    """Build the files and read all of them, confined."""
    (out := folder / "out").mkdir(parents=True)
    paths = {}
    for case in cases:
        (place := folder / "files" / case.id).mkdir(parents=True)
        paths[case.id] = case.build(place)
    task = Task(
        parser="tests.bad_inputs.reading:parse",
        file=folder / "files",
        out=out,
        options={"files": [(case.wanted, str(paths[case.id])) for case in cases]},
        seconds=120,
        memory_bytes=LIMITS.memory_bytes,
        out_bytes=2**30,
        sources=(*SOURCES, ROOT / "tests"),
    )
    read = result_of(run(task))
    return Files(paths, out, read["found"], read["marked"])


@dataclass(frozen=True)
class Bench:
    """What a row has at hand."""

    files: Files
    folder: Path
    store: Store
    visit: Callable[..., AppTest]
    patch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        process = SimpleNamespace(Popen=_InThisProcess, DEVNULL=None)
        self.patch.setattr(jobs, "subprocess", process)
        self.patch.setattr(sandbox, "parse", self.files.parse)

    def upload(self, case: Case) -> jobs.Job:
        """The job that read the file, after it came in as from a browser."""
        path = self.files.paths[case.id]
        upload = uploads.begin("", path.name, path.stat().st_size, case.wanted)
        with uploads.Part(upload) as part:
            part.write(path.read_bytes())
            part.finish()
        found = jobs.job("", jobs.start("", jobs.CheckOrder(upload=upload.id, wanted=case.wanted, name=path.name)))
        assert found
        return found

    def refused(self, *cases: Case) -> str:
        """What is shown of files that are not taken, each on a line; nothing of them is left."""
        lines = []
        for case in cases:
            job = self.upload(case)
            assert (job.state, shelf.items("")) == ("failed", {})
            assert "\n" not in job.sentence
            lines.append(f"{job.sentence} {job.snippet}")
        return "\n".join(lines)

    def taken(self, case: Case) -> str:
        """The id of the item that the file became."""
        job = self.upload(case)
        assert job.state == "finished", job.sentence
        return str(job.result["item"])

    def noted(self, *cases: Case) -> str:
        """What is said of files that are taken, each on a line."""
        return "\n".join(self._notes(shelf.item("", self.taken(case))) for case in cases)

    def _notes(self, item: Item) -> str:
        return " ".join((*item.notes, *item.warnings))

    def ordered(self, order: jobs.Order) -> jobs.Job:
        """A job that has ended."""
        found = jobs.job("", jobs.start("", order))
        assert found
        return found

    def carried_out(self, recipe: Recipe) -> tuple[RunRecord, str]:
        """A run through the worker, and all that it said."""
        run_id = self.store.begin_here(recipe)
        execute(self.store, self.store.run(run_id) or pytest.fail("it is there"))
        record = self.store.run(run_id)
        assert record
        notes = [each.event.text for each in self.store.events(run_id) if isinstance(each.event, Note)]
        return record, "\n".join([*notes, record.state, record.error or ""])

    def shown(self, page: AppTest) -> str:
        """All words on a page."""
        labels = [each.label for each in page.selectbox]
        return "\n".join([*labels, *(f"{each.value}" for kind in SHOWN for each in page.get(kind))])


class _InThisProcess:
    """Carries out a job at once, where a process of its own would take a second to begin."""

    def __init__(self, command: Sequence[str], **_settings: Any) -> None:
        self.pid = os.getpid()
        bringing.main(Path(command[-1]))

    def wait(self) -> int:
        return 0


@dataclass(frozen=True)
class Row:
    """One bad input, and the words that a person must see."""

    name: str
    see: Callable[[Bench], str]
    """Does it, and returns all that is shown of it."""
    says: tuple[str, ...]
    files: tuple[Case, ...] = ()
    """What it uploads."""
