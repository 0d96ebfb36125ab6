"""A replay on screen: its stamp, its controls, and the run as it was at that moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

import streamlit as st

from experiments.models import title_of
from experiments.recording import device_name, result_of, stamp
from experiments.run_record import RunRecord
from ui import text
from ui.identity import owner
from ui.live import duration, expected_curves, look_of
from ui.replay import SPEEDS, USUAL_SPEED, Player, Replay, Tape
from ui.run_body import draw_curves, draw_machine, draw_notes, draw_steps
from ui.state import open_page, store
from ui.strip import Freshness

POLL_SECONDS = 0.5
REPLAY, SPEED, POSITION = "replay.replay", "replay.speed", "replay.position"
"""Keys of the session's state: what is watched, and the widgets that move it."""
STYLE = """<style>
div:has(> .st-key-stamp) { position: sticky; top: 3.6rem; z-index: 90; backdrop-filter: blur(14px); }
</style>"""
"""Keeps the stamp in sight however far the page is scrolled."""


def play(**query: str) -> NoReturn:
    """Open the Runs page on the replay of `run=ID` or `recording=NAME`, from its beginning."""
    st.session_state.pop(REPLAY, None)
    open_page("runs", **query, replay=str(USUAL_SPEED))


def draw_stamp(words: str, *, foreign: bool) -> None:
    """Where what is shown comes from, always in sight; `foreign` is what was not measured by this studio."""
    st.html(STYLE)
    with st.container(key="stamp"):
        if foreign:
            st.warning(f"**{text.escape(words)}.** Not measured on this machine.", icon=":material/videocam:")
        else:
            st.info(f"**Replay.** {text.escape(words)}.", icon=":material/videocam:")


def watched_tape(name: str, make: Callable[[], Tape]) -> Replay:
    """The replay of the address: the one that this session watches already, or a new one as the address says."""
    known, replay = st.session_state.get(REPLAY, ("", None))
    if known == name and isinstance(replay, Replay):
        return replay
    tape = make()
    replay = Replay(tape, _player_of_address(tape.seconds))
    st.session_state[REPLAY] = (name, replay)
    return replay


def _player_of_address(end: float) -> Player:
    """`?replay=SPEED` plays from the beginning, with `&at=SECONDS` it stands still there; without, it is at its end."""
    wanted, place = st.query_params.get("replay"), st.query_params.get("at")
    speed = {str(speed): speed for speed in SPEEDS}.get(wanted or "", USUAL_SPEED)
    if place is not None and place.isdecimal():
        return Player(speed, min(end, float(place)))
    return Player(speed, 0.0, time.monotonic()) if wanted is not None else Player(speed, end)


def draw_replay(replay: Replay, draw_end: Callable[[], None]) -> None:
    """Controls and the run at that moment, polled while it plays; `draw_end` draws what came of it, at its end."""
    goes_on = replay.player.goes_on(time.monotonic(), replay.tape.seconds)
    st.fragment(_draw, run_every=POLL_SECONDS if goes_on else None)(replay, draw_end, goes_on)


def _draw(replay: Replay, draw_end: Callable[[], None], polled: bool) -> None:
    now, tape = time.monotonic(), replay.tape
    if replay.player.goes_on(now, tape.seconds) != polled:
        st.rerun()
    seconds = replay.player.at(now, tape.seconds)
    at_end = seconds >= tape.seconds
    record, view = tape.record_at(seconds), replay.view_at(seconds)
    draw_controls(replay, seconds)
    draw_steps(record, view, now=tape.began_at + seconds)
    if at_end:
        draw_end()
    freshness: Freshness = "last" if at_end else "resting" if view.is_timed else "replayed"
    draw_machine(record, view, device_name=tape.device_name, freshness=freshness)
    draw_curves(record, view, keys=expected_curves(tape.record, replay.whole), end=replay.whole.elapsed)
    draw_notes(view.notes)


