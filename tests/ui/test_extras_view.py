"""The card of an environment: what it says before, while and after it is installed, and who may press its button."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from bridges.environments import ENVIRONMENTS, TENSORFLOW, Environment
from core.processes import kill_family
from experiments import installing
from experiments.installing import Doing, installation
from tests.experiments.installing import DOWNLOADS, FAILS, WORKS, play, until
from ui import extras_view
from ui.extras_view import gigabytes, in_words

Draw = Callable[[], AppTest]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """TensorFlow's, in a folder where nothing is yet."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    absent = replace(TENSORFLOW, key="fake", folder=tmp_path / ".venv-fake")
    monkeypatch.setattr(extras_view, "ENVIRONMENTS", {"fake": absent})
    monkeypatch.setattr(extras_view, "EXTRAS", {"fake": extras_view.EXTRAS["tensorflow"]})
    for sizes in ("DOWNLOADS_BYTES", "ROOM_BYTES"):
        monkeypatch.setattr(extras_view, sizes, {"fake": 2_000_000_000})
    return absent


def page() -> None:
    from ui.extras_view import draw_environments

    draw_environments()


def drawn() -> AppTest:
    shown = AppTest.from_function(page, default_timeout=60).run()
    assert not shown.exception
    return shown


def words(shown: AppTest) -> str:
    return "\n".join(each.value for kind in ("markdown", "caption", "error") for each in shown.get(kind))


def test_from_the_button_to_the_installed_environment(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(WORKS, monkeypatch)
    shown = drawn()
    assert "2.3 GB installed, of which about 2 GB are downloaded" in words(shown)
    shown.button(key="install-fake").click().run()
    until(environment, "running", "install", done=1)
    shown = drawn()
    assert "Being installed" in words(shown)
    assert [each.key for each in shown.button] == ["cancel-fake"]
    (environment.folder / "go-on").touch()
    until(environment, "installed")
    shown = drawn()
    assert "green-badge[Installed]" in words(shown)
    assert not shown.button


def test_cancel_brings_the_offer_back(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    play(DOWNLOADS, monkeypatch)
    drawn().button(key="install-fake").click().run()
    until(environment, "running", "download", done=1)
    shown = drawn()
    shown.button(key="cancel-fake").click().run()
    assert installation(environment).state == "absent"
    assert [each.label for each in drawn().button] == ["Install"]


def test_a_failure_is_told_in_words_with_the_log_s_last_lines(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(FAILS, monkeypatch)
    installing.start(environment)
    until(environment, "failed")
    shown = drawn()
    assert shown.error[0].value.startswith("TensorFlow was not installed. The package index has no tensorflow")
    assert "No matching distribution" in shown.code[0].value
    assert [each.label for each in shown.button] == ["Try again"]


def test_where_the_disk_is_too_full_the_button_says_why(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "ROOM_BYTES", {"fake": 10**18})
    shown = drawn()
    assert shown.button(key="install-fake").disabled
    assert "needs 1000000000 GB of free disk" in words(shown)


def test_where_people_log_in_only_the_command_is_told(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras_view, "login_is_on", lambda: True)
    shown = drawn()
    assert not shown.button
    assert f"`{environment.command}`" in words(shown)
    play(DOWNLOADS, monkeypatch)
    installing.start(environment)
    until(environment, "running", "download", done=1)
    assert not drawn().button
    noted = installing._noted(environment)
    assert noted
    kill_family(noted.pid)


def test_progress_counts_in_words() -> None:
    assert in_words(Doing("prepare"), 3) == "Step 1 of 3: making the environment"
    assert in_words(Doing("install", 12, 41, share=12 / 41), 30) == "Step 3 of 3: installing, 12 of 41 packages"
    expected = "Step 2 of 3: downloading, 12 of 34 packages known so far, 0.34 GB, about 20 s left"
    assert in_words(Doing("download", 12, 34, 340_000_000, 0.5), 20) == expected
    assert [gigabytes(size) for size in (421_000_000, 2_310_000_000, 14 * 10**9)] == ["0.42 GB", "2.3 GB", "14 GB"]


def test_every_environment_is_explained() -> None:
    assert all(key in extras_view.EXTRAS for key in ENVIRONMENTS)
