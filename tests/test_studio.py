"""The front door: standard library only, and what it does with environments."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import studio

ROOT = Path(__file__).resolve().parent.parent


def test_it_needs_the_standard_library_only() -> None:
    tree = ast.parse((ROOT / "studio.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_unsupported_python_gets_one_sentence() -> None:
    source = "import sys; sys.version_info = (3, 9, 0)\n" + (ROOT / "studio.py").read_text()
    answer = subprocess.run([sys.executable, "-c", source, "run"], capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "this is 3.9" in answer.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a real environment, made for an empty list of requirements so that nothing has to be fetched."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "few.txt").write_text("")
    (folder / "constraints.txt").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studio, "ROOT", folder)
        studio.install(folder / "environment", "few.txt")
        yield folder


def test_a_second_install_does_nothing_until_a_requirement_changes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = studio.pip_install
    monkeypatch.setattr(studio, "pip_install", lambda *arguments: calls.append(1) or real(*arguments))
    python = studio.install(project / "environment", "few.txt")
    assert subprocess.run([python, "-c", "pass"]).returncode == 0
    assert calls == []
    (project / "few.txt").write_text("# changed\n")
    studio.install(project / "environment", "few.txt")
    assert len(calls) == 1


def test_a_failed_install_says_so_and_is_tried_again(project: Path) -> None:
    (project / "wrong.txt").write_text("no-such-distribution-anywhere @ file:///nowhere\n")
    for _ in range(2):
        with pytest.raises(SystemExit, match="run the same command again"):
            studio.install(project / "environment", "wrong.txt")


def test_an_interrupted_install_leaves_no_stamp_of_an_earlier_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = project / "environment" / "installed-few.txt"
    assert stamp.exists()

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(studio, "pip_install", killed)
    (project / "few.txt").write_text("# changed again\n")
    with pytest.raises(KeyboardInterrupt):
        studio.install(project / "environment", "few.txt")
    assert not stamp.exists()


@pytest.mark.parametrize(("talks", "quiet"), [("", True), ("1", False)])
def test_pip_talks_into_a_file_where_somebody_reads_it(
    talks: str, quiet: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setenv(studio.TALKATIVE, talks)
    monkeypatch.setattr(studio, "call", lambda _python, command: commands.append(command) or 0)
    studio.pip_install(project / "environment" / "bin" / "python", ("few.txt",))
    assert [("--quiet" in command) for command in commands] == [quiet]


def test_the_checks_install_tensorflow_and_testing_by_itself_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "python3 studio.py install tensorflow\nexec python3 studio.py test" in (ROOT / ".ci" / "run").read_text()
    installed = []
    monkeypatch.setattr(studio, "install", lambda environment, *files: installed.append((environment, *files)))
    monkeypatch.setattr(studio, "call", lambda *_: 0)
    assert studio.test([]) == 0
    assert installed == [(studio.MAIN_ENVIRONMENT, "requirements.txt", "requirements-dev.txt")]


def test_an_unknown_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert studio.main(["dance"]) == 2
    assert "studio.py run" in capsys.readouterr().out


def test_a_busy_port_is_passed_over() -> None:
    import socket

    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert studio.free_port(port) > port
