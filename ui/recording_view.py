"""Recordings on screen: what there is, one of them played, and what came of it, always with its stamp."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import streamlit as st

from core.errors import BadInput
from experiments.ahead import AheadResult
from experiments.compare import variants
from experiments.duel import DuelResult
from experiments.models import is_here, title_of
from experiments.recording import FOLDER, LARGEST_BYTES, Recording, shipped, unpacked
from experiments.result import RunResult, Summary
from profiling.energy import Energy
from ui import tables, text
from ui.details import draw_details
from ui.duel_view import draw_verdict
from ui.identity import owner
from ui.live import duration
from ui.low_rank_view import draw_low_rank
from ui.outcome import metric
from ui.pruning_view import draw_pruning
from ui.quantization_view import draw_quantization
from ui.replay import Tape
from ui.replay_view import draw_replay, draw_stamp, play, subtitle, watched_tape
from ui.run_body import draw_recipe
from ui.state import is_dark, open_page, store
from ui.theme import colour_of
from ui.training_view import draw_training

OPENED = "recordings.opened"
"""Key of the session's state: the recordings opened from files, by name."""
UPLOAD_PREFIX = "file-"
UNCHECKED = "Opened from a file: what it says of itself has not been checked by anybody."
NO_SUCH = (
    "There is no recording of this name here. One that was opened from a file is kept only as long as this browser "
    "session: open the file again on the Runs page."
)


@st.cache_resource(ttl=60, show_spinner=False)
def shipped_recordings() -> dict[str, Recording]:
    """Those that come with the project, by name, looked up at most once a minute."""
    return shipped(FOLDER)


def recordings() -> dict[str, Recording]:
    """Those that come with the project, then those that this session opened from files."""
    opened: dict[str, Recording] = st.session_state.get(OPENED, {})
    return shipped_recordings() | opened


def draw_recording(name: str) -> None:
    """One recording: its stamp, its replay, and what came of it."""
    recording = recordings().get(name)
    with st.container(gap=None):
        if st.button("All runs", icon=":material/arrow_back:", type="tertiary", key="all-runs"):
            open_page("runs")
        st.title(text.escape(recording.record.title) if recording else "Runs", anchor=False)
    if recording is None:
        st.warning(NO_SUCH)
        return
    made = watched_tape(f"recording {name}", lambda: tape_of(recording))
    draw_stamp(recording.stamp, foreign=store().run(recording.run_id) is None)
    if lacking := what_it_lacks(recording):
        st.warning(text.escape(lacking), icon=":material/warning:")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(text.escape(subtitle(made)), width="content")
        if name.startswith(UPLOAD_PREFIX):
            st.caption(UNCHECKED, width="content")
        st.space("stretch")
        draw_open(recording)
    if recording.events:
        draw_replay(made, lambda: draw_found(recording))
    else:
        draw_found(recording)
    draw_recipe(recording.record)


def what_it_lacks(recording: Recording) -> str:
    """A sentence for each thing that whoever opens it would expect and not find; empty where there is none."""
    found = []
    if not is_here(recording.recipe.model, owner()):
        found.append(f"Its model, {recording.recipe.model}, is not among those of this studio: it cannot be run here.")
    if not recording.events:
        found.append("The run ended before anything happened in it: there is nothing to play.")
    if recording.state == "finished" and recording.result is None:
        found.append(f"Of what it measured, {'only a summary' if recording.has_numbers else 'nothing'} was kept.")
    return " ".join(found)


def tape_of(recording: Recording) -> Tape:
    """The recording as a tape."""
    return Tape.of(recording.record, recording.events, stamp=recording.stamp, device_name=recording.device_name)


def draw_open(recording: Recording) -> None:
    """The button that takes the recipe to the Optimise page, to be run on this machine."""
    known = is_here(recording.recipe.model, owner())
    if st.button(
        "Run this recipe here", icon=":material/tune:", key="run-here", disabled=not known,
        help="Opens it on the Optimise page, for a device of this machine."
        if known
        else "Its model is not among those of this studio.",
    ):  # fmt: skip
        st.session_state["optimise.open"] = recording.recipe
        open_page("optimise")


def draw_found(recording: Recording) -> None:
    """What came of the recorded run: its numbers by themselves, compared with nothing of this machine."""
    found = recording.found
    if recording.error:
        st.error(text.escape(recording.error), icon=":material/error:")
    if recording.summary:
        draw_summary(recording, found.summary() if isinstance(found, RunResult) else recording.summary)
    elif recording.simulated:
        simulated = recording.simulated
        st.metric(f"{simulated.judging.title}, simulated", text.share(simulated.accuracy), border=True)
    if isinstance(found, RunResult):
        draw_result(recording, found)
    elif isinstance(found, DuelResult):
        draw_verdict(found, second=recording.recipe.title, against="another run")
    elif isinstance(found, AheadResult):
        built = f"The engine has {text.data_size(found.size_bytes)}." if found.size_bytes else found.why_no_engine
        st.markdown(f"Built for {text.escape(found.target)}. {text.escape(built)}")


