"""The path under an accuracy limit: its measured points, and the way to any of them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.errors import StudioError
from core.quantization import FLOAT_BITS, Path, PathPoint
from experiments.judging import of_record
from experiments.models import is_here
from experiments.quantization_path import kept_at, point_at, recipe_at
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from ui import text
from ui.figures.frame import PLAIN
from ui.figures.quantization_path import path_figure
from ui.queue import enqueue
from ui.state import open_page, store


def draw_path(path: Path, record: RunRecord, *, colour: str, ink: str) -> None:
    """The points, a slider over them, and the variant that another one would be."""
    steps = steps_in_words(path)
    judged = path.float_correct is not None and of_record(record).has_labels
    kept = "float" if path.float_correct is None else "untouched"
    what = "accuracy" if judged else f"agreement with the {kept} network"
    st.markdown(
        f"The limit was a loss of **{path.limit_points:g}** percentage points of {what}. It takes **{path.chosen} of "
        f"{len(path.order)}** {steps.lower()}."
    )
    place = st.container()
    shown = st.select_slider(
        f"{steps}: measured points", [point.upgrades for point in path.points], path.chosen,
        key=f"quantization.point.{record.id}", help="Moves the filled marker; the ring is the network of this run.",
    )  # fmt: skip
    figure = path_figure(path, shown, steps=steps, judged=judged, colour=colour, ink=ink)
    with place:
        st.plotly_chart(figure, key=f"quantization.path.{record.id}", config=PLAIN, alt="Loss and latency on the path")
    draw_point(path, shown, judged=judged)
    draw_maker(path, shown, record)
    st.caption(
        f"On {path.points[0].images:,} calibration images, which the test images share nothing with. Whiskers: one "
        "standard error of the loss; a point keeps the limit where its upper end stays below the line. Latency was "
        "timed for a fraction of a second each: read a trend from it, not a difference of two points."
    )
    with st.expander("Points as a table", key=f"quantization.points.{record.id}"):
        st.dataframe(points_table(path), hide_index=True, column_config=COLUMNS, placeholder="n/a", alt="Points")


COLUMNS = {
    "steps": st.column_config.NumberColumn("Steps", help="Layers given more bits, the one that hurts most first."),
    "added": st.column_config.TextColumn("Gets more bits", help="Since the point before."),
    "lost": st.column_config.NumberColumn("Lost", format="%.2f points"),
    "margin": st.column_config.NumberColumn("Standard error", format="%.2f points"),
    "agreement": st.column_config.NumberColumn("Agreement", format="%.2f %%", help="With the float network."),
    "p50_ms": st.column_config.NumberColumn("p50", format="%.3f ms", help="Timed for a fraction of a second."),
    "size": st.column_config.NumberColumn("Size", format="%.2f MiB"),
    "is_chosen": st.column_config.CheckboxColumn("Chosen"),
}


def steps_in_words(path: Path) -> str:
    """What the path counts: layers where each takes one step, else steps."""
    if all(step.to_bits == FLOAT_BITS and step.from_bits == 8 for step in path.order):
        return "Layers kept in float"
    return "Steps to more bits"


def draw_point(path: Path, shown: int, *, judged: bool) -> None:
    """What a point keeps, and its figures beside the chosen one's."""
    point, chosen = point_at(path, shown), point_at(path, path.chosen)
    differs = shown != path.chosen
    with st.container(horizontal=True):
        lost, before = (each.lost_points(path.float_correct) for each in (point, chosen))
        _metric(
            "Accuracy lost" if judged else "Agreement lost",
            f"{lost:.2f} ± {point.margin_points:.2f} points", f"{lost - before:+.2f} points" if differs else "",
        )  # fmt: skip
        if point.p50_ms is not None:
            change = f"{point.p50_ms - chosen.p50_ms:+.3f} ms" if differs and chosen.p50_ms is not None else ""
            _metric("Latency p50, timed briefly", text.milliseconds(point.p50_ms), change)
        change = f"{100 * (point.size_bytes / chosen.size_bytes - 1):+.1f} %" if differs else ""
        _metric("File size", text.data_size(point.size_bytes), change)
    kept = kept_at(path, shown)
    for title, layers in (("In float", kept.in_float), ("In 8 bits", kept.in_8_bits)):
        if layers:
            st.markdown(f"**{title}** ({len(layers)}): {text.escape(', '.join(layers))}")
    if not (kept.in_float or kept.in_8_bits):
        st.markdown("Everything is quantized at this point.")


def _metric(label: str, value: str, change: str) -> None:
    """A number with its difference to the chosen point, in grey: none of these is tested."""
    change = f"{change} against the chosen one" if change else "the chosen point"
    st.metric(label, value, change, delta_color="gray", delta_arrow="off", border=True, height="stretch")


def draw_maker(path: Path, shown: int, record: RunRecord) -> None:
    """The button that makes a variant of the point, or why there is none to make."""
    recipe, reason = other_recipe(path, shown, record)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Make this variant", icon=":material/add_circle:", disabled=recipe is None,
            key=f"quantization.make.{record.id}",
            help="Queues this run's recipe with exactly these layers kept and no search, measured in full.",
        )  # fmt: skip
        if reason:
            st.caption(text.escape(reason), width="content")
    if pressed and recipe:
        open_page("runs", run=enqueue(store(), recipe))


def other_recipe(path: Path, shown: int, record: RunRecord) -> tuple[Recipe | None, str]:
    """The recipe of a point, or None with the reason."""
    if shown == path.chosen:
        return None, "This run is that variant: move the slider to another point."
    if not is_here(record.recipe.model):
        return None, "The model of this run is not here any more."
    try:
        return recipe_at(record.recipe, path, shown), ""
    except StudioError as error:
        return None, str(error)


def points_table(path: Path) -> pd.DataFrame:
    """One row a measured point."""
    before = [0, *(point.upgrades for point in path.points)]
    return pd.DataFrame([_row(path, point, start) for point, start in zip(path.points, before, strict=False)])


def _row(path: Path, point: PathPoint, start: int) -> dict[str, object]:
    added = [f"{step.layer} ({step.from_bits} to {_bits(step.to_bits)})" for step in path.order[start : point.upgrades]]
    return {
        "steps": point.upgrades,
        "lost": point.lost_points(path.float_correct),
        "margin": point.margin_points,
        "agreement": 100 * point.agreed / point.images,
        "p50_ms": point.p50_ms,
        "size": point.size_bytes / text.MIB,
        "is_chosen": point.upgrades == path.chosen,
        "added": ", ".join(added),
    }


def _bits(bits: int) -> str:
    return "float" if bits == FLOAT_BITS else str(bits)
