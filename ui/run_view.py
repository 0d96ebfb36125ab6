"""One run on screen: polled while it or one of its family works, then what came of it."""

from __future__ import annotations

import shutil
import socket
import time

import streamlit as st

from core.folders import data_folder
from experiments.recording import ENDING, packed, record_run
from experiments.resuming import can_resume
from experiments.run_record import RunRecord
from experiments.training_on import is_control
from ui import tables, text
from ui.live import LiveView, at_work, duration, family, look_of
from ui.outcome import draw_outcome
from ui.queue import cancel, enqueue_again, why_lost
from ui.replay_view import play
from ui.run_body import draw_curves, draw_machine, draw_notes, draw_recipe, draw_steps
from ui.state import devices, open_page, store
from ui.strip import Freshness

POLL_SECONDS = 0.5
QUIET_SECONDS = 1.5
"""Between two looks while latency is timed."""
LOG_BYTES = 20_000


def draw_run(run_id: str) -> None:
    """One run, polled while it or one of its family works."""
    record = store().run(run_id)
    with st.container(gap=None):
        if st.button("All runs", icon=":material/arrow_back:", type="tertiary", key="all-runs"):
            open_page("runs")
        st.title(text.escape(record.title) if record else "Runs", anchor=False)
    if record is None:
        st.warning(f"There is no run {text.escape(run_id[:40])} here. It may have been deleted.")
        return
    kin = family(record, store())
    subject = at_work(record, kin)
    if subject.state == "running" and watched(subject).is_timed:
        draw_live(run_id, kin, rests=True)
        st.fragment(wait_while_timed, run_every=QUIET_SECONDS)(subject.id)
        return
    is_live = any(each.is_live for each in kin)
    st.fragment(draw_live, run_every=POLL_SECONDS if is_live else None)(run_id, kin)


def wait_while_timed(run_id: str) -> None:
    """Ask, seldom and at little cost, whether the timing is over; only then is the page drawn again."""
    _, view = st.session_state["runs.watched"]
    record = store().run(run_id)
    ends = store().events(run_id, after=view.last_id, kinds=("phase", "finished", "failed"))
    if ends or record is None or not record.is_live:
        st.rerun()
    st.caption(
        ":material/timer: Latency is being timed. This page rests meanwhile, so that it takes no processor time."
    )


def draw_live(run_id: str, kin: list[RunRecord], *, rests: bool = False) -> None:
    """All of a run that can change while it works; `kin` is its family, itself included, when the page was drawn.

    `rests` says that the page is drawn once and then waits until the timing of latency is over.
    """
    relatives = [store().run(each.id) or each if each.is_live else each for each in kin]
    if [each.is_live for each in relatives] != [each.is_live for each in kin]:
        st.rerun()
    record = next(each for each in relatives if each.id == run_id)
    draw_head(record)
    if len(relatives) > 1:
        draw_family(relatives, record)
    subject = at_work(record, relatives)
    view = watched(subject)
    if view.is_timed and subject.state == "running" and not rests:
        st.rerun()
    if record.state == "queued":
        st.info(why_queued(record, subject), icon=":material/schedule:")
    draw_steps(subject, view)
    draw_outcome(record, view.notes)
    if subject.state != "queued":
        freshness: Freshness = "last" if not subject.is_live else "resting" if view.is_timed else "now"
        draw_machine(subject, view, device_name=name_of_device(subject), freshness=freshness)
    draw_curves(subject, view)
    if not record.summary:  # else they stand below its numbers
        draw_notes(view.notes)
    if record.makes_variant:
        draw_recipe(record)
    if not record.is_live:
        draw_log(record)


def watched(record: RunRecord) -> LiveView:
    """What is known of the run, its newest events included."""
    run_id, view = st.session_state.get("runs.watched", ("", LiveView()))
    view = view if run_id == record.id else LiveView()
    view.add(store().events(record.id, after=view.last_id))
    st.session_state["runs.watched"] = (record.id, view)
    return view


def draw_head(record: RunRecord) -> None:
    """State, place and time, with the button that fits the state."""
    lost = why_lost(record.recipe)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        word, look = look_of(record)
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.badge(word, color=look.colour, icon=look.icon)
            st.markdown(
                f"{text.escape(tables.model_title(record.recipe.model))} · {record.recipe.device} · {elapsed(record)}",
                width="content",
            )
        with st.container(horizontal=True, gap="xsmall", width="content"):
            draw_buttons(record, is_lost=bool(lost))
    if lost and not record.is_live:
        st.caption(text.escape(lost))


def draw_buttons(record: RunRecord, *, is_lost: bool) -> None:
    """What can be done with the run; one that is lost can only be looked at and deleted."""
    if record.is_live:
        draw_cancel(record)
        return
    if not is_lost and can_resume(record):
        draw_resume(record)
    if record.started_at:
        draw_recorder(record)
    if record.makes_variant and st.button(
        "Change", icon=":material/tune:", key="change", disabled=is_lost,
        help="Open this recipe on the Optimise page.",
    ):  # fmt: skip
        open_page("optimise", run=record.id)
    if st.button(
        "Run again", icon=":material/replay:", key="again", disabled=is_lost, help="Queue the same once more."
    ):
        open_page("runs", run=enqueue_again(store(), record))
    draw_delete(record)


