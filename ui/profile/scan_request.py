"""What to scan: the changes, the number of images, about how long it takes, and the button."""

from __future__ import annotations

import streamlit as st

from core.scan import CHANGES, USUAL_CHANGES, Change
from experiments.run_record import RunRecord
from experiments.scan import ScanResult
from experiments.study import ScanStudy
from ui.live import duration
from ui.profile.subject import Subject
from ui.state import store
from ui.study_view import draw_request

IMAGES = (64, 2000)
KEPT = "What is computed is kept: a scan that was cancelled, or asks for one change more, goes on from there."


def draw_settings(subject: Subject, newest: RunRecord | None) -> None:
    """Which changes, on how many images, and the button; out of the way once there is a scan."""
    start = newest.study if newest and isinstance(newest.study, ScanStudy) else ScanStudy()
    with st.expander("What to scan", expanded=newest is None, key="scan.settings", icon=":material/tune:"):
        changes = st.pills(
            "Changes", list(CHANGES), selection_mode="multi", default=list(start.changes or USUAL_CHANGES),
            format_func=lambda change: CHANGES[change], key="scan.changes",
            help="INT: weights and what comes in are rounded to so many bits. INT weights: weights alone. Pruned: the "
            "outputs with the smallest weights fall silent, as if they were removed without training.",
        )  # fmt: skip
        images = st.slider(
            "Calibration images", *IMAGES, start.images, step=16, format="%d images", key="scan.images",
            help="More images tell small losses apart and take proportionally longer. None of them is a test image.",
        )  # fmt: skip
        if not changes:
            st.caption("Choose at least one change.")
            return
        ordered: tuple[Change, ...] = tuple(change for change in CHANGES if change in changes)
        study = ScanStudy(changes=ordered, images=images)
        st.caption(time_in_words(study, newest))
        if not any(run.is_live for run in store().studies(study, subject.recipe)):
            draw_request(
                study, subject.recipe, label="Scan the layers", key="scan.request", primary=newest is None,
                help=f"{KEPT} It waits its turn on the device, and can be cancelled.",
            )  # fmt: skip


def time_in_words(study: ScanStudy, newest: RunRecord | None) -> str:
    """About how long a scan takes, by the pace of the newest finished one where that computed most of its cells."""
    found = result_of(newest.id) if newest else None
    pace = pace_of(newest, found) if newest and found else None
    if pace is None or found is None:
        return "A scan takes seconds to minutes, by the size of the network and the number of images; a bar tells."
    cells = len(found.scan.layers) * len(study.changes)
    seconds = pace * cells * study.images
    return (
        f"{len(found.scan.layers)} layers under {len(study.changes)} changes on {study.images:,} images take about "
        f"{duration(max(1.0, seconds))}, at the pace of the last scan; what was computed before is not computed again."
    )


def pace_of(record: RunRecord, found: ScanResult) -> float | None:
    """Seconds that a finished scan took for a cell and an image; None where most of its cells were there before."""
    cells = len(found.scan.cells)
    if record.started_at is None or record.ended_at is None or 2 * found.cached >= cells:
        return None
    return (record.ended_at - record.started_at) / ((cells - found.cached) * found.scan.images)


@st.cache_resource(max_entries=8, show_spinner=False)
def result_of(run_id: str) -> ScanResult | None:
    """What a scan found, read once."""
    return store().scan_result(run_id)
