"""What confines the files that people upload, as measured on this machine, and how large they may be."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from intake.limits import LIMITS, quota_bytes
from intake.sandbox import SelfTest, self_test
from ui import text


def draw_uploads() -> None:
    """Whether uploads are on, what a process that reads them tried in vain, and the limits."""
    with st.spinner("Trying whether the sandbox holds"):
        found = self_test()
    st.markdown(state(found))
    if found.attempts:
        st.table(checks(found), border="horizontal", hide_index=True, alt="What a process that reads a file tried")
        st.caption(
            "Tried by the very process that would read a file: once for this page, and again before each file. Should "
            "one of them succeed, uploads are off."
        )
    st.markdown("**How large a file may be**")
    st.table(limits(), border="horizontal", hide_index=True, hide_header=True, alt="Limits of uploaded files")


def state(found: SelfTest) -> str:
    """One line, in markdown."""
    if found.absence:
        return f":gray-badge[Off] {text.escape(found.absence)}"
    if not found.confined:
        return (
            ":red-badge[Not confined] Uploaded files are read without a sandbox, because STUDIO\\_UNCONFINED\\_UPLOADS "
            "is set: a file made for it could do all that this user account can. Install bubblewrap, or bring only "
            "files that you made yourself."
        )
    return (
        ":green-badge[On] Uploaded files are read by a process that can do nothing else: "
        f"{text.escape(found.mechanism)}. Starting and proving it takes {found.seconds:.2f} s a file."
    )


def checks(found: SelfTest) -> pd.DataFrame:
    """One row for each thing that was tried, in markdown."""
    marks = {True: ":green[:material/check:] refused", False: ":red[:material/close:] **possible**"}
    return pd.DataFrame(
        {
            "What it tried": [attempt.what for attempt in found.attempts],
            "Outcome": [marks[attempt.held] for attempt in found.attempts],
            "What the system answered": [text.escape(attempt.detail) for attempt in found.attempts],
        }
    )


def limits() -> pd.DataFrame:
    """What may be brought, one row a limit."""
    unpacked, times = text.data_size(LIMITS.unpacked_bytes), LIMITS.unpacked_ratio
    rows = {
        "A file of weights or an ONNX file": f"{text.data_size(LIMITS.model_bytes)} (ONNX: 2 GiB)",
        "A data set": f"{text.data_size(LIMITS.data_bytes)}, {LIMITS.images:,} images",
        "One image": f"{LIMITS.image_pixels / 1e6:.0f} megapixels",
        "An archive, unpacked": f"{unpacked}, an entry at most {times} times its packed size",
        "Memory to read it": text.data_size(LIMITS.memory_bytes),
        "Time to read it": (
            f"{LIMITS.model_seconds:.0f} s for a model, {LIMITS.keras_seconds / 60:.0f} min for one that TensorFlow "
            f"reads (Keras, SavedModel), {LIMITS.parse_seconds / 60:.0f} min for data"
        ),
        "All that one person keeps": f"{text.data_size(quota_bytes())} (STUDIO\\_QUOTA\\_GB)",
    }
    return pd.DataFrame({"Limit": rows.keys(), "Value": rows.values()})
