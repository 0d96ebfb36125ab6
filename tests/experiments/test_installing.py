"""Environments installed by a button: real processes that play pip, read like the pages read them."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from bridges.environments import ENVIRONMENTS
from core.errors import BadInput
from core.folders import data_folder
from core.processes import kill_family
from experiments import installing
from experiments.installing import DOWNLOADS_BYTES, ROOM_BYTES, Doing, cancel, installation, seconds_left, start
from tests.experiments.installing import DOWNLOADS, FAILS, WORKS, fake, play, until


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))


def folder() -> Path:
    return data_folder() / "installing" / "fake"


def test_it_counts_packages_and_is_installed_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(WORKS, monkeypatch)
    environment = fake(tmp_path)
    assert installation(environment).state == "absent"
    start(environment)
    found = until(environment, "running", "install", done=1)
    assert (found.doing.done, found.doing.total, found.doing.share) == (1, 2, 0.5)
    before = installing._noted(environment)
    start(environment)  # a second tab
    assert installing._noted(environment) == before
    (environment.folder / "go-on").touch()
    until(environment, "installed")
    assert environment.why_missing is None
    shutil.rmtree(environment.folder)  # by hand
    assert installation(environment).state == "absent"


def test_cancelling_ends_the_family_and_leaves_neither_environment_nor_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(DOWNLOADS, monkeypatch)
    environment = fake(tmp_path)
    start(environment)
    found = until(environment, "running", "download", done=1)
    assert found.doing == Doing("download", 1, 2, 500_000, 0.5)
    pid = int((environment.folder / "helper").read_text())
    assert psutil.pid_exists(pid)
    cancel(environment)
    assert installation(environment).state == "absent"
    assert not environment.folder.exists()
    assert not folder().exists()
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_failure_is_a_sentence_with_the_last_words_and_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(FAILS, monkeypatch)
    environment = fake(tmp_path)
    start(environment)
    found = until(environment, "failed")
    assert "has no tensorflow==2.21.0 for this Python (3." in found.sentence
    assert found.last_words.endswith("ERROR: No matching distribution found for tensorflow==2.21.0")
    assert not environment.is_installed
    play(WORKS, monkeypatch)
    start(environment)
    (environment.folder / "go-on").touch()
    until(environment, "installed")


def test_one_that_was_killed_says_so_and_leaves_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(DOWNLOADS, monkeypatch)
    environment = fake(tmp_path)
    start(environment)
    until(environment, "running", "download", done=1)
    noted = installing._noted(environment)
    assert noted
    kill_family(noted.pid)
    assert until(environment, "failed").sentence == installing.ENDED
    assert not environment.is_installed


def test_what_an_ended_attempt_fetched_goes_and_what_the_next_one_fetches_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(FAILS, monkeypatch)
    fetched = folder() / installing.FETCHED
    fetched.mkdir(parents=True)
    ended = installing._launched(fake(tmp_path))
    for pid, stays in ((ended.pid + 1, True), (ended.pid, False)):
        noted = installing._Process(pid=pid, started_at=0)
        (folder() / installing.PROCESS_FILE).write_text(noted.model_dump_json())
        installing._await(ended, folder())
        assert fetched.exists() == stays


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError(...)'\nERROR: ...", "index did not answer"),
        ("ERROR: Failed building wheel for dm-tree", "pip ended with an error"),
        ("Collecting numpy", "ended from outside"),
    ],
)
def test_what_pip_says_becomes_a_sentence(said: str, words: str) -> None:
    assert words in installing._reason(said)


def test_a_disk_with_too_little_room_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(WORKS, monkeypatch)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 999_999))
    with pytest.raises(BadInput, match=r"Fake needs .* of free disk"):
        start(fake(tmp_path))
    assert installation(fake(tmp_path)).state == "absent"


def test_time_left_follows_the_share_and_is_told_only_when_that_says_something() -> None:
    assert seconds_left(Doing("download", share=0.25), 10) == pytest.approx(30)
    assert seconds_left(Doing("download", share=0.01), 10) is None
    assert seconds_left(Doing("download", share=1.0), 10) is None


def test_every_environment_has_its_sizes_and_its_requirements() -> None:
    import studio

    assert set(DOWNLOADS_BYTES) == set(ROOM_BYTES) == set(ENVIRONMENTS)
    for key, environment in ENVIRONMENTS.items():
        place, requirements = studio.EXTRAS[key]
        assert place == environment.folder
        assert requirements == f"requirements-{key}.txt"  # its stamp is looked for
        assert ROOM_BYTES[key] > 2 * DOWNLOADS_BYTES[key]
