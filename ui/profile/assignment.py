"""Layer by layer, INT8 or FP32: choose on a scatter, see what to expect, run it, and see what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.scan import Scan
from experiments.assignment import (
    Ledger,
    Loss,
    Outcome,
    Prediction,
    base_of,
    farthest_off,
    is_int8,
    is_untouched,
    ledger,
    outcome,
    recipe_for,
)
from experiments.checking import why_refused
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.run_record import RunRecord
from ui import tables, text
from ui.figures import assignment as figures
from ui.figures.frame import PLAIN
from ui.profile.assignment_outcomes import draw_outcomes
from ui.profile.subject import Subject
from ui.queue import enqueue, live_runs
from ui.state import ink, open_page, store

STATE = st.session_state
MOST_RUNS = 200
"""Of a model, among which runs in INT8 are looked for, the newest."""
COLOUR = "#D97706"
TOOLS = {"displayModeBar": True, "displaylogo": False, "modeBarButtons": [["lasso2d", "select2d"]]}
"""Plotly's configuration: the two ways of drawing around layers, and no other button."""
READING = (
    "Each disc is a layer, its area by its parameters. Right: much is saved by computing it in INT8. Up: it alone "
    "loses much. Draw around layers (lasso, or box in the chart's menu) to put just these in INT8, click one to add or "
    "take it away, or name them below."
)
ESTIMATED = (
    "No run has computed {which} in INT8 yet. Their savings are **estimated**: the layer's time by the ratio of the "
    "rates that were probed for FP32 and INT8. Without a run, conversions and slower kernels are not in it."
)
ASSUMES = (
    "Savings are measured, layer by layer, between the profile of the untouched network and an INT8 run in the same "
    "engine; losses come from the scan. Both are added up, and every change between INT8 and FP32 on the way through "
    "the network is charged one conversion as that run had them. Errors may cancel out or amplify one another, engines "
    "fuse across layers, and calibration images are not test images: that is why it is run and compared below."
)


@dataclass(frozen=True)
class _Known:
    """All that the predictions rest on, and all that they can be compared with."""

    ledger: Ledger
    records: tuple[RunRecord, ...]
    """Finished runs in INT8 alone, one for each recipe, the newest."""
    results: dict[str, RunResult]
    base: str | None
    """Of the run that the measured savings come from; None without one."""
    reference: RunResult | None

    @property
    def outcomes(self) -> list[Outcome]:
        """Of every finished run, in the order of the records."""
        titles = tables.unique_titles(list(self.records))
        return [
            outcome(
                record.id, titles[record.id], self.results[record.id], self.ledger, reference=self.reference,
                is_base=record.id == self.base,
            )
            for record in self.records
        ]  # fmt: skip


def draw_assignment(subject: Subject, scan: Scan) -> None:
    """The whole block, or what is missing for it."""
    st.subheader("A precision for each layer")
    recipe = subject.recipe
    everything = recipe_for(recipe, scan.layers, scan.layers)
    if recipe.techniques:
        st.info("Choose the untouched network above: precisions are assigned to its layers.", icon=":material/info:")
    elif "int8" not in scan.changes:
        st.info("The scan has no INT8 in it. Add that change under **What to scan**.", icon=":material/info:")
    elif reason := why_refused(everything):
        st.info(f"INT8 does not fit here: {text.escape(reason)}", icon=":material/info:")
    elif known := known_of(subject, scan):
        draw_known(subject, scan, known)
    else:
        words = (
            "**One run with all layers in INT8 is needed first**: what each layer saves is measured in it, and without "
            "probed rates it cannot be estimated before."
        )
        draw_first_run(everything, words=words)


def known_of(subject: Subject, scan: Scan) -> _Known | None:
    """What finished runs in INT8 tell, and the probed rates; None where nothing is known of any layer."""
    recipe = subject.recipe
    measured_alike = store().variants(recipe.model, recipe.settings, limit=MOST_RUNS)
    records = tuple(record for record in measured_alike if is_int8(record.recipe, recipe))
    results = {record.id: result for record in records if (result := result_of(record.id))}
    records = tuple(record for record in records if record.id in results)
    base = base_of(results)
    found = ledger(
        subject.result.layers, subject.result.latency.p50_ms, scan, int8=results[base] if base else None,
        peaks=subject.result.peaks if subject.result.precision == "fp32" else None,
    )  # fmt: skip
    before = next((each for each in measured_alike if is_untouched(each.recipe, recipe)), None)
    return _Known(found, records, results, base, result_of(before.id) if before else None) if found else None


