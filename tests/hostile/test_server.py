"""Hostile, broken and honest files, uploaded to a running server as a browser does it.

Each gets its sentence in time or is taken, nothing in any of them runs, and the server is as well as before. Here it is
every fifteenth file of the corpus, or all with STUDIO_WHOLE_CORPUS=1; `test_confined` reads all of them every time.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from experiments import jobs
from intake.sandbox import why_unavailable
from tests.e2e.conftest import Server, free_port, start_server
from tests.hostile.case import Case
from tests.hostile.corpus import CORPUS, HONEST, HOSTILE, complaint
from tests.ui.logins import token

MOST_SECONDS = float(os.environ.get("STUDIO_HOSTILE_SECONDS") or 30)
"""From the last byte of a hostile file to its sentence: 1 to 2 on a machine at rest, more on a busy one."""
AT_ONCE = 2


def chosen() -> Sequence[Case]:
    """The files that are uploaded."""
    if os.environ.get("STUDIO_WHOLE_CORPUS"):
        return CORPUS
    return [*HOSTILE[::15], *HONEST[::15]]


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a payload would make."""
    path = tmp_path / "marker"
    monkeypatch.setenv("STUDIO_MARKER", str(path))
    return path


@pytest.fixture
def server(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server over a data folder of its own, which this process reads as well."""
    if reason := why_unavailable():
        pytest.skip(reason)
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    running = start_server(tmp_path / "data", free_port())
    yield running
    if running.process.poll() is None:
        running.kill()


def test_each_file_gets_its_sentence_or_is_taken(server: Server, marker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda case: outcome(server, case, folder / case.id), chosen()))
    assert [problem for each in outcomes if (problem := complaint(each.case, each.sentence))] == []
    assert [each for each in outcomes if not each.case.honest and each.seconds > MOST_SECONDS] == []
    assert not marker.exists()
    assert healthy(server)
    assert server.process.poll() is None


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    case: Case
    sentence: str
    """Empty where it was taken."""
    seconds: float
    """From its last byte on."""


def outcome(server: Server, case: Case, folder: Path) -> Outcome:
    """Build the file, upload it and wait for what is said of it."""
    folder.mkdir(parents=True)
    file = case.build(folder)
    if not file.stat().st_size:
        case = replace(case, says="is empty (0 bytes)")  # which is said before anything is sent on to be read
    status, answer = post(server, case, file)
    arrived = time.time()
    if status != 200:
        return Outcome(case, answer["sentence"], 0.0)
    job = ended(answer["job"])
    return Outcome(case, job.sentence, job.events[-1].at - arrived)


def post(server: Server, case: Case, file: Path) -> tuple[int, dict[str, str]]:
    """Upload a file with the token of a page of the studio; status and body of the answer."""
    content = file.read_bytes()
    query = urllib.parse.urlencode({"name": file.name, "wanted": case.wanted, "size": len(content)})
    cookies, headers = token()
    headers = headers | {"Origin": server.address, "Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}
    request = urllib.request.Request(f"{server.address}/uploads?{query}", content, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ended(key: str) -> jobs.Job:
    """The job, once it is over."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        job = jobs.job("", key)
        if job and job.state != "running":
            return job
        time.sleep(0.05)
    raise AssertionError(f"{key} did not end")


def healthy(server: Server) -> bool:
    with urllib.request.urlopen(f"{server.address}/_stcore/health", timeout=60) as answer:
        return bool(answer.status == 200)
