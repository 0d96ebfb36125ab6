"""The server: `streamlit run app.py`."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from ui import downloads, errors, headers, uploads


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Carry out queued runs and watch the machine for as long as the server lives."""
    import plotly.graph_objects  # noqa: F401
    import scipy.stats  # noqa: F401

    from experiments.scheduler import Scheduler
    from ui.state import everyones_store
    from ui.system_live import recorder

    gc.collect()  # Streamlit collects garbage after every rerun: what is loaded by now need not be looked at again.
    gc.freeze()
    scheduler = Scheduler(everyones_store())
    scheduler.start()
    with recorder():
        yield
    scheduler.stop()


app = st.App(
    Path(__file__).resolve().parent / "ui" / "main.py",
    lifespan=lifespan,
    routes=[downloads.PACKAGES, downloads.PROFILES, uploads.UPLOADS],
    middleware=[Middleware(headers.Guard)],
    on_script_error=errors.show,
)