@st.cache_resource(max_entries=100, show_spinner=False)
def result_of(run_id: str) -> RunResult | None:
    """Everything that a finished run measured, read once."""
    return store().result(run_id)


def draw_first_run(everything: Recipe, *, words: str) -> None:
    """What is missing, and the run in which it is measured."""
    with st.container(border=True):
        st.markdown(words)
        if everything.digest in live_runs(store(), [everything]):
            st.caption("It waits or runs. Come back here when it has finished.")
        elif st.button(
            "Run INT8 in all layers", key="assign.first", icon=":material/play_arrow:", type="primary",
            help="Measured in full, beside what it is compared with.",
        ):  # fmt: skip
            open_page("runs", run=enqueue(store(), everything))


def draw_estimates(known: _Known, everything: Recipe) -> None:
    """Which savings no run measured."""
    missing = [gain.name for gain in known.ledger.gains if not gain.is_measured]
    if len(missing) == len(known.ledger.gains):
        draw_first_run(everything, words=ESTIMATED.format(which="these layers"))
    elif missing:
        which = f"{len(missing)} of {len(known.ledger.gains)} layers ({text.escape(', '.join(missing[:4]))})"
        st.caption(f":material/info: {ESTIMATED.format(which=which)}")


def draw_known(subject: Subject, scan: Scan, known: _Known) -> None:
    """The scatter, the frontier, the choice with its prediction, and the runs beside theirs."""
    names = known.ledger.names
    key = f"assign.chosen.{subject.record.id}.{known.base}"
    STATE.setdefault(key, list(names))
    draw_estimates(known, recipe_for(subject.recipe, scan.layers, scan.layers))
    loss: Loss = st.segmented_control(
        "What is lost", list(figures.losses_of(known.ledger)), default=usual_loss(known.ledger), required=True,
        format_func=lambda each: figures.LOSSES[each].title, key=f"{key}.loss",
        help="Divergence sees a loss of confidence before any answer changes, and tells layers apart that change none.",
    )  # fmt: skip
    st.caption(READING)
    left, right = st.columns(2)
    with left, st.container(border=True):
        draw_scatter(known.ledger, loss, key)
    with right, st.container(border=True):
        st.plotly_chart(
            figures.frontier(known.ledger, STATE[key], loss, colour=COLOUR, ink=ink()), key=f"{key}.frontier",
            config=PLAIN, alt="Predicted latency against predicted loss",
        )  # fmt: skip
    draw_budget(known.ledger, loss, key)
    chosen = st.multiselect("Layers in INT8", list(names), key=key, placeholder="none: everything stays in FP32")
    outcomes = known.outcomes
    expected = known.ledger.predict(chosen)
    draw_prediction(known, expected, farthest_off(outcomes))
    draw_way_out(known, expected, recipe_for(subject.recipe, chosen, scan.layers))
    draw_outcomes(known.records, outcomes, known.ledger)


def usual_loss(found: Ledger) -> Loss:
    """Changed answers where they tell most layers apart, else the divergence."""
    changing = sum(gain.changed_share > 0 for gain in found.gains)
    return "changed_share" if 2 * changing > len(found.gains) else "divergence"


def draw_scatter(found: Ledger, loss: Loss, key: str) -> None:
    """The layers to draw around."""
    chart = f"{key}.scatter.{loss}.{STATE.get(f'{key}.drawn', 0)}"

    def take_drawn() -> None:
        selection = STATE[chart].selection
        places = {int(_first(point["customdata"])) for point in selection.points}
        if places:
            is_drawn = bool(selection.get("lasso") or selection.get("box"))
            STATE[key] = taken([found.names[place] for place in sorted(places)], STATE[key], is_drawn=is_drawn)
            STATE[f"{key}.drawn"] = STATE.get(f"{key}.drawn", 0) + 1

    st.plotly_chart(
        figures.scatter(found, STATE[key], loss, colour=COLOUR, ink=ink()), key=chart, on_select=take_drawn,
        selection_mode=("points", "box", "lasso"), config=TOOLS, alt="ms saved against what is lost, layer by layer",
    )  # fmt: skip


def taken(picked: Sequence[str], chosen: Sequence[str], *, is_drawn: bool) -> list[str]:
    """What is chosen afterwards: just the layers drawn around, or one more or less where a single one was clicked."""
    if is_drawn:
        return list(picked)
    return [*(name for name in chosen if name not in picked), *(name for name in picked if name not in chosen)]


def _first(data: Any) -> Any:
    """A point's number, which comes bare, in a list, or with its place as key."""
    if isinstance(data, Mapping):
        return next(iter(data.values()))
    return data[0] if isinstance(data, list) else data


