"""A finished variant as one zip: the file that ships, how it was made, what was measured, and code that runs it."""

import streamlit as st

from core.errors import StudioError
from experiments.ahead_package import build_package_ahead
from experiments.package import Options, Package, build_package
from experiments.run_record import RunRecord
from ui import export_view, text
from ui.state import open_page, store
from ui.titles import distinct, of_models


def choose(finished: list[RunRecord]) -> RunRecord:
    """The run to export: the one the address names, or the one picked."""
    models = of_models(record.recipe.model for record in finished)
    titles = distinct(
        {
            record.id: f"{record.recipe.title} · {models[record.recipe.model]} · {text.ago(record.created_at)}"
            for record in finished
        }
    )
    wanted = st.query_params.get("run")
    if wanted and wanted not in titles:
        st.warning(f"The run {text.escape(wanted[:40])} has not finished, or is not here. Choose another.")
    ids = list(titles)
    index = ids.index(wanted) if wanted in titles else 0
    run_id = st.selectbox("Variant", ids, index, format_func=titles.__getitem__, key="export.run")
    st.query_params["run"] = run_id
    return next(record for record in finished if record.id == run_id)


def ships(record: RunRecord) -> bool:
    """Whether the run left a file to take away, measured here or built for a GPU elsewhere."""
    return record.summary is not None or (record.ahead is not None and bool(record.ahead.artifact_files))


@st.cache_data(show_spinner="Packing …", max_entries=100)
def package_of(run_id: str, options: Options) -> Package:
    """The zip of a finished run, written once for each choice of options."""
    record, result = store().run(run_id), store().result(run_id)
    assert record
    if ahead := store().ahead_result(run_id):
        return build_package_ahead(record, ahead)
    assert result
    return build_package(record, result, options)


def draw(record: RunRecord) -> None:
    """What the zip holds, the code in it, and the button."""
    options = Options() if record.ahead else export_view.choose_options()
    package = package_of(record.id, options)
    if not package.path.exists():
        package_of.clear()
        package = package_of(record.id, options)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        export_view.draw_download(package, record.id)
        export_view.draw_contents(package)
    with right:
        export_view.draw_usages(package)
        export_view.draw_code(package)


st.title("Export")
st.caption("The file that was measured, with everything needed to run it elsewhere, as one zip.")
ready = [record for record in store().runs(states=("finished",)) if ships(record)]
named = store().run(st.query_params.get("run", ""))
if named and ships(named) and named.id not in [record.id for record in ready]:
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
