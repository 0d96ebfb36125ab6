"""What this machine offers and what is installed."""

from pathlib import Path

import pandas as pd
import streamlit as st

from bridges.environments import ENVIRONMENTS
from core.folders import data_folder
from runtimes import EXTRAS, RUNTIMES
from ui import text
from ui.extras_view import draw_environments
from ui.sandbox_view import draw_uploads
from ui.state import devices, gpu_absence
from ui.system_live import draw_live
from ui.whats_new_view import draw_generations, draw_libraries, draw_newest, draw_unlocked


@st.cache_data(ttl=30, show_spinner="Adding up the data folder")
def sizes(folder: Path) -> dict[str, int]:
    """Bytes below each entry of the data folder."""
    return {entry.name: total_bytes(entry) for entry in sorted(folder.iterdir())}


def total_bytes(path: Path) -> int:
    """Bytes of a file, or of everything below a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


st.title("System")
st.caption("What this machine offers, what is installed, and where runs are kept.")

draw_live()

st.subheader("Devices")
st.dataframe(
    pd.DataFrame(
        {
            "Device": [device.id for device in devices()],
            "Name": [device.name for device in devices()],
            "Memory": [text.data_size(device.memory_bytes) for device in devices()],
            "Compute capability": [
                "{}.{}".format(*device.compute_capability) if device.compute_capability else "–" for device in devices()
            ],
        }
    ),
    hide_index=True,
)
if reason := gpu_absence():
    st.info(f"{text.escape(reason)}. Everything here also runs on the CPU.", icon=":material/info:")

st.subheader("Runtimes")
for runtime in RUNTIMES.values():
    absences = [runtime.why_unavailable(device) for device in devices()]
    absence = None if None in absences else absences[-1]
    badge = ":gray-badge[Not here]" if absence else ":green-badge[Ready]"
    st.markdown(f"{badge} **{runtime.title}** · {absence or runtime.summary}")
for extra in (extra for extra in EXTRAS.values() if extra.key not in RUNTIMES and extra.key not in ENVIRONMENTS):
    badge = ":green-badge[Installed]" if extra.is_installed else ":gray-badge[Optional]"
    how = "" if extra.is_installed else f" Install: `{extra.command}`"
    st.markdown(f"{badge} **{extra.title}** · {extra.adds}{how}")
draw_environments()

st.subheader("What this machine unlocks")
draw_unlocked(devices())
st.markdown("**What NVIDIA's generations unlock**")
draw_generations(devices())

st.subheader("Libraries")
draw_libraries(devices())
draw_newest()

st.subheader("Uploads")
draw_uploads()

st.subheader("Data folder")
st.code(data_folder(), language=None)
by_name = sizes(data_folder())
st.metric("In total", text.data_size(sum(by_name.values())))
st.dataframe(
    pd.DataFrame({"Entry": by_name.keys(), "Size": [text.data_size(size) for size in by_name.values()]}),
    hide_index=True,
)
