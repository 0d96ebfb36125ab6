"""Asking pip's index: a real pip, an index that is a folder, and one that nobody serves."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from packaging.version import Version

from experiments import package_index
from experiments.package_index import AT_ONCE, Offer, ask, ask_for, read_offer

LINKS = """
<a href="../../some-1.0.tar.gz">some-1.0.tar.gz</a>
<a href="../../some-1.10.tar.gz">some-1.10.tar.gz</a>
<a href="../../some-1.9.tar.gz">some-1.9.tar.gz</a>
<a href="../../some-2.0.tar.gz" data-yanked="broken">some-2.0.tar.gz</a>
<a href="../../some-3.0rc1.tar.gz">some-3.0rc1.tar.gz</a>
<a href="../../some-4.0.tar.gz" data-requires-python="&lt;3">some-4.0.tar.gz</a>
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index that pip is configured for, and no other."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "index.html").write_text(f"<!DOCTYPE html><html><body>{LINKS}</body></html>")
    return tmp_path


def test_yanked_and_preliminary_releases_and_other_pythons_are_left_out(index: Path) -> None:
    assert ask("some") == Offer((Version("1.10"), Version("1.9"), Version("1.0")))


def test_a_library_that_the_index_does_not_have_is_no_silence(index: Path) -> None:
    assert ask("other") == Offer()


def test_an_index_that_does_not_answer_is_a_sentence_even_beside_one_that_does(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    assert ask("some") == Offer(problem="The package index did not answer.")


@pytest.mark.parametrize(
    ("output", "log", "errors", "expected"),
    [
        ("some (2.0)\nAvailable versions: 2.0, 1.0\n", "", "WARNING: experimental", (Version("2.0"), Version("1.0"))),
        ("", "Could not fetch URL x: 404 Client Error: Not Found", "ERROR: No matching distribution found for x", ()),
        ("Available versions: 1.0", "Could not fetch URL x: 403 Client Error: Forbidden", "", "did not answer"),
        ("", "", "/usr/bin/python3: No module named pip", "no pip"),
        ("", "", "a traceback\nValueError: odd", "ValueError: odd"),
        ("", "", "", "printed nothing"),
    ],
)
def test_every_way_of_answering_is_told_apart(
    output: str, log: str, errors: str, expected: str | tuple[Version, ...]
) -> None:
    offer = read_offer(output, log, errors)
    assert expected in offer.problem if isinstance(expected, str) else offer == Offer(expected)


def test_several_are_asked_for_at_a_time_but_few(monkeypatch: pytest.MonkeyPatch) -> None:
    busy: set[str] = set()
    most: list[int] = []

    def slowly(name: str) -> Offer:
        busy.add(name)
        most.append(len(busy))
        time.sleep(0.02)
        busy.remove(name)
        return Offer((Version("1.0"),), problem="silent" * (name == "3"))

    monkeypatch.setattr(package_index, "ask", slowly)
    names = [str(number) for number in range(10)]
    assert sorted(name for name, _ in ask_for(names)) == names
    assert max(most) <= AT_ONCE


def test_where_nothing_answers_it_gives_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_index, "ask", lambda _name: Offer(problem="silent"))
    assert len(list(ask_for([str(number) for number in range(50)]))) == AT_ONCE