def elapsed(record: RunRecord) -> str:
    """How long it ran, runs or waits, in words."""
    now = time.time()
    if record.started_at is None:
        waited = duration((record.ended_at or now) - record.created_at)
        return f"{'queued' if record.is_live else 'was queued'} for {waited}"
    took = duration((record.ended_at or now) - record.started_at)
    return f"running for {took}" if record.is_live else f"took {took}, {text.ago(record.ended_at or now)}"


def draw_cancel(record: RunRecord) -> None:
    """The button that stops a run, and what waits only for it; it says so once pressed."""
    st.button(
        "Cancelling …" if record.cancel_requested else "Cancel",
        icon=":material/cancel:",
        key=f"cancel-{record.id}",
        disabled=record.cancel_requested,
        on_click=cancel,
        args=(store(), record),
        help="What waits only to be compared with it is withdrawn too." if record.makes_variant else None,
    )


def draw_resume(record: RunRecord) -> None:
    """The button that lets a run go on where its last training was."""
    clicked = st.button(
        "Resume",
        icon=":material/play_arrow:",
        key="resume",
        type="primary",
        help="Goes on from the last checkpoint: complete trainings are kept, and of the one that was cut short the "
        "epochs up to there. Everything else is done anew. The network becomes the same as in an unbroken run.",
    )
    if clicked:
        store().resume(record.id)
        open_page("runs", run=record.id)


def draw_recorder(record: RunRecord) -> None:
    """The buttons that show an ended run once more as it went, and that keep it as a file."""
    if st.button(
        "Replay", icon=":material/movie:", key="replay", help="Watch it once more as it went, 1 to 20 times as fast."
    ):
        play(run=record.id)
    at = store()
    st.download_button(
        "Save recording",
        lambda: packed(record_run(at, record.id)),
        f"{record.recipe.model}-{record.id}{ENDING}",
        "application/gzip",
        icon=":material/save:",
        key="save-recording",
        on_click="ignore",
        help="Its events, its telemetry and its numbers as one small file, which the Runs page of any studio plays.",
    )


def name_of_device(record: RunRecord) -> str:
    """What the device of a run is called, as far as that is known here."""
    if record.summary:
        return record.summary.device_name
    ran_here = record.host in (None, socket.gethostname())
    here = {device.id: device.name for device in devices()} if ran_here else {}
    return here.get(record.recipe.device, record.recipe.device)


def draw_delete(record: RunRecord) -> None:
    """Forget an ended run, after a second click."""
    with st.popover("Delete", icon=":material/delete:", key="delete"):
        st.markdown("Deletes this run's numbers, its log and its files.")
        if st.button("Delete for good", type="primary", key="delete-now"):
            store().delete(record.id)
            shutil.rmtree(data_folder() / "runs" / record.id, ignore_errors=True)
            open_page("runs")


def draw_family(relatives: list[RunRecord], current: RunRecord) -> None:
    """The runs this one is compared with, as links."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        for each in relatives:
            clicked = st.button(
                f"{role(each)}: {text.escape(each.recipe.title)}",
                icon=look_of(each)[1].icon,
                type="primary" if each.id == current.id else "secondary",
                help=look_of(each)[0],
                key=f"relative-{each.id}",
            )
            if clicked and each.id != current.id:
                open_page("runs", run=each.id)


def role(record: RunRecord) -> str:
    """What a run is to the others of its family."""
    if record.recipe.is_baseline:
        return "Baseline"
    if is_control(record.recipe):
        return "Control"
    return "Variant" if record.recipe.techniques else "Reference"


def why_queued(record: RunRecord, subject: RunRecord) -> str:
    """What a queued run waits for; `subject` is what is shown in its place."""
    if subject.id != record.id:
        words = f"**{text.escape(subject.title)}** comes first and is shown here; this run follows by itself."
        return f"{role(subject)} {words}"
    device = record.recipe.device
    ahead = store().waits_for(record)
    if not ahead:
        return "About to start."
    first = f"**{text.escape(ahead[0])}**" if ahead[0] else "a run of somebody else"
    more = f" and {len(ahead) - 1} more" if len(ahead) > 1 else ""
    return f"Waits for {device}, busy with {first}{more}: two at once would spoil both measurements."


def draw_log(record: RunRecord) -> None:
    """The worker's last words, on demand."""
    expander = st.expander("Log", key="log", icon=":material/terminal:", on_change="rerun")
    if expander.open:
        expander.code(log_of(record), language=None, height=320, wrap_lines=True)


def log_of(record: RunRecord) -> str:
    """What is known of why a run ended as it did."""
    path = data_folder() / "runs" / record.id / "worker.log"
    written = path.read_bytes()[-LOG_BYTES:].decode(errors="replace") if path.exists() else ""
    return "\n".join(part for part in (record.details, written) if part) or "The worker wrote nothing."