def draw_summary(recording: Recording, summary: Summary) -> None:
    """The headline numbers of the recorded run."""
    row = variants([replace(recording.record, summary=summary)]).iloc[0]
    energy = "n/a" if summary.joules is None else f"{1000 * summary.joules:.3g} mJ"
    with st.container(horizontal=True, key="metrics"):
        _figure(
            summary.judging.title, text.share(summary.accuracy),
            f"{summary.judging.counted(summary.correct, summary.total)}; 95 % interval "
            f"{100 * row.accuracy_low:.2f} to {text.share(row.accuracy_high)}.",
        )  # fmt: skip
        _figure("Latency p50", text.milliseconds(summary.p50_ms), f"Of one call at batch size {summary.batch_size}.")
        _figure(
            "Throughput", f"{summary.throughput_per_s:,.0f} {summary.unit}/s",
            f"At batch size {summary.batch_size}."
            + (
                f" The highest was {summary.best_throughput_per_s:,.0f} at batch size {summary.best_batch_size}."
                if summary.best_throughput_per_s
                else ""
            ),
        )  # fmt: skip
        _figure("File size", text.data_size(summary.size_bytes), f"Compressed {text.data_size(summary.gzip_bytes)}.")
        _figure("Memory", text.data_size(summary.memory_bytes), "What opening and serving the file took.")
        _figure("Energy", energy, _energy_in_words(recording))
        _figure("MACs", text.count(summary.macs), f"Multiply-accumulates of one {summary.judging.example}.")


def _figure(label: str, value: str, help: str) -> None:
    metric(label, value, "", good="", differs=False, help=help)


def _energy_in_words(recording: Recording) -> str:
    found = recording.found
    energy = found.energy if isinstance(found, RunResult) else None
    if isinstance(energy, Energy):
        return f"Of one inference above idle. {text.escape(energy.source)}."
    return f"Not measured: {text.escape(energy.reason)}." if energy else "Not kept in this recording."


def draw_result(recording: Recording, found: RunResult) -> None:
    """Everything else that was measured, and under which conditions."""
    record, colour = recording.record, colour_of(recording.record.slot, dark=is_dark())
    if found.disturbances:
        st.warning(f"The timing was disturbed: {text.escape('; '.join(found.disturbances))}.")
    if found.training:
        draw_training(found.training, found.accuracy.judging, colour=colour)
    draw_details(found, colour=colour)
    with st.expander("Conditions", key="conditions", icon=":material/fact_check:"):
        table = tables.conditions({record.id: found}, {record.id: "Recorded"})
        st.table(table, border="horizontal", alt="Conditions of the recording")
    if found.pruning:
        draw_pruning(found.pruning, record)
    if found.low_rank:
        draw_low_rank(found.low_rank, record)
    if found.quantization:
        draw_quantization(found.quantization, record)


def draw_list(found: dict[str, Recording]) -> None:
    """A line for each recording, with the means to play it."""
    with st.container(gap="xsmall"):
        for name, recording in found.items():
            _draw_line(name, recording)


def _draw_line(name: str, recording: Recording) -> None:
    badge, words, button = st.columns([0.8, 7.8, 1.4], vertical_alignment="center")
    badge.badge("GPU" if recording.is_of_gpu else "CPU", color="green" if recording.is_of_gpu else "gray")
    words.markdown(
        f"**{text.escape(recording.record.title)}** · {text.escape(what_it_shows(recording))}  \n"
        f":small[:gray[{text.escape(recording.stamp)}]]"
    )
    if button.button("Play", key=f"play-{name}", icon=":material/play_arrow:"):
        play(recording=name)


def what_it_shows(recording: Recording) -> str:
    """Model, length, and what was measured there."""
    words = [title_of(recording.recipe.model, owner()), duration(recording.ended_at - recording.started_at)]
    if summary := recording.summary:
        words.append(f"{text.share(summary.accuracy)} {summary.judging.right}")
        words.append(f"{text.milliseconds(summary.p50_ms)} a call there")
    return " · ".join(words if recording.state == "finished" else [*words, recording.state])


def draw_recordings() -> None:
    """Those that there are, and the way to open one from a file."""
    st.subheader("Recordings")
    st.caption(
        "Runs kept as files, with everything that happened in them. They can be watched on any machine, and take no "
        "part in lists and comparisons of what was measured here."
    )
    draw_list(recordings())
    upload = st.file_uploader(
        "Open a recording", type="gz", max_upload_size=LARGEST_BYTES // 2**20, key="recordings.upload",
        help="A file that **Save recording** on the page of a run has written. It is kept for this session only.",
    )  # fmt: skip
    if upload is None:
        return
    try:
        name, recording = open_upload(upload.getvalue(), upload.name)
    except BadInput as reason:
        st.error(text.escape(str(reason)), icon=":material/error:")
        return
    if name not in st.session_state.get(OPENED, {}):
        st.session_state[OPENED] = st.session_state.get(OPENED, {}) | {name: recording}
        play(recording=name)


def open_upload(content: bytes, file_name: str) -> tuple[str, Recording]:
    """A name and the recording that is the content of an uploaded file. Raises `BadInput` for anything else."""
    return UPLOAD_PREFIX + hashlib.sha256(content).hexdigest()[:12], unpacked(content, file_name)
