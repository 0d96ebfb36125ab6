"""Pages as a browser opens them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from experiments.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def visit(store: Store) -> Callable[..., AppTest]:
    """The app at an address of its own, on this test's store: `visit("runs", run=run_id)`."""
    st.cache_data.clear()
    st.cache_resource.clear()

    def visited(name: str, **query: str) -> AppTest:
        page = AppTest.from_file(ROOT / "ui" / "main.py", default_timeout=60).run()
        page.switch_page(str(ROOT / "pages" / f"{name}.py"))
        for key, value in query.items():
            page.query_params[key] = value
        page.run()
        assert not page.exception
        return page

    return visited
