"""Where the time, the memory and the parameters of one network go, and what to do about it."""

import streamlit as st

from experiments.profile import ProfileResult
from experiments.recipe import why_refused
from experiments.store import RunRecord
from experiments.why_format import percent
from ui import tables, text
from ui.profile import graph, layers, numbers, overview, roofline, sensitivity
from ui.profile.choice import Choice, choose, open_profile, why_unprofiled
from ui.profile.subject import Subject
from ui.state import store
from ui.study_view import draw_request, draw_work

SECTIONS = {
    "Overview": overview.draw,
    "Layers": layers.draw,
    "Roofline": roofline.draw,
    "Memory and numbers": numbers.draw,
    "Graph": graph.draw,
    "Sensitivity": sensitivity.draw,
}
HELP = "Takes about 15 seconds: latency, the time of every layer, what this device attains, and what the network is."
MOST_LISTED = 6


@st.cache_resource(max_entries=8, show_spinner=False)
def result_of(run_id: str) -> ProfileResult | None:
    """What a profile found, read once."""
    return store().profile_result(run_id)


def draw_empty(choice: Choice) -> None:
    """What a profile would show, the button, and the profiles of this model that are there."""
    with st.container(border=True):
        st.markdown(
            "**Not profiled yet.** A profile shows which layers take the time, what bounds each of them, where memory "
            "and parameters go, and what to do about it. It takes about 15 seconds."
        )
        if reason := why_unprofiled(choice.recipe, choice.device) or why_refused(choice.recipe):
            st.info(text.escape(reason), icon=":material/info:")
        else:
            draw_request(choice.study, choice.recipe, label="Profile it", key="profile-it", help=HELP)
    others = store().profiles(choice.recipe.model, limit=MOST_LISTED)
    if others:
        st.caption("Profiles of this model that are there:")
    with st.container(gap="xxsmall"):
        for record in others:
            draw_link(record)


def draw_link(record: RunRecord) -> None:
    """The way to a profile that is there."""
    label = f"{text.escape(record.recipe.title)} · batch size {record.recipe.measurement.batch_size}"
    when = text.ago(record.ended_at or record.created_at)
    st.button(
        f"{label} · {when}", key=f"open-{record.id}", type="tertiary", icon=":material/arrow_forward:",
        on_click=open_profile, args=(record,),
    )  # fmt: skip


def draw_profile(choice: Choice, subject: Subject, *, at_work: bool) -> None:
    """When and where it was made, the way to make it anew, and its sections."""
    found = subject.result.conditions
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(
            text.escape(
                f"Profiled {text.ago(subject.record.ended_at or subject.record.created_at)} on {found.device_name}, "
                f"{found.threads} {'thread' if found.threads == 1 else 'threads'}, batch size "
                f"{subject.result.latency.batch_size}, {tables.value_title(subject.result.precision)}"
            ),
            width="content",
        )
        if not at_work:
            draw_request(
                choice.study, choice.recipe, label="Profile again", key="profile-again", help=HELP, primary=False
            )
    if subject.result.latency.is_contended:
        waited = percent(subject.result.latency.contended_share or 0)
        st.warning(
            f"Other work on this machine kept this profile waiting for {waited} of the time "
            "while latency was timed. Profile again on a quiet machine before you trust milliseconds.",
            icon=":material/warning:",
        )
    tabs = st.tabs(list(SECTIONS), key="section", bind="query-params", on_change="rerun")
    for tab, draw in zip(tabs, SECTIONS.values(), strict=True):
        if tab.open:
            with tab:
                draw(subject)


st.title("Profile")
st.caption("Find the bottleneck first: where one inference spends its time, measured in the engine that serves it.")
chosen = choose()
runs = store().studies(chosen.study, chosen.recipe)
work = next((run for run in runs if run.is_live), None)
newest = next((run for run in runs if run.state == "finished"), None)
if work:
    draw_work(work)
if newest and (result := result_of(newest.id)):
    draw_profile(chosen, Subject(newest, result), at_work=work is not None)
elif not work:
    draw_empty(chosen)
