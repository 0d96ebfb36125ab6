"""What a run at work shows, whether it happens now or is replayed: steps, progress, the machine, curves and notes."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from core.progress import Note
from experiments.judging import of_record
from experiments.recipe_file import to_yaml
from experiments.run_record import RunRecord
from ui import text
from ui.curves import curve_kind
from ui.live import LiveView, duration, expected_curves, look_of
from ui.live_chart import option
from ui.state import is_dark
from ui.strip import Freshness, cells, draw_strip
from ui.theme import DARK, LIGHT

STEP_LOOKS = {
    "done": ("green", "check"),
    "current": ("blue", "play_arrow"),
    "stopped": ("red", "close"),
    "waiting": ("gray", "more_horiz"),
}
SHADES = "Shaded bands are the phases of the run, alike in every chart over its whole time; point at one for its name."
TIMED_SHADES = (
    " :orange[Orange bands with dashed edges] are timed: nothing is sampled there, so that nothing disturbs the timing."
)


def draw_steps(record: RunRecord, view: LiveView, *, now: float | None = None) -> None:
    """The phases in a line, and how far the current one is; `now`, if not this moment, is that of a replay."""
    badges = []
    state = "failed" if look_of(record)[0] == "not built" else record.state
    for step in view.steps(state, now=record.ended_at or now):
        colour, icon = STEP_LOOKS[step.state]
        took = f" {duration(step.seconds)}" if step.seconds is not None else ""
        badges.append(f":{colour}-badge[:material/{icon}: {text.escape(step.title)}{took}]")
    if badges:
        st.markdown(" ".join(badges))
    if record.state == "running":
        draw_progress(view, now=now)


def draw_progress(view: LiveView, *, now: float | None = None) -> None:
    """A bar for the current count, in words what is counted and when it will be complete."""
    progress = view.progress
    if progress is None:
        st.progress(0.0, "Working …")
        return
    left = view.seconds_left(now=now)
    words = (
        f"{progress.doing.capitalize() or 'Working'} · {progress.done:,.0f} of {progress.total:,.0f} {progress.unit}"
    )
    if left is not None:
        words += f" · about {duration(left) if left >= 10 else f'{max(1, round(left))} s'} left in this phase"
    share = progress.done / progress.total if progress.total else 0.0
    st.progress(min(1.0, max(0.0, share)), text.escape(words))


def draw_machine(record: RunRecord, view: LiveView, *, device_name: str, freshness: Freshness) -> None:
    """The machine in one row; nothing of a run of which no sample was kept."""
    if view.telemetry is None and not record.is_live:
        return
    on_gpu = record.recipe.device.startswith("cuda")
    rows = cells(view.telemetry, view.reasons, device_name=device_name, on_gpu=on_gpu)
    draw_strip(rows, freshness, sampled_at=view.sampled_at)


def draw_curves(record: RunRecord, view: LiveView, *, keys: list[str] | None = None, end: float | None = None) -> None:
    """Live curves, each in a place of its own from the start: of the given kinds, or those that the run has so far.

    `end` is the last second of a run at work whose length is known all the same: of a replay.
    """
    end = view.elapsed if end is None and not record.is_live else end
    colours, bands = DARK if is_dark() else LIGHT, view.bands()
    judging = of_record(record)
    kinds = [curve_kind(key, judging) for key in keys or expected_curves(record, view)]
    with st.grid(2 if len(kinds) in (2, 4) else 3, min_column_width=300):
        for kind in kinds:
            with st.container(border=True):
                st.echarts_chart(
                    option(
                        kind, view.curves(kind.key), seconds=view.elapsed, colours=colours, live=record.is_live,
                        bands=bands, end=end,
                    ),
                    height=200, key=f"curve-{kind.key}", alt=f"{kind.title} over time",
                )  # fmt: skip
    if bands:
        st.caption(SHADES + (TIMED_SHADES if any(band.timed for band in bands) else ""))


def draw_notes(notes: Iterable[Note]) -> None:
    """Facts worth keeping."""
    for note in notes:
        icon, colour = ("warning", "orange") if note.warning else ("info", "blue")
        st.markdown(f":{colour}[:material/{icon}:] {text.escape(note.text)}")


def draw_recipe(record: RunRecord) -> None:
    """The recipe, to read, keep and replay."""
    with st.expander("Recipe", key="recipe", icon=":material/description:"):
        st.code(to_yaml(record.recipe), language="yaml")
        st.download_button(
            "Download recipe.yaml", to_yaml(record.recipe), "recipe.yaml", icon=":material/download:", on_click="ignore"
        )
