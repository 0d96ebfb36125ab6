"""Shared by the tests of what people bring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A data folder in which the list of architectures is kept, where none is shipped for the installed versions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_DATA", str(tmp_path_factory.mktemp("data")))
        yield
