"""Shared by the tests of runs."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def probes(shared_probes: None) -> None:
    """Most look at everything but these rates; `test_peaks` has none of it."""
