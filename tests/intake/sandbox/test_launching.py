"""Which mechanism is used, what the self-test says of it, and what happens where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Refused, Unavailable
from core.progress import result_of
from intake import sandbox
from intake.sandbox import checking, launching
from intake.sandbox.checking import SelfTest, measure
from intake.sandbox.running import run
from tests.intake.sandbox.conftest import Tasks


def test_the_self_test_measures_that_everything_holds(mechanism: str) -> None:
    found = measure()
    assert found.absence is None
    assert found.confined
    assert len(found.attempts) >= 11
    assert all(attempt.held for attempt in found.attempts)
    assert ("bubblewrap" in found.mechanism) == (mechanism == "bubblewrap")
    assert "seccomp" in found.mechanism


def test_the_self_test_notices_all_that_is_possible_without_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "mechanisms", lambda: ["none"])
    found = measure()
    assert not found.confined
    possible = {attempt.what: attempt.detail for attempt in found.attempts if not attempt.held}
    assert len(possible) >= len(found.attempts) - 2  # memory is limited, tracing may be off on this machine
    assert possible["Send a packet over UDP"] == possible["Connect over TCP"] == "It arrived"


def test_a_sandbox_that_does_not_hold_is_not_used(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bubblewrap that confines nothing, around a process that does not confine itself either."""
    monkeypatch.setattr(launching, "mechanisms", lambda: ["bubblewrap"])
    plain = launching.command
    monkeypatch.setattr(launching, "command", lambda _mechanism, task: _trusting(plain("none", task)))
    task = tasks("honest")
    with pytest.raises(Unavailable, match=r"bubblewrap does not hold \(Read a file of yours; Write a file elsewhere"):
        result_of(run(task))
    assert list(task.out.iterdir()) == []


def _trusting(command: list[str]) -> list[str]:
    unconfined = "import intake.sandbox.child as child; child.confine = lambda request: {}; child.main()"
    return [part.replace("from intake.sandbox.child import main; main()", unconfined) for part in command]


def test_a_bubblewrap_that_is_not_allowed_to_work_is_passed_over(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv(launching.MECHANISM_VARIABLE, raising=False)
    assert launching.mechanisms() == ["bubblewrap", "landlock"]
    found = measure()
    assert "bubblewrap" not in found.mechanism
    assert found.absence is None or "landlock" in found.absence
    monkeypatch.setenv(launching.MECHANISM_VARIABLE, "bubblewrap")
    assert "No permissions to create new namespace" in str(measure().absence)


def test_without_any_mechanism_uploads_are_off_unless_somebody_takes_the_risk(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(launching.MECHANISM_VARIABLE, raising=False)
    monkeypatch.delenv(launching.UNCONFINED_VARIABLE, raising=False)
    monkeypatch.setattr("sys.platform", "darwin")
    assert "needs Linux, and this system is darwin. Use Linux, or set STUDIO_UNCONFINED" in str(measure().absence)
    with pytest.raises(Unavailable):
        result_of(run(tasks("honest")))
    monkeypatch.setenv(launching.UNCONFINED_VARIABLE, "1")
    assert measure().absence is None
    assert result_of(run(tasks("honest", side=1)))["options"] == {"side": 1}


def test_what_is_installed_later_is_found_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = SelfTest("", (), 0.1, "Nothing confines it.", False)
    answers = iter([absent, SelfTest("bubblewrap", (), 0.1, None, True)])
    monkeypatch.setattr(checking, "measure", lambda: next(answers))
    checking._first.cache_clear()
    assert sandbox.why_unavailable() == sandbox.why_unavailable() == "Nothing confines it."
    monkeypatch.setattr(checking, "AGAIN_SECONDS", 0.0)
    assert sandbox.why_unavailable() is None
    assert sandbox.self_test().mechanism == "bubblewrap"
    checking._first.cache_clear()


def test_a_full_disk_is_said_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "KEPT_FREE_BYTES", 2**62)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(Refused, match="no room"):
        result_of(sandbox.parse("model", tmp_path / "file", tmp_path))
