"""Shared by the tests of what people bring."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def _list_of_architectures() -> str:
    """What `python -m intake.listing` prints; asked for in this process, which imports torch anyway."""
    from intake.listing import main

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main()
    return printed.getvalue()


@pytest.fixture(scope="module")
def listed(_list_of_architectures: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder in which the architectures of torchvision and timm are listed already."""
    from intake import architectures

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_DATA", str(tmp_path_factory.mktemp("data")))
        path = architectures._kept_in()
        path.parent.mkdir()
        path.write_text(_list_of_architectures)
        yield path