def draw_budget(found: Ledger, loss: Loss, key: str) -> None:
    """Let the studio choose: the fastest within a budget of what may be lost."""
    known = figures.LOSSES[loss]
    budgets = budgets_of(found, loss)
    start = start_of(budgets, found.predict(STATE[key]).loss(loss))
    slider, button = st.columns([4, 1.6], vertical_alignment="bottom")
    budget = slider.select_slider(
        "For **Choose for me**: lose at most", budgets, start, format_func=known.in_words,
        key=f"{key}.budget.{loss}", help="It acts when Choose for me is pressed. Predicted for the whole choice. The "
        "steps are those of the curve above, each with one layer more, and what all layers lose.",
    )  # fmt: skip
    button.button(
        "Choose for me", key=f"{key}.choose", icon=":material/auto_awesome:", width="stretch",
        help="The fastest choice on the curve that is predicted to lose no more.",
        on_click=lambda: STATE.__setitem__(key, list(found.best_within(loss, budget))),
    )  # fmt: skip


def budgets_of(found: Ledger, loss: Loss) -> list[float]:
    """What each choice of the curve is expected to lose, and what all layers lose, in ascending order."""
    return sorted({max(0.0, found.predict(each).loss(loss)) for each in (*found.frontier(loss), found.names)})


def start_of(budgets: Sequence[float], lost: float) -> float:
    """The smallest budget that allows what is lost now; the largest where none does."""
    return next((each for each in budgets if each >= lost), budgets[-1])


def draw_prediction(known: _Known, expected: Prediction, off: float | None) -> None:
    """What the choice is expected to give."""
    speedup = known.ledger.float_ms / expected.ms
    estimated = f", {expected.estimated} estimated" if expected.estimated else ""
    so_far = "" if off is None else f" Runs so far were at most {100 * off:.0f} % off."
    images = f"of {known.ledger.images:,} calibration images"
    with st.container(horizontal=True):
        _metric(
            "Predicted latency", text.milliseconds(expected.ms), f"{speedup:.2f}x as fast as FP32", ASSUMES + so_far
        )
        if off is not None:
            low, high = (text.milliseconds(expected.ms * share).removesuffix(" ms") for share in (1 - off, 1 + off))
            _metric(
                "As far off as runs so far", f"{low} to {high} ms", f"± {100 * off:.0f} %",
                "The largest difference between a predicted and a measured latency among the runs below.",
            )  # fmt: skip
        if known.ledger.has_labels:
            lost = _points(expected.lost_points)
            _metric("Predicted accuracy lost", lost, images, "Sum of what each layer loses alone.")
        _metric(
            "Predicted answers changed", text.share(expected.changed_share), images, "Sum of what each changes alone."
        )  # fmt: skip
        _metric(
            "Layers in INT8", f"{expected.chosen} of {len(known.ledger.gains)}",
            f"{figures.LOSSES['divergence'].in_words(expected.divergence)}{estimated}",
            "Below: the predicted divergence, the sum over the layers.",
        )  # fmt: skip


def _points(lost: float) -> str:
    return "none" if not lost else f"{lost:.2f} points" if lost > 0 else f"gains {-lost:.2f} points"


def _metric(label: str, value: str, below: str, help: str) -> None:
    st.metric(label, value, below, delta_color="gray", delta_arrow="off", border=True, height="stretch", help=help)


def draw_way_out(known: _Known, expected: Prediction, recipe: Recipe) -> None:
    """Run the choice, or take it to the Optimise page; where it was run, to that run."""
    reason = "Nothing is in INT8." if not expected.chosen else why_refused(recipe)
    finished = next((each for each in known.records if each.recipe.techniques == recipe.techniques), None)
    at_work = live_runs(store(), [recipe]).get(recipe.digest)
    with st.container(horizontal=True, vertical_alignment="center"):
        if record := at_work or finished:
            label = "This choice is at work: open it" if at_work else "This choice has been run: open it"
            if st.button(label, key="assign.see", icon=":material/arrow_forward:"):
                open_page("runs", run=record.id)
        elif st.button("Run it", key="assign.run", type="primary", icon=":material/play_arrow:", disabled=bool(reason),
                       help=reason or "Queues this choice with what it is compared with."):  # fmt: skip
            open_page("runs", run=enqueue(store(), recipe))
        if st.button("Open in Optimise", key="assign.open", icon=":material/tune:", disabled=bool(reason),
                     help=reason or None):  # fmt: skip
            STATE["optimise.open"] = recipe
            open_page("optimise")
        if reason:
            st.caption(text.escape(reason), width="content")
