"""Environments beside the studio's own: what each adds, the button that installs it, and how far that is."""

from __future__ import annotations

import time

import streamlit as st

from bridges.environments import ENVIRONMENTS, Environment
from core.errors import BadInput
from experiments import installing
from experiments.installing import DOWNLOADS_BYTES, ROOM_BYTES, Doing, Installation, free_bytes, installation
from runtimes import EXTRAS
from ui import text
from ui.identity import login_is_on
from ui.live import duration

POLL_SECONDS = 1.0
BADGES = {
    "absent": ":gray-badge[Optional]",
    "running": ":blue-badge[Being installed]",
    "installed": ":green-badge[Installed]",
    "failed": ":red-badge[Not installed]",
}


def draw_environments() -> None:
    """A card for each; those at work keep themselves up to date."""
    for environment in ENVIRONMENTS.values():
        with st.container(border=True, key=f"environment-{environment.key}", gap="small"):
            draw_environment(environment)


def draw_environment(environment: Environment) -> None:
    """What it adds and whether it is here; else the way to get it."""
    found = installation(environment)
    st.markdown(f"{BADGES[found.state]} **{environment.title}** · {EXTRAS[environment.key].adds}")
    if found.state == "installed":
        st.caption(f"In an environment of its own, `{environment.folder.name}`, whose processes start when needed.")
    elif found.state == "running":
        st.fragment(draw_work, run_every=POLL_SECONDS)(environment)
    else:
        if found.state == "failed":
            draw_failure(environment, found)
        draw_offer(environment, again=found.state == "failed")


def draw_work(environment: Environment) -> None:
    """How far it is, and the button that ends it; the page is drawn anew when it has ended."""
    found = installation(environment)
    if found.state != "running":
        st.rerun()
    seconds = time.time() - found.began_at
    st.progress(found.doing.share, in_words(found.doing, seconds))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{duration(seconds)} so far. It goes on when this page is closed, and when the studio is stopped.")
        st.space("stretch")
        if not login_is_on() and st.button("Cancel", icon=":material/close:", key=f"cancel-{environment.key}"):
            with st.spinner("Deleting what was installed so far"):
                installing.cancel(environment)
            st.rerun()


def in_words(doing: Doing, seconds: float) -> str:
    """`Step 2 of 3: downloading, 12 of 34 packages so far, 0.42 GB, about 20 s left`."""
    if doing.stage == "prepare":
        return "Step 1 of 3: making the environment"
    if doing.stage == "install":
        return f"Step 3 of 3: installing, {doing.done} of {doing.total} packages"
    words = f"Step 2 of 3: downloading, {doing.done} of {doing.total} packages known so far"
    words += f", {gigabytes(doing.fetched_bytes)}" if doing.fetched_bytes else ""
    left = installing.seconds_left(doing, seconds)
    return f"{words}, about {duration(left)} left" if left else words


def gigabytes(size_bytes: int) -> str:
    """`0.42 GB`, `2.3 GB`, `13 GB`, of a thousand million bytes as sellers of disks count them."""
    return f"{size_bytes / 1e9:.2g} GB" if size_bytes < 10e9 else f"{size_bytes / 1e9:.0f} GB"


def draw_failure(environment: Environment, found: Installation) -> None:
    """Why it was not installed, in words and in pip's."""
    st.error(f"{environment.title} was not installed. {text.escape(found.sentence)}", icon=":material/error:")
    if found.last_words:
        with st.expander("The last lines of the log", key=f"log-{environment.key}"):
            st.code(found.last_words, language=None)


def draw_offer(environment: Environment, *, again: bool) -> None:
    """What it takes, and the button; where people log in, the command for whoever runs the studio."""
    st.caption(
        f"Size: {environment.size} installed, of which about {gigabytes(DOWNLOADS_BYTES[environment.key])} are "
        f"downloaded; {gigabytes(ROOM_BYTES[environment.key])} of disk are needed meanwhile, and "
        f"{gigabytes(free_bytes())} are free. It has an environment of its own, and nothing else changes."
    )
    if login_is_on():
        st.caption(f"Whoever runs this studio installs it on the machine: `{environment.command}`")
        return
    reason = installing.why_no_room(environment)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Try again" if again else "Install",
            icon=":material/download:",
            disabled=bool(reason),
            key=f"install-{environment.key}",
        )
        st.caption(f"{text.escape(reason)}." if reason else f"Or on the command line: `{environment.command}`")
    if pressed:
        begin(environment)


def begin(environment: Environment) -> None:
    """Start it and draw the page anew, or say why it cannot be started."""
    try:
        installing.start(environment)
    except BadInput as error:
        st.error(text.escape(str(error)), icon=":material/block:")
        return
    st.rerun()
