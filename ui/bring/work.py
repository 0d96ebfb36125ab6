"""Jobs on screen: what is being read or added, with progress and a way to stop it, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from experiments.jobs import AddOrder, CheckOrder, DescribeOrder, Job, cancel, forget, job, jobs, start
from experiments.run_record import StoredEvent
from intake.library import OwnModel, delete_model, own_model
from intake.preprocessing import Preprocessing
from intake.shelf import items
from ui import text
from ui.identity import owner
from ui.live import LiveView
from ui.run_body import draw_progress
from ui.state import open_page

Place = Literal["model", "data", "add"]
POLL_SECONDS = 0.5
WAITS = "Waits its turn: of your files and models one is worked on at a time, and of everybody's two."
AGAIN_HELP = "In place of this one, which is deleted. What you uploaded stays."
STATE = st.session_state


@dataclass(frozen=True)
class Work:
    """The jobs of whoever is looking: each is drawn where it belongs, and one fragment keeps all of them up to date."""

    jobs: tuple[Job, ...]
    live: dict[str, DeltaGenerator] = field(default_factory=dict)
    """Where the progress of each job stands that is drawn as at work."""

    def draw(self, place: Place) -> None:
        """Everything at work or just ended that belongs there: to an upload box, or to the button that adds."""
        for each in self.jobs:
            if _place_of(each) == place:
                with st.container(border=True):
                    self._draw(each)

    def draw_running(self, found: Job) -> None:
        """Its progress, and a button that ends it."""
        with st.container(horizontal=True, vertical_alignment="center"):
            with st.container(gap="xsmall"):
                st.markdown(f"**{text.escape(title_of(found))}**")
                self.live[found.id] = st.empty()
            if st.button("Cancel", key=f"cancel-{found.id}", icon=":material/close:"):
                cancel(owner(), found.id)
                st.rerun()

    def watch(self) -> None:
        """Keep what was drawn as at work up to date; the page is drawn anew when one of them ends."""
        if self.live:
            st.fragment(_update, run_every=POLL_SECONDS)(self.live)

    def is_adding(self, order: AddOrder) -> bool:
        """Whether the very same is being added."""
        return any(each.state == "running" and each.order == order for each in self.jobs)

    def _draw(self, found: Job) -> None:
        if found.state == "running":
            self.draw_running(found)
        elif found.state == "failed":
            st.markdown(f"**{text.escape(title_of(found))}**")
            draw_refusal(found.sentence, found.snippet)
            _draw_dismiss(found)
        else:
            _draw_added(found)


def take_finished() -> Work:
    """Choose what was just uploaded, now that it is read; what else there is at work or just ended."""
    kept = []
    for found in jobs(owner()):
        if isinstance(found.order, CheckOrder) and found.state == "finished":
            STATE["bring.file" if found.order.wanted == "model" else "bring.data"] = found.result["item"]
            forget(owner(), found.id)
        elif found.state == "cancelled":
            forget(owner(), found.id)
        else:
            kept.append(found)
    return Work(tuple(kept))


def title_of(job: Job) -> str:
    """What is being done or did not succeed, in a few words."""
    has_failed = job.state == "failed"
    if isinstance(job.order, AddOrder):
        return f"{'Not added:' if has_failed else 'Adding'} {job.order.title}"
    if isinstance(job.order, CheckOrder):
        return f"{'Not taken:' if has_failed else 'Reading'} {job.order.name or 'the uploaded file'}"
    return "Looking up the architecture"


def view_of(job: Job) -> LiveView:
    """Its events as the live view of a run takes them."""
    view = LiveView()
    view.add([StoredEvent(number, event) for number, event in enumerate(job.events)])
    return view


def _place_of(job: Job) -> Place | None:
    """Where it is drawn; look-ups are drawn by what asked for them."""
    if isinstance(job.order, DescribeOrder):
        return None
    return job.order.wanted if isinstance(job.order, CheckOrder) else "add"


def _update(live: dict[str, DeltaGenerator]) -> None:
    for key, place in live.items():
        found = job(owner(), key)
        if found is None or found.state != "running":
            st.rerun()
        with place:
            if found.waits:
                st.caption(f":material/schedule: {WAITS}")
            else:
                draw_progress(view_of(found))


def draw_refusal(sentence: str, snippet: str) -> None:
    """Why something is not taken and, where there is a way, the lines that convert it or how it should look."""
    st.error(text.escape(sentence), icon=":material/block:")
    if snippet:
        is_python = "import " in snippet
        words = "Run this where the file was made, and upload what it writes:"
        st.caption(words if is_python else "What it should look like:")
        st.code(snippet, language="python" if is_python else None)


def _draw_added(job: Job) -> None:
    assert isinstance(job.order, AddOrder)
    key = str(job.result["model"])
    model = own_model(key)
    title = model.title if model else job.order.title  # it has a number where another is called so
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":green[:material/check_circle:] **{text.escape(title)}** was added.")
        if st.button("Optimise this model", key=f"optimise-{job.id}", type="primary", icon=":material/tune:"):
            forget(owner(), job.id)
            open_page("optimise", model=key)
        if st.button("Profile this model", key=f"profile-{job.id}", icon=":material/speed:"):
            forget(owner(), job.id)
            open_page("profile", model=key)
        _draw_dismiss(job)
    if model and model.advised:
        _draw_advice(job, job.order, model, model.advised)


def _draw_advice(job: Job, order: AddOrder, model: OwnModel, advised: Preprocessing) -> None:
    """What was found of the preparation of its images, and the way to add it with the one that is clearly better."""
    st.warning(text.escape(model.warnings[0]), icon=":material/warning:")
    st.caption(text.escape(model.notes[-1]))
    needed = {getattr(order.source, "item", ""), getattr(order.source, "weights", ""), order.data.item} - {""}
    if needed <= set(items(owner())) and st.button(
        f"Add it again with {advised.scale}", key=f"again-{job.id}", icon=":material/refresh:", help=AGAIN_HELP
    ):
        start(owner(), order.model_copy(update={"input": advised}))
        delete_model(owner(), model.key)
        forget(owner(), job.id)
        st.rerun(scope="app")


def _draw_dismiss(job: Job) -> None:
    if st.button("Dismiss", key=f"dismiss-{job.id}", type="tertiary", icon=":material/close:"):
        forget(owner(), job.id)
        st.rerun(scope="app")
