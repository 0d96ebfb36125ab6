"""Variants of one model side by side: what each gains, what it costs, and whether that is more than noise."""

import pandas as pd
import streamlit as st

from experiments.compare import against_baseline, variants
from experiments.store import RunRecord
from profiling.statistics import pareto_front
from ui import figures, tables, text
from ui.state import colours, is_dark, open_page, store

PLAIN = {"displayModeBar": False}
MOST_OFFERED, SHOWN_AT_FIRST = 200, 9
"""Variants: those that can be picked, the newest ones, and how many of them are drawn unasked."""
COLUMNS = {
    "colour": st.column_config.ImageColumn("", width=30, pinned=True, help="The variant's colour in every chart."),
    "title": st.column_config.TextColumn("Variant", width="medium", pinned=True),
    "accuracy": st.column_config.NumberColumn("Accuracy", format="%.2f %%"),
    "accuracy_change": st.column_config.TextColumn(
        "Change", help="In points, where McNemar's exact test on the same images finds a difference (p < 0.05)."
    ),
    "p50_ms": st.column_config.NumberColumn("p50", format="%.3f ms", help="Median of one inference."),
    "p95_ms": st.column_config.NumberColumn("p95", format="%.3f ms", help="95 of 100 inferences take less."),
    "speed_change": st.column_config.TextColumn(
        "Speed", help="At p50, where the 95 % interval of the ratio excludes 1 and the effect exceeds 3 %."
    ),
    "throughput_per_s": st.column_config.NumberColumn("Images/s", format="%,.0f"),
    "size": st.column_config.NumberColumn("Size", format="%.2f MiB"),
    "size_change": "Size change",
    "gzip": st.column_config.NumberColumn("Compressed", format="%.2f MiB"),
    "memory": st.column_config.NumberColumn("Memory", format="%.1f MiB"),
    "parameters": st.column_config.NumberColumn("Parameters", format="%,d"),
    "macs": st.column_config.NumberColumn("MACs", format="%,.1f M"),
    "build_ms": st.column_config.NumberColumn("Build", format="%,.0f ms", help="Opening the file until it can serve."),
}  # fmt: skip


def choose() -> list[RunRecord]:
    """The finished runs to compare, all measured under the same settings."""
    measured = store().measured()
    if not measured:
        return []
    model_column, settings_column = st.columns([1, 1])
    models = list(dict.fromkeys(model for model, _ in measured))
    wanted = st.query_params.get("model")
    index = models.index(wanted) if wanted in models else 0
    model = model_column.selectbox("Model", models, index, format_func=tables.model_title, key="compare.model")
    st.query_params["model"] = model
    settings = settings_column.selectbox(
        "Measured on",
        [settings for each, settings in measured if each == model],
        format_func=tables.settings_in_words,
        key=f"compare.settings.{model}",
        help="Only what was measured alike is comparable.",
    )
    return pick(store().variants(model, settings, limit=MOST_OFFERED), key=f"{model}.{settings}")


def pick(records: list[RunRecord], *, key: str) -> list[RunRecord]:
    """Those of the runs that the person wants to see, the baseline first."""
    frame = tables.with_unique_titles(variants(records))
    titles = dict(zip(frame.run_id, frame.title, strict=True))
    start = [record.id for record in records[:SHOWN_AT_FIRST]]
    chosen = st.multiselect(
        "Variants",
        list(titles),
        [run_id for run_id in titles if run_id in start],
        format_func=titles.__getitem__,
        key=f"compare.variants.{key}",
    )
    return [record for record in records if record.id in chosen]


def draw(records: list[RunRecord]) -> None:
    """The whole comparison."""
    results = store().results([record.id for record in records])
    frame = tables.with_unique_titles(against_baseline(variants(records), results))
    tints = colours(records)
    ink = "#C8D2DF" if is_dark() else "#334155"
    draw_remarks(frame)
    with st.grid(3, min_column_width=300):
        for panel in figures.panels(frame):
            with st.container(border=True):
                st.markdown(f"**{panel.title}** :small[:gray[{figures.remark(frame, panel)}]]")
                figure = figures.bars(frame, panel, tints, ink=ink)
                st.plotly_chart(figure, key=f"bars.{panel.column}", config=PLAIN, alt=f"{panel.title} of each variant")
    draw_trade_off(frame, tints, ink)
    draw_table(frame, tints)
    with st.expander("Conditions of every measurement", icon=":material/science:", key="conditions"):
        titles = dict(zip(frame.run_id, frame.title, strict=True))
        st.dataframe(tables.conditions(results, titles), alt="Conditions of every variant")


def draw_remarks(frame: pd.DataFrame) -> None:
    """What has to be known before the numbers are believed."""
    if not frame.is_baseline.any():
        st.info(
            "The baseline (FP32 in PyTorch) is not among these, so no differences are shown.", icon=":material/info:"
        )
    if disturbed := list(frame.title[frame.is_disturbed]):
        st.warning(f"Other work on this machine disturbed the timing of {text.escape(', '.join(disturbed))}.")


def draw_trade_off(frame: pd.DataFrame, tints: dict[str, str], ink: str) -> None:
    """Accuracy over latency with the Pareto front."""
    st.subheader("Accuracy against latency")
    st.caption(
        "The larger a disc, the larger the file. The dotted line joins the variants that no other beats in both "
        "accuracy and latency; the others are faded. Vertical lines are 95 % intervals of the accuracy."
    )
    best = pareto_front(list(zip(frame.accuracy, frame.p50_ms, strict=True)), maximise=(True, False))
    on_front = pd.Series([index in best for index in range(len(frame))], index=frame.index)
    figure = figures.trade_off(frame, on_front, tints, ink=ink)
    with st.container(border=True):
        st.plotly_chart(figure, key="trade-off", config=PLAIN, alt="Accuracy against latency of each variant")


def draw_table(frame: pd.DataFrame, tints: dict[str, str]) -> None:
    """Every number, with its difference to the baseline in words, and the way to take them along."""
    st.subheader("All numbers")
    table = tables.comparison(frame)
    table.insert(0, "colour", frame.digest.map(tints).map(tables.swatch).to_numpy())
    st.dataframe(table, column_config=COLUMNS, hide_index=True, placeholder="n too small", alt="All numbers")
    st.download_button(
        "Download CSV", tables.to_csv(frame), f"{frame.model.iloc[0]}.csv", "text/csv", icon=":material/download:",
        key="csv", on_click="ignore",
    )  # fmt: skip


st.title("Compare")
st.caption("Variants of one model, each measured on the file that ships. The baseline is grey and comes first.")
chosen_records = choose()
if chosen_records:
    draw(chosen_records)
elif store().measured():
    st.info("Choose at least one variant above.", icon=":material/info:")
else:
    st.info("Nothing to compare yet: no run has finished.", icon=":material/info:")
    if st.button("Go to Optimise", type="primary", icon=":material/tune:", key="go-optimise"):
        open_page("optimise")
