"""What a finished run found besides its numbers: the technique's own part in them, and facts noted on the way."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.progress import Note
from experiments.judging import of_record
from experiments.references import baseline_of, fine_tuned_control
from experiments.run_record import RunRecord
from experiments.training_on import TrainedOn, trained_on
from ui import text
from ui.run_body import draw_notes
from ui.state import store


def draw_findings(record: RunRecord, notes: Sequence[Note]) -> None:
    """How much of a change of accuracy is the technique's, where a control tells it, then the notes."""
    if found := against_control(record):
        title = of_record(record).title
        st.markdown(f":blue[:material/balance:] {title}: {text.escape(found.sentence)}")
    draw_notes(notes)


def against_control(record: RunRecord) -> TrainedOn | None:
    """The run beside its control; None where it has none, or one of what it is compared with has not finished."""
    control = fine_tuned_control(record.recipe)
    recipes = [baseline_of(record.recipe), control] if control else []
    known = [found for found in map(store().finished_before, recipes) if found]
    if len(known) < 2:
        return None
    runs = [*known, record]
    return next(iter(trained_on(runs, store().results([each.id for each in runs]))), None)
