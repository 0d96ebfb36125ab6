"""What to do about a profile: cards in order of worth, each with its promise and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import streamlit as st

from experiments.advice import GROUNDS, Advice, advise, left_out, why_none
from experiments.judging import of_record
from experiments.promise import Figures, Verdict, figures_of, figures_of_profile, in_words, outcome
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.scan import ScanResult
from ui import text
from ui.profile.subject import Subject
from ui.queue import enqueue, enqueue_missing, live_runs
from ui.state import open_page, store

STYLE = """<style>
.st-key-advice-cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); }
.st-key-advice-cards > div, .st-key-advice-cards > div > div { height: 100%; }
</style>"""
"""Three cards side by side on a wide page, one on a narrow one."""
LOOKED_AT = 100
"""Runs of the model among which a scan is looked for, the newest."""
COLOURS: Mapping[Verdict, Literal["green", "red", "gray"]] = {"kept": "green", "broken": "red", "unclear": "gray"}
ICONS: Mapping[Verdict, str] = {
    "kept": ":material/check:",
    "broken": ":material/close:",
    "unclear": ":material/question_mark:",
}
WORDS: Mapping[Verdict, str] = {"kept": "kept", "broken": "not kept", "unclear": "unclear"}
HELP = (
    "Each of these follows from something measured in this profile, and opens as a recipe with everything set. What it "
    "promises is computed from measured values and discounted; a run tells whether the promise is kept. Accuracy is "
    "promised only where a sensitivity scan measured what a layer loses."
)


def draw(subject: Subject) -> None:
    """The section."""
    st.subheader("What to do about it", help=HELP)
    scan = newest_scan(subject.recipe.model)
    found = advise(subject.result, subject.recipe, scan=scan)
    if silenced := left_out(subject.result):
        st.caption(text.escape(silenced))
    if not found:
        st.info(text.escape(why_none(subject.result, subject.recipe)), icon=":material/info:")
        return
    st.html(STYLE)
    live = live_runs(store(), [advice.recipe for advice in found])
    with st.container(key="advice-cards"):
        for number, advice in enumerate(found, start=1):
            draw_card(number, advice, subject, live.get(advice.recipe.digest))
    st.space("small")


def newest_scan(model: str) -> ScanResult | None:
    """The newest finished scan of the model that rounded layers to INT8."""
    records = store().runs(states=("finished",), model=model, limit=LOOKED_AT)
    for record in records:
        if record.study and record.study.kind == "scan" and "int8" in record.study.changes:
            return store().scan_result(record.id)
    return None


def draw_card(number: int, advice: Advice, subject: Subject, live: RunRecord | None) -> None:
    """One advice, and what came of it where its recipe has run."""
    with st.container(border=True, height="stretch", gap="small", key=f"advice-{advice.key}"):
        st.markdown(f"**{number}. {text.escape(advice.title)}**")
        st.markdown(text.escape(advice.fact))
        st.caption(text.escape(advice.why))
        source = f" Measured: {GROUNDS[advice.ground]}."
        words = in_words(advice.promise, before(advice, subject).get(advice.promise.measure)) or advice.promise.words
        promise = words[0].upper() + words[1:]
        st.markdown(
            f":material/flag: **{text.escape(promise)}**", help=text.escape(f"Promised. {advice.promise.basis}{source}")
        )
        if finished := store().finished_before(advice.recipe):
            draw_outcome(advice, finished, subject)
        draw_buttons(advice, subject, live, is_tried=finished is not None)


def draw_outcome(advice: Advice, finished: RunRecord, subject: Subject) -> None:
    """Whether the promise was kept, and the way to the run."""
    if finished.summary is None:
        return
    counted_from = reference_of(advice, subject)
    is_disturbed = finished.summary.is_disturbed or bool(
        counted_from and counted_from.summary and counted_from.summary.is_disturbed
    )
    found = outcome(
        advice.promise, before(advice, subject), figures_of(finished.summary), judging=of_record(finished),
        is_disturbed=is_disturbed,
    )  # fmt: skip
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.badge(f"tried: {WORDS[found.verdict]}", color=COLOURS[found.verdict], icon=ICONS[found.verdict])
        if st.button("Open the run", key=f"advice-run-{advice.key}", type="tertiary"):
            open_page("runs", run=finished.id)
        if st.button("Compare", key=f"advice-compare-{advice.key}", type="tertiary"):
            open_page("compare", model=advice.recipe.model)
    st.caption(text.escape(found.sentence))


def before(advice: Advice, subject: Subject) -> Figures:
    """What the promise counts from: the finished run of what was profiled, else the profile itself."""
    finished = reference_of(advice, subject)
    if finished and finished.summary:
        return figures_of(finished.summary)
    return {} if advice.reference else figures_of_profile(subject.result)


def reference_of(advice: Advice, subject: Subject) -> RunRecord | None:
    """The finished run that the promise counts from; None without one."""
    return store().finished_before(advice.reference or subject.recipe)


def draw_buttons(advice: Advice, subject: Subject, live: RunRecord | None, *, is_tried: bool) -> None:
    """The recipe on the Optimise page, or at work at once."""
    with st.container(horizontal=True, gap="small"):
        if st.button(
            "Open in Optimise",
            key=f"advice-open-{advice.key}",
            icon=":material/tune:",
            help="Opens the recipe with all of this set, to look at or to change.",
        ):
            st.session_state["optimise.open"] = advice.recipe
            open_page("optimise")
        if live:
            if st.button("At work", key=f"advice-live-{advice.key}", icon=":material/arrow_forward:"):
                open_page("runs", run=live.id)
        elif not is_tried and st.button(
            "Run it",
            key=f"advice-now-{advice.key}",
            icon=":material/play_arrow:",
            help="Queues the recipe with what it is compared with.",
        ):
            open_page("runs", run=run_it(advice.recipe, advice.reference or subject.recipe))


def run_it(recipe: Recipe, reference: Recipe) -> str:
    """Queue the recipe, and before it what its promise counts from; the recipe's run id."""
    enqueue_missing(store(), [reference])
    return enqueue(store(), recipe)