def draw_controls(replay: Replay, seconds: float) -> None:
    """Play or pause, from the beginning, how fast, and where."""
    now, end = time.monotonic(), replay.tape.seconds
    goes_on = replay.player.goes_on(now, end)
    word, look = look_of(replay.tape.record_at(seconds))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(word, color=look.colour, icon=look.icon)
        label, icon = ("Pause", "pause") if goes_on else ("Play", "play_arrow")
        st.button(
            label, icon=f":material/{icon}:", key="replay.toggle", type="primary", width=110,
            on_click=_toggle, args=(replay,),
        )  # fmt: skip
        st.button("Restart", icon=":material/replay:", key="replay.restart", on_click=_restart, args=(replay,))
        st.session_state[SPEED] = replay.player.speed
        st.segmented_control(
            "Speed", SPEEDS, format_func=lambda speed: f"{speed}x", key=SPEED, required=True,
            label_visibility="collapsed", on_change=_change_speed, args=(replay,),
        )  # fmt: skip
        st.markdown(f"{_clock(seconds)} of {_clock(end)}", width="content")
    st.session_state[POSITION] = round(min(seconds, end), 1)
    st.slider(
        "Moment of the run", 0.0, max(0.1, round(end, 1)), step=0.1, format="%.1f s", key=POSITION,
        label_visibility="collapsed", on_change=_move, args=(replay,),
    )  # fmt: skip


def _toggle(replay: Replay) -> None:
    now, end = time.monotonic(), replay.tape.seconds
    player = replay.player
    _set(replay, player.paused(now, end) if player.goes_on(now, end) else player.played(now, end))


def _restart(replay: Replay) -> None:
    _set(replay, Player(replay.player.speed, 0.0, time.monotonic()))


def _change_speed(replay: Replay) -> None:
    _set(replay, replay.player.at_speed(st.session_state[SPEED], time.monotonic(), replay.tape.seconds))


def _move(replay: Replay) -> None:
    _set(replay, replay.player.moved(st.session_state[POSITION], time.monotonic()))


def _set(replay: Replay, player: Player) -> None:
    """Go on with the player as changed, and make the address lead back to it."""
    replay.player = player
    st.query_params["replay"] = str(player.speed)
    if player.since is None:
        st.query_params["at"] = f"{player.position:.0f}"
    else:
        st.query_params.pop("at", None)


def _clock(seconds: float) -> str:
    """`1:05`, as players show it."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def subtitle(replay: Replay) -> str:
    """Model, device and how long it took."""
    record = replay.tape.record
    return f"{title_of(record.recipe.model, owner())} · {record.recipe.device} · took {duration(replay.tape.seconds)}"


def draw_run_replay(run_id: str) -> None:
    """A run of this store, played once more."""
    record = store().run(run_id)
    with st.container(gap=None):
        way_back = {"run": run_id} if record else {}
        label = "Back to the run" if record else "All runs"
        if st.button(label, icon=":material/arrow_back:", type="tertiary", key="back"):
            open_page("runs", **way_back)
        st.title(text.escape(record.title) if record else "Runs", anchor=False)
    if record is None or record.is_live:
        gone = f"There is no run {text.escape(run_id[:40])} here. It may have been deleted."
        st.warning("This run has not ended: there is nothing to replay yet." if record else gone)
        return
    replay = watched_tape(f"run {run_id} {record.ended_at}", lambda: _tape_of(record))
    draw_stamp(replay.tape.stamp, foreign=False)
    st.markdown(text.escape(subtitle(replay)))
    draw_replay(replay, lambda: _draw_way_back(record))


def _tape_of(record: RunRecord) -> Tape:
    found = result_of(store(), record)
    name = device_name(record, found)
    made = stamp(name, record.ended_at or record.created_at, found.conditions if found else None)
    return Tape.of(record, (each.event for each in store().events(record.id)), stamp=made, device_name=name)


def _draw_way_back(record: RunRecord) -> None:
    """At its end: why it ended so, or where its numbers are."""
    if record.error:
        st.error(text.escape(record.error), icon=":material/error:")
    if st.button("See its numbers", icon=":material/arrow_forward:", key="numbers"):
        open_page("runs", run=record.id)
