"""A finished variant as one zip: the file that ships, how it was made, what was measured, and code that runs it."""

from pathlib import Path

import streamlit as st

from core.errors import StudioError
from experiments.package import Package, build_package, sample_code
from experiments.store import RunRecord
from ui import tables, text
from ui.state import open_page, store

WHAT = {
    "recipe.yaml": "how it was made; replay it with `python3 studio.py optimize recipe.yaml`",
    "result.json": "what was measured on this very file, with the conditions",
    "contract.json": "input size, normalisation and the names of the classes",
    "samples.npz": "test images to try it on",
    "run.py": "the code shown here",
    "requirements.txt": "what the code needs",
    "README.txt": "how to use all this",
    "SHA256SUMS": "checks the files: `sha256sum -c SHA256SUMS`",
}


def choose(finished: list[RunRecord]) -> RunRecord:
    """The run to export: the one the address names, or the one picked."""
    titles = {
        record.id: f"{record.recipe.title} · {tables.model_title(record.recipe.model)} · {text.ago(record.created_at)}"
        for record in finished
    }
    wanted = st.query_params.get("run")
    if wanted and wanted not in titles:
        st.warning(f"The run {text.escape(wanted[:40])} has not finished, or is not here. Choose another.")
    ids = list(titles)
    index = ids.index(wanted) if wanted in titles else 0
    run_id = st.selectbox("Variant", ids, index, format_func=titles.__getitem__, key="export.run")
    st.query_params["run"] = run_id
    return next(record for record in finished if record.id == run_id)


@st.cache_data(show_spinner="Packing …", max_entries=100)
def package_of(run_id: str) -> Package:
    """The zip of a finished run, written once."""
    record, result = store().run(run_id), store().result(run_id)
    assert record
    assert result
    return build_package(record, result)


def draw(record: RunRecord) -> None:
    """What the zip holds, the code in it, and the button."""
    package = package_of(record.id)
    if not package.path.exists():
        package_of.clear()
        package = package_of(record.id)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        draw_download(package)
        draw_contents(package)
    with right:
        st.subheader("How to run it")
        st.code(how_to_run(package.path), language="bash")
        st.subheader("Sample code: run.py")
        st.code(sample_code(record), language="python", height=460)


def draw_download(package: Package) -> None:
    """The button, with the size and the fingerprint of what it gives."""
    st.download_button(
        f"Download {text.data_size(package.path.stat().st_size)}",
        package.path.read_bytes,
        package.path.name,
        "application/zip",
        type="primary",
        icon=":material/download:",
        width="stretch",
        key="download",
        on_click="ignore",
    )
    st.caption(f"`{package.path.name}`")
    st.caption("SHA-256")
    st.code(package.sha256, language=None, wrap_lines=True)


def draw_contents(package: Package) -> None:
    """A line for each file in the zip."""
    st.subheader("What it holds")
    for name in package.contents:
        st.markdown(f"`{name}` {WHAT.get(name, '**the network that was measured**')}")


def how_to_run(path: Path) -> str:
    """The commands from the download to the first prediction, the same on every system."""
    return (
        f"python -m zipfile -e {path.name} .\n"
        f"cd {path.stem}\n"
        "python -m pip install -r requirements.txt\n"
        "python run.py                  # classifies the images in samples.npz\n"
        "python run.py photo.png        # classifies your own"
    )


st.title("Export")
st.caption("The file that was measured, with everything needed to run it elsewhere, as one zip.")
ready = [record for record in store().runs(states=("finished",)) if record.summary]
named = store().run(st.query_params.get("run", ""))
if named and named.summary and named.id not in [record.id for record in ready]:
    ready.append(named)  # older than the newest ones that are listed
if ready:
    try:
        draw(choose(ready))
    except StudioError as error:
        st.error(text.escape(str(error)), icon=":material/error:")
else:
    st.info("Nothing to export yet: no run has finished.", icon=":material/info:")
    if st.button("Go to Optimise", type="primary", icon=":material/tune:", key="go-optimise"):
        open_page("optimise")
