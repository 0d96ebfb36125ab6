"""What a person sees when something goes wrong: one sentence, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.errors import StudioError
from ui.text import sentence

UNFORESEEN = "Something went wrong on this page. Reload it to go on; details are in the server's log."

log = logging.getLogger(__name__)


@contextmanager
def guarded() -> Iterator[None]:
    """Show whatever is raised inside as one sentence. Control flow of Streamlit passes through."""
    try:
        yield
    except Exception as error:
        show(error)


def show(error: Exception) -> bool:
    """Show the error as one sentence; True, which tells Streamlit that it was shown."""
    if isinstance(error, StudioError):
        st.error(sentence(str(error)), icon=":material/error:")
    else:
        log.error("Nobody foresaw this", exc_info=error)
        st.error(UNFORESEEN, icon=":material/error:")
    return True
