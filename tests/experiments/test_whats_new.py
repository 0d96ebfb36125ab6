"""What newer versions mean, by faked answers and a faked environment."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from experiments import libraries, whats_new
from experiments.libraries import Library
from experiments.package_index import Offer
from experiments.whats_new import Consequence, consequence, how_to_add, who_refuses

SOME = Library("some", "an example")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Some 2.14.1, which the tests ran on; the studio takes 2.11 up to 2.16. What is installed may be changed."""
    installed = {"some": "2.14.1"}
    for module in (libraries, whats_new):
        monkeypatch.setattr(module, "installed_version", installed.get)
    monkeypatch.setattr(libraries, "tested_versions", lambda: {"some": "2.14.1"})
    monkeypatch.setattr(libraries, "ranges", lambda: {"some": SpecifierSet(">=2.11,<2.16")})
    monkeypatch.setattr(whats_new, "distributions", list)
    return installed


def told(*versions: str, library: Library = SOME) -> Consequence:
    return consequence(library, Offer(tuple(map(Version, versions))))


@pytest.mark.parametrize("installed", ["2.14.1", "2.14.1+cpu"])
def test_the_same_version_is_the_newest_whatever_it_was_built_for(installed: str, here: dict[str, str]) -> None:
    here["some"] = installed
    assert told("2.14.1", "2.13.0").kind == "newest"
    assert told("2.14.1+cu130").kind == "newest"


def test_a_version_of_ones_own_is_not_called_old(here: dict[str, str]) -> None:
    here["some"] = "3.0"
    assert told("2.15.0") == Consequence("newest", "Newer than the index has.", "2.15.0")


def test_a_newer_one_in_the_range_says_what_the_tests_ran_on_and_how_to_try_it() -> None:
    found = told("2.15.0", "2.14.1")
    assert (found.kind, found.newest) == ("fits", "2.15.0")
    assert "`>=2.11, <2.16`" in found.what
    assert "the tests ran on 2.14.1" in found.what
    assert "`pip install some==2.15.0`" in found.what


def test_where_the_studio_sets_no_bounds_it_says_so(here: dict[str, str]) -> None:
    here["free"] = "1.0"
    assert told("2.0", library=Library("free", "anything goes")).what == (
        "The studio's requirements set no bounds. The tests run without this library. To try it: "
        "`pip install free==2.0`."
    )


def test_the_tested_version_is_called_tested(here: dict[str, str]) -> None:
    here["some"] = "2.12.0"
    assert "The tests ran on it." in told("2.14.1").what


def test_a_newer_one_outside_of_the_range_waits_for_the_studio() -> None:
    found = told("2.16.0", "2.14.1")
    assert (found.kind, found.newest) == ("outside", "2.16.0")
    assert "stop below 2.16: wait for a release" in found.what
    assert "pip install" not in found.what


def test_outside_of_the_range_the_newest_that_fits_is_offered() -> None:
    found = told("3.0", "2.15.2", "2.15.0", "2.14.1")
    assert found.newest == "3.0"
    assert "2.15.2 is within it." in found.what
    assert "`pip install some==2.15.2`" in found.what


def test_whoever_does_not_take_the_newer_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        SimpleNamespace(name="strict", version="1.0", requires=["Some (<2.15)", "some-more<1", "not a requirement !"]),
        SimpleNamespace(name="lax", version="1.0", requires=["some>=2", 'some<2; extra == "old"']),
        SimpleNamespace(name="alone", version="1.0", requires=None),
    ]
    monkeypatch.setattr(whats_new, "distributions", lambda: others)
    assert who_refuses("some", Version("2.15.0")) == ("strict 1.0 takes `<2.15`",)
    found = told("2.15.0")
    assert "cannot move alone: strict 1.0" in found.what
    assert "pip install" not in found.what


def test_what_is_not_installed_comes_with_its_command(here: dict[str, str]) -> None:
    extra = Library("extra", "more", install="python3 studio.py install extra")
    assert told("1.0", library=extra) == Consequence(
        "missing", "Not installed. To add it: `python3 studio.py install extra`.", "1.0"
    )


def test_of_two_that_exclude_each_other_one_is_not_missing(here: dict[str, str]) -> None:
    here["some-gpu"] = "1.0"
    ordinary = Library("other", "the ordinary one", replaced_by="some-gpu")
    assert how_to_add(ordinary) == "Not installed: some-gpu is in its place."
    assert "`swap`" in how_to_add(Library("other", "another", install="swap", replaced_by="some"))


def test_no_answer_and_no_version_are_not_known() -> None:
    assert consequence(SOME, Offer(problem="Silent.")) == Consequence("unknown", "Silent.")
    assert "no version for this Python" in told().what
