"""The truth matrix on screen: what each variant is worth in each runtime, and where one stops being the same model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import streamlit as st

from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.truth import (
    COMPARED,
    Cell,
    Matrix,
    Sources,
    Variant,
    matrix,
    missing,
    subjects,
    variants_of,
)  # fmt: skip
from experiments.truth_words import fastest_in_words, headline
from profiling.fidelity import Fidelity
from runtimes import RUNTIMES
from ui import tables, text, truth_texts
from ui.comparison.missing import POLL_SECONDS
from ui.figures import truth as figures
from ui.figures.frame import PLAIN, shorten
from ui.live import duration
from ui.queue import enqueue_missing, live_runs, why_lost
from ui.state import is_dark, open_page, store
from ui.titles import distinct, of_models
from ui.truth_details import draw_details
from ui.truth_table import draw_table
from ui.truth_texts import ASPECTS, Aspect

SHOWN_AT_FIRST = 12
"""Variants drawn unasked, the newest ones."""
SHADED = "The stronger the blue, the better. ✓, ≈ and ✗ tell whether it still answers like its source."
STATE = st.session_state


def draw_truth() -> None:
    """The whole page below its title, or what to press first."""
    offered = subjects(store())
    if not offered:
        st.info("Nothing to compare yet: no run has finished.", icon=":material/info:")
        if st.button("Go to Optimise", type="primary", icon=":material/tune:", key="go-optimise"):
            open_page("optimise")
        return
    model, settings = choose(offered)
    variants = variants_of(store(), model, settings)
    chosen = pick(variants, key=f"{model}.{settings}")
    shown = matrix(variants, Sources(fidelity_of, store().ahead_result), keys=chosen)
    draw_headline(shown)
    draw_missing(shown)
    st.fragment(draw_matrix)(shown, f"{model}.{settings}")


@st.cache_data(max_entries=2000, show_spinner=False)
def fidelity_of(run_id: str) -> Fidelity | None:
    """How a finished run differs from its source; read once a server, since it never changes."""
    result = store().result(run_id)
    return result.fidelity if result else None


def choose(offered: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """A model, and the settings under which its variants were measured."""
    model_column, settings_column = st.columns(2)
    models = of_models(model for model, _ in offered)
    wanted = st.query_params.get("model")
    index = list(models).index(wanted) if wanted in models else 0
    model = model_column.selectbox("Model", list(models), index, format_func=models.__getitem__, key="truth.model")
    st.query_params["model"] = model
    settings = settings_column.selectbox(
        "Measured on", [settings for each, settings in offered if each == model],
        format_func=tables.settings_in_words, key=f"truth.settings.{model}",
        help="Only what was measured alike is comparable.",
    )  # fmt: skip
    return model, settings


def pick(variants: Mapping[str, Variant], *, key: str) -> list[str]:
    """Keys of those of the variants that the person wants to see, the untouched model left out."""
    titles = distinct({each: variant.title for each, variant in list(variants.items())[1:]})
    if not titles:
        return []
    return st.multiselect(
        "Variants", list(titles), list(titles)[-SHOWN_AT_FIRST:], format_func=titles.__getitem__,
        key=f"truth.variants.{key}", help="The untouched model, FP32, is always there.",
    )  # fmt: skip


def draw_headline(shown: Matrix) -> None:
    """What the matrix says, in words."""
    states = {cell.state for cell in shown.cells}
    icon, draw = (
        (":material/report:", st.error) if "differs" in states
        else (":material/check_circle:", st.success) if states & set(COMPARED)
        else (":material/info:", st.info)
    )  # fmt: skip
    draw(f"**{text.escape(headline(shown))}**  \n{text.escape(fastest_in_words(shown))}", icon=icon)


def draw_missing(shown: Matrix) -> None:
    """Buttons that queue what is missing, and how much of it is under way."""
    lacking = missing(shown)
    older = [cell.recipe for cell in shown.cells if cell.state == "not compared" and not why_lost(cell.recipe)]
    live = live_runs(store(), [cell.recipe for cell in shown.cells] + lacking)
    idle = [recipe for recipe in lacking if recipe.digest not in live]
    stale = [recipe for recipe in older if recipe.digest not in live]
    if not (idle or stale or live):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if idle and st.button(
            f"Run the missing {len(idle)}" if len(idle) > 1 else "Run the missing one",
            icon=":material/play_arrow:", key="truth-run", type="primary",
            help="Every variant in each runtime where it can run, with what it is compared with; each once.",
        ):  # fmt: skip
            enqueue_missing(store(), idle)
            st.rerun()
        if stale and st.button(
            f"Run {len(stale)} again", icon=":material/replay:", key="truth-again",
            help="Those that were measured before answers were compared with the source network.",
        ):  # fmt: skip
            enqueue_again(stale)
            st.rerun()
        if live:
            st.fragment(draw_at_work, run_every=POLL_SECONDS)([record.id for record in live.values()])
            if st.button("Open Runs", icon=":material/arrow_forward:", key="truth-runs"):
                open_page("runs")


def enqueue_again(recipes: Sequence[Recipe]) -> None:
    """Queue recipes although they have finished before."""
    for recipe in recipes:
        store().enqueue(recipe)


def draw_at_work(run_ids: Sequence[str]) -> None:
    """How many of these runs wait or run; the whole page again once one of them has begun or ended."""
    records = [record for run_id in run_ids if (record := store().run(run_id))]
    states = {record.id: record.state for record in records if record.is_live}
    if STATE.setdefault("truth.live", states) != states:
        STATE["truth.live"] = states
        st.rerun()
    st.caption(at_work([record for record in records if record.is_live]), width="content")


def at_work(records: Sequence[RunRecord]) -> str:
    """`2 runs wait; INT8 · OpenVINO runs for 12 s.`"""
    waiting = sum(record.state == "queued" for record in records)
    waits = f"{waiting} {'run waits' if waiting == 1 else 'runs wait'}" if waiting else ""
    running = [
        f"{text.escape(record.title)} runs for {duration(time.time() - (record.started_at or record.created_at))}"
        for record in records if record.state == "running"
    ]  # fmt: skip
    return "; ".join(filter(None, [waits, *running])) + "."


def draw_matrix(shown: Matrix, subject: str) -> None:
    """One aspect of every cell, the details of the chosen one, and all figures as a table."""
    offered = truth_texts.aspects(truth_texts.judging_in(shown))
    key = st.segmented_control(
        "What to show", list(offered), default="agreement", required=True, format_func=lambda each: offered[each].title,
        key="truth.aspect", persist_state="session", label_visibility="collapsed",
    )  # fmt: skip
    aspect = offered[key]
    st.caption(aspect.help)
    cell = chosen_cell(shown, subject)
    draw_chart(shown, aspect, cell, subject)
    st.markdown(truth_texts.legend(shown) if key == "agreement" else f":small[{SHADED}]")
    if key == "latency":
        st.caption(truth_texts.against(shown))
    if unusual := truth_texts.unusual(shown):
        st.caption(text.escape(unusual))
    draw_choice(shown, subject)
    draw_details(shown, cell)
    draw_table(shown)


def chosen_cell(shown: Matrix, subject: str) -> Cell:
    """The one picked; at first the one in the address, else one that differs, else the first that was compared."""
    row, runtime = STATE.get(f"truth.row.{subject}"), STATE.get(f"truth.runtime.{subject}")
    if row is None:
        row, runtime = st.query_params.get("variant"), st.query_params.get("runtime")
    found = next(
        (cell for each in shown.rows if each.key == row for cell in each.cells if cell.runtime == runtime), None
    )
    order = ("differs", "within", "same")
    cell = found or min(shown.cells, key=lambda cell: order.index(cell.state) if cell.state in order else len(order))
    choose_cell(shown, cell, subject)
    return cell


def choose_cell(shown: Matrix, cell: Cell, subject: str) -> None:
    """Set both controls and the address to the cell."""
    row = next(row for row in shown.rows if any(each is cell for each in row.cells))
    STATE[f"truth.row.{subject}"], STATE[f"truth.runtime.{subject}"] = row.key, cell.runtime
    st.query_params.from_dict({**st.query_params.to_dict(), "variant": row.key, "runtime": cell.runtime})


def draw_chart(shown: Matrix, aspect: Aspect, chosen: Cell, subject: str) -> None:
    """The matrix; a click chooses a cell."""
    places = {(place, column): cell for place, row in enumerate(shown.rows) for column, cell in enumerate(row.cells)}
    at = next(place for place, cell in places.items() if cell is chosen)
    chart = f"truth.chart.{subject}.{at}"  # anew after each choice, so that the same cell can be clicked again

    def choose_clicked() -> None:
        for point in STATE[chart].selection.points:
            row, column = clicked(point["customdata"])
            choose_cell(shown, places[row, column], subject)

    figure = figures.matrix(
        tiles_of(shown, aspect), rows=[row.title for row in shown.rows], chosen=at, dark=is_dark(),
        columns=[RUNTIMES[cell.runtime].title for cell in shown.rows[0].cells],
    )  # fmt: skip
    st.plotly_chart(
        figure, key=chart, on_select=choose_clicked, selection_mode="points", config=PLAIN,
        alt=f"{aspect.title} of each variant in each runtime",
    )  # fmt: skip


def clicked(data: Sequence[int] | Mapping[str, int]) -> tuple[int, int]:
    """Row and column of a point, which come as a list or with their places as keys."""
    row, column = data.values() if isinstance(data, Mapping) else data
    return int(row), int(column)


def tiles_of(shown: Matrix, aspect: Aspect) -> list[list[figures.Tile]]:
    """Every cell as it is drawn."""
    values = [aspect.value(cell) for cell in shown.cells]
    shades = iter(figures.shades(values, less_is_better=aspect.less_is_better))
    return [[_tile(shown, cell, aspect, next(shades)) for cell in row.cells] for row in shown.rows]


def _tile(shown: Matrix, cell: Cell, aspect: Aspect, shade: float | None) -> figures.Tile:
    by_verdict = aspect is ASPECTS["agreement"] and cell.state in COMPARED
    return figures.Tile(
        lines=truth_texts.cell_lines(cell, shown, aspect),
        hover=f"<b>{shorten(cell.place, 60)}</b><br>{_broken(truth_texts.hover(cell))}",
        verdict=cell.state if by_verdict else "",
        shade=shade,
        hatched=cell.state in ("does not fit", "not here", "failed"),
    )


def _broken(words: str, longest: int = 60) -> str:
    """The words in lines, harmless to plotly."""
    lines = [""]
    for word in shorten(words, 400).split():
        joined = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], joined] if len(joined) <= longest else [*lines, word]
    return "<br>".join(lines)


def draw_choice(shown: Matrix, subject: str) -> None:
    """The chosen cell, for the keyboard."""
    left, right = st.columns(2)
    titles = distinct({row.key: row.title for row in shown.rows})
    left.selectbox("Variant", list(titles), format_func=titles.__getitem__, key=f"truth.row.{subject}")
    right.selectbox(
        "Runtime", list(RUNTIMES), format_func=lambda key: RUNTIMES[key].title, key=f"truth.runtime.{subject}"
    )
