"""A package on screen: its options, its download, what it holds and how to use it."""

from __future__ import annotations

import html

import streamlit as st

from experiments.package import Options, Package
from experiments.package_texts import unpacking
from ui import text
from ui.downloads import address_of
from ui.state import is_dark

LANGUAGES = {
    "run.py": "python",
    "serve.py": "python",
    "Dockerfile": "docker",
    "config.pbtxt": "protobuf",
    "model.py": "python",
}
"""What is shown, by the last part of its name, and how it is highlighted."""
BUTTON = """<style>
a.package {{ display: block; padding: .5rem .75rem; border-radius: 6px; background: {colour}; color: #fff;
             font-size: .95rem; text-align: center; text-decoration: none; }}
a.package:hover {{ filter: brightness(1.12); }}
a.package:focus-visible {{ outline: 2px solid {colour}; outline-offset: 2px; }}
</style>
<a class="package" href="{address}" download="{name}">{words}</a>"""
"""A link that looks like the first button of a page."""
CODE_HEIGHT = 460
"""Pixels; what is longer scrolls."""


def choose_options() -> Options:
    """What the package is to hold besides what each holds, as the toggles say."""
    with st.container(horizontal=True, gap="large"):
        server = st.toggle(
            "HTTP server",
            key="export.server",
            persist_state="session",
            help="Adds `serve.py`, which classifies images sent over HTTP (FastAPI), what it needs, and a Dockerfile. "
            "The server is tested with the studio; the Dockerfile is written here but not built here.",
        )
        triton = st.toggle(
            "Triton model repository",
            key="export.triton",
            persist_state="session",
            help="Adds the folder that NVIDIA Triton Inference Server loads a model from. Its configuration is checked "
            "against Triton's own definition; it is not loaded by a Triton server here. The network is in the zip "
            "twice then.",
        )
    return Options(server=server, triton=triton)


def draw_download(package: Package, run_id: str) -> None:
    """The link that downloads it, with the size and the fingerprint of what it gives."""
    name = package.path.name
    st.html(
        BUTTON.format(
            colour=st.get_option(f"theme.{'dark' if is_dark() else 'light'}.primaryColor"),
            address=html.escape(address_of(run_id, name)),
            name=html.escape(name),
            words=f"Download {text.data_size(package.path.stat().st_size)}",
        )
    )
    st.caption(f"`{name}`")
    st.caption("SHA-256")
    st.code(package.sha256, language=None, wrap_lines=True)


def draw_contents(package: Package) -> None:
    """A line for each file in the zip, with its size; the files of a folder below its name."""
    st.subheader("What it holds")
    folders: dict[str, list[str]] = {}
    for each in package.entries:
        folder, _, name = each.name.rpartition("/")
        folders.setdefault(folder, []).append(f"- `{name}` {text.data_size(each.size_bytes)} · {each.about}")
    for folder, lines in folders.items():
        if folder:
            st.markdown(f"`{folder}/`")
        st.markdown("\n".join(lines))
    st.caption("Sizes before they are packed.")


def draw_usages(package: Package) -> None:
    """The ways to use it, each with its commands."""
    st.subheader("How to use it")
    st.code(unpacking(package.path.name, package.folder), language="bash", wrap_lines=True)
    for usage in package.usages:
        st.markdown(f"**{usage.title}**")
        st.code(usage.commands, language="bash", wrap_lines=True)
        if usage.note:
            st.caption(text.escape(usage.note))


def draw_code(package: Package) -> None:
    """The programs and settings in it, a tab each."""
    st.subheader("What is in the files")
    shown: dict[str, str] = {}
    for entry in package.entries:
        name = entry.name.rpartition("/")[2]
        if name in LANGUAGES:
            shown.setdefault(name, entry.text)  # Triton's copy of run.py is the same
    for name, tab in zip(shown, st.tabs(list(shown)), strict=True):
        with tab:
            st.code(shown[name], language=LANGUAGES[name], height=CODE_HEIGHT)
