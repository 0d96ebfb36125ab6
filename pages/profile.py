"""Where the time, the memory and the parameters of one network go, and what to do about it."""

import streamlit as st

from experiments.checking import why_refused
from experiments.profile import ProfileResult
from experiments.run_record import RunRecord
from experiments.study import ProfileStudy
from experiments.why_format import percent
from ui import tables, text
from ui.profile import graph, layers, numbers, overview, roofline, sensitivity
from ui.profile.choice import Choice, begin_anew, choose, not_here, open_profile, restore, why_lost
from ui.profile.offer import profile_of, was_deleted, why_alone, why_unprofiled
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
HELP = "Measures latency, the time of every layer and what this device attains, and looks at what the network is."
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
            "and parameters go, and what to do about it."
        )
        if reason := why_unprofiled(choice.recipe, choice.device) or why_refused(choice.recipe):
            st.info(text.escape(reason), icon=":material/info:")
        else:
            draw_request(choice.study, choice.recipe, label="Profile it", key="profile-it", help=HELP)
    draw_others(choice.recipe.model)


def draw_others(model: str) -> None:
    """The ways to the profiles of a model that are there."""
    others = store().profiles(model, limit=MOST_LISTED)
    if others:
        st.caption("Profiles of this model that are there:")
    with st.container(gap="xxsmall"):
        for record in others:
            draw_link(record)


def draw_link(record: RunRecord) -> None:
    """The way to a profile that is there."""
    label = f"{text.escape(record.recipe.title)} · batch size {record.recipe.measurement.batch_size}"
    when = text.ago(record.ended_at or record.created_at)
    if isinstance(record.study, ProfileStudy) and was_deleted(record.study):
        when += ", its run was deleted"
    st.button(
        f"{label} · {when}", key=f"open-{record.id}", type="tertiary", icon=":material/arrow_forward:",
        on_click=open_profile, args=(record,),
    )  # fmt: skip


def draw_profile(subject: Subject, choice: Choice | None = None) -> None:
    """When and where it was made, the way to make it anew where there is something to do so of, and its sections."""
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
        if choice:
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


def draw_chosen(choice: Choice) -> None:
    """The profile of what is chosen below the progress of the next one, or the way to a first one."""
    work = next((run for run in store().studies(choice.study, choice.recipe) if run.is_live), None)
    record = profile_of(choice.study, choice.recipe)
    if work:
        draw_work(work)
    if record and (result := result_of(record.id)):
        if words := of_another_run(record, choice):
            st.info(words, icon=":material/history:")
        draw_profile(Subject(record, result), None if work else choice)
    elif not work:
        draw_empty(choice)


def of_another_run(record: RunRecord, choice: Choice) -> str:
    """That a profile is not of the chosen run's file, but of an equal run's; empty where it is of the chosen one."""
    if not isinstance(record.study, ProfileStudy) or record.study.run in ("", choice.study.run):
        return ""
    which = "a run of this recipe that was deleted" if was_deleted(record.study) else "an earlier run of this recipe"
    return f"This profile is of the file of {which}. **Profile again** looks at the file of the newest run."


def draw_kept(run_id: str) -> None:
    """A profile by its id: under the controls where they lead to it, else by itself, with the reason."""
    record = store().run(run_id)
    result = result_of(run_id) if record and record.state == "finished" else None
    if record is None or result is None or not isinstance(record.study, ProfileStudy):
        draw_lost(
            f"The profile {run_id}, which the address names, is not here; it may have been deleted, or never finished.",
            "",
        )
    elif why := why_alone(record, record.study):
        title = f"{text.escape(record.recipe.title)} · batch size {record.recipe.measurement.batch_size}"
        st.info(f"**{title}**. {why}", icon=":material/info:")
        draw_way_back(record.recipe.model)
        draw_profile(Subject(record, result))
    else:
        open_profile(record)
        st.rerun()


def draw_lost(why: str, model: str) -> None:
    """Why nothing is where the address leads, and the ways on."""
    st.warning(text.escape(why), icon=":material/warning:")
    draw_way_back(model)
    if model:
        draw_others(model)


def draw_way_back(model: str) -> None:
    """The way to the controls."""
    st.button("Choose a network", key="choose-anew", icon=":material/tune:", on_click=begin_anew, args=(model,))


st.title("Profile")
st.caption("Find the bottleneck first: where one inference spends its time, measured in the engine that serves it.")
restore()
if named := st.query_params.get("profile"):
    draw_kept(named)
elif lost := why_lost():
    draw_lost(lost, st.query_params.get("model", ""))
else:
    if other := not_here():
        st.warning(text.escape(other), icon=":material/warning:")
    draw_chosen(choose())
