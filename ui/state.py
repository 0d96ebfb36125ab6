"""What the pages share: the store, the devices, the variants' colours and the way from page to page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import streamlit as st

from core.catalogue import ModelEntry
from core.devices import Device, list_devices, why_no_gpu
from core.folders import data_folder
from experiments.models import offered
from experiments.run_record import RunRecord
from experiments.store import Store, open_store
from ui.identity import owner
from ui.theme import INK_DARK, INK_LIGHT, colour_of

PAGES = Path(__file__).resolve().parent.parent / "pages"


def store() -> Store:
    """The store as whoever is looking sees it: their own runs."""
    return everyones_store().for_owner(owner())


def everyones_store() -> Store:
    """The whole store, opened once a server; for the server itself, never for a page."""
    return _store_at(os.environ.get("STUDIO_STORE_URL") or str(data_folder()))


@st.cache_resource(show_spinner=False)
def _store_at(place: str) -> Store:
    return open_store()


def models() -> dict[str, ModelEntry]:
    """The models that whoever is looking may use, by key."""
    return offered(owner())


@st.cache_data(ttl=60, show_spinner=False)
def devices() -> list[Device]:
    """The devices of this machine, looked up at most once a minute."""
    return list_devices()


@st.cache_data(ttl=60, show_spinner=False)
def gpu_absence() -> str | None:
    """One sentence on why no GPU is offered, or None when there is one."""
    return why_no_gpu()


def is_dark() -> bool:
    """Whether the page is drawn light on dark."""
    return bool(st.context.theme.type == "dark")


def ink() -> str:
    """The colour of text and thin lines in figures."""
    return INK_DARK if is_dark() else INK_LIGHT


def colours(records: Iterable[RunRecord]) -> dict[str, str]:
    """The colour of each variant by its recipe's digest, the same on every page and whatever else is shown."""
    return {record.recipe.digest: colour_of(record.slot, dark=is_dark()) for record in records}


def open_page(name: str, **query: str) -> NoReturn:
    """Leave this page for another: `open_page("runs", run=run_id)`."""
    st.switch_page(PAGES / f"{name}.py", query_params=query)
