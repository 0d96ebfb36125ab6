"""What is known of an environment without starting it."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from bridges.environments import Environment


@pytest.mark.parametrize("place", ["lib/python3.11/site-packages", "Lib/site-packages"])
def test_versions_are_read_from_the_files(place: str, tmp_path: Path) -> None:
    metadata = tmp_path / place / "some_library-1.2.3.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: some-library\nVersion: 1.2.3\n")
    environment = Environment("test", "Test", tmp_path, "1 GB")
    assert environment.version("some-library") == "1.2.3"
    assert environment.version("numpy") is None


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="the tests run outside a virtual environment")
def test_of_this_environment_they_are_those_that_python_tells() -> None:
    assert Environment("own", "Own", Path(sys.prefix), "").version("numpy") == version("numpy")


def test_what_is_not_installed_has_no_versions(tmp_path: Path) -> None:
    assert Environment("none", "None", tmp_path / "none", "").version("numpy") is None
