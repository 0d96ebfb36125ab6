"""Which weights became zero and what that brings: bytes, speed here, and the places where it pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from core.devices import Device
from core.sparsity import SparsityReport
from experiments.compare import accuracy_verdict, doubted, latency_verdict, variants
from experiments.judging import of_record
from experiments.models import baseline_runtime
from experiments.recipe import Recipe
from experiments.references import fine_tuned_control
from experiments.run_record import RunRecord
from experiments.sparsity import pays
from runtimes import RUNTIMES
from ui import tables, text
from ui.figures import sparsity as figures
from ui.figures.frame import PLAIN
from ui.state import colours, devices, ink, store

ZEROING = ("magnitude_pruning", "two_four", "keras_pruning")
"""Techniques that set weights to zero."""
AMPERE = Device("cuda:0", "cuda", "an NVIDIA GPU from Ampere on, none here", 0, compute_capability=(8, 0))
"""Stands for all of them where there is none here."""
ON_GPUS = ("pytorch", "tensorrt")
"""Runtimes that are asked about it."""
OF_TFLITE = ("litert", "openvino")
"""Runtimes that serve a `.tflite` file, the only ones that are asked about a network of Keras."""
DENSE = "Dense: left as they are, for the reasons under All layers. "
BLOCKS = (
    "A run of four is four neighbours along a layer's inputs, at one place of the kernel. 2:4 kernels need at least "
    "two zeros in every one of them. "
)
ERROR = (
    "How far a layer's outputs moved right after the zeros were set, before any fine-tuning, on calibration images: "
    "the length of the difference over the length of the output. "
)
COLUMNS: dict[str, Any] = {
    "name": st.column_config.TextColumn("Layer", width="medium", pinned=True),
    "kind": "Kind",
    "weights": st.column_config.NumberColumn("Weights", format="%,d"),
    "zeros": st.column_config.NumberColumn("Zeros", format="%,d"),
    "sparsity": st.column_config.NumberColumn("Sparsity", format="%.1f %%"),
    "pattern": st.column_config.NumberColumn(
        "Runs with 2:4", format="%.1f %%", help="Share of the runs of four weights with at least two zeros."
    ),
    "error": st.column_config.NumberColumn("Output error", format="%.2f %%", help="Before any fine-tuning."),
    "why_dense": st.column_config.TextColumn("Why dense", width="large"),
}


@dataclass(frozen=True)
class _Shown:
    """What all sections draw from."""

    report: SparsityReport
    record: RunRecord
    colour: str
    ink: str

    def key(self, name: str) -> str:
        """A widget key of this run's own."""
        return f"sparsity.{name}.{self.record.id}"


def draw_sparsity(report: SparsityReport, record: RunRecord) -> None:
    """How many weights are zero and, in tabs, what that brings and where they are."""
    shown = _Shown(report, record, colours([record])[record.recipe.digest], ink())
    with st.container(border=True, key="sparsity"):
        st.markdown(f"**Sparse** · {text.escape(headline(report))}")
        sections = _sections(report)
        opened = st.tabs(list(sections), key="sparsity.tab", on_change="rerun")
        for tab, draw in zip(opened, sections.values(), strict=True):
            if tab.open:
                with tab:
                    draw(shown)


def headline(report: SparsityReport) -> str:
    """`70.0 % of 684,000 weights are zero. Magnitude, one ranking for all.`"""
    weights = sum(layer.weights for layer in report.layers)
    words = f"{100 * report.sparsity:.1f} % of {weights:,} weights are zero. {report.method.rstrip('.')}."
    if report.pattern == "2:4":
        having = sum(layer.has_pattern for layer in report.layers)
        words += f" {having} of {len(report.layers)} layers have the 2:4 pattern."
    return words


def _sections(report: SparsityReport) -> dict[str, Callable[[_Shown], None]]:
    """The tabs that have something to show."""
    has_errors = any(layer.output_error is not None for layer in report.layers)
    return {
        "What it brings": draw_truth,
        "Layers": draw_layers,
        **({"Output error": draw_errors} if has_errors else {}),
        **({"Schedule": draw_schedule} if report.schedule else {}),
        "All layers": draw_table,
    }


def draw_truth(shown: _Shown) -> None:
    """Bytes and speed against the same network without zeros, and where zeros are skipped at all."""
    dense, is_twin = dense_run(shown.record)
    st.markdown("**This run against the dense network**")
    if dense is None:
        st.caption("Appears once the untouched model has finished in this runtime on this device.")
    else:
        table = differences(shown.record, dense)
        st.table(table, border="horizontal", hide_index=True, alt="What the zeros did to bytes, speed and answers")
        st.caption(f"Dense: {text.escape(dense.title)}. {basis(shown.record, dense, is_twin=is_twin)}")
    st.markdown("**Where these zeros can make it faster**")
    table = places(shown.report, devices(), is_tflite=baseline_runtime(shown.record.recipe.model) == "litert")
    st.table(table, border="horizontal", hide_index=True, alt="Runtimes and devices that skip these zeros")
    st.caption("From what engines and hardware do with zeros, not from this run; what this run measured stands above.")


def dense_run(record: RunRecord) -> tuple[RunRecord | None, bool]:
    """The newest finished run without zeros, and whether nothing else differs; else that of the untouched model.

    That is the recipe without what sets zeros or, where nothing else would be left of it, its fine-tuned control.
    """
    twin = without_zeros(record.recipe)
    control = None if twin.techniques else fine_tuned_control(record.recipe)
    for recipe in filter(None, (control, twin)):
        if found := store().finished_before(recipe):
            return found, True
    return store().finished_before(twin.model_copy(update={"techniques": ()})), False


def without_zeros(recipe: Recipe) -> Recipe:
    """The recipe without the techniques that set weights to zero."""
    kept = tuple(technique for technique in recipe.techniques if technique.key not in ZEROING)
    return recipe.model_copy(update={"name": "", "techniques": kept})


def basis(record: RunRecord, dense: RunRecord, *, is_twin: bool) -> str:
    """What else differs between the two, and what is left out for that, in a sentence or two."""
    others = [technique.title for technique in without_zeros(record.recipe).techniques]
    if is_twin or not others:
        return "Nothing but the zeros, and the training that made up for them, differs."
    words = f"The differences include what {text.escape(' and '.join(others))} did."
    if not is_quantized_besides(record, dense):
        return words
    return (
        f"{words} File size and latency are left out: they follow from the other number format. Run the same recipe "
        "without pruning, and both are compared with that."
    )


def is_quantized_besides(record: RunRecord, dense: RunRecord) -> bool:
    """Whether another technique made them compute in different number formats: bytes and speed follow from that."""
    ours, theirs = (each.summary and each.summary.precision for each in (record, dense))
    return bool(without_zeros(record.recipe).techniques) and ours != theirs


def differences(record: RunRecord, dense: RunRecord) -> pd.DataFrame:
    """Bytes, latency and accuracy of both, and what may be said of the difference.

    Where they compute in different number formats, only what zeros have a part in: the compressed file and accuracy.
    """
    ours, theirs = (variants([each]).iloc[0] for each in (record, dense))
    found = store().results([record.id, dense.id])
    low, high = theirs.p50_low_ms / ours.p50_high_ms, theirs.p50_high_ms / ours.p50_low_ms
    speed = doubted(latency_verdict(theirs.p50_ms / ours.p50_ms, low, high), ours, theirs)
    accuracy = accuracy_verdict(found[dense.id].accuracy, found[record.id].accuracy)
    rows = [
        ("File", *(text.data_size(each.size_bytes) for each in (theirs, ours)), _size(theirs, ours, "size_bytes")),
        (
            "File, gzip",
            *(text.data_size(each.gzip_bytes) for each in (theirs, ours)),
            _size(theirs, ours, "gzip_bytes"),
        ),
        ("Latency p50", *(text.milliseconds(each.p50_ms) for each in (theirs, ours)), speed),
        (of_record(record).title, *(text.share(each.accuracy) for each in (theirs, ours)), accuracy),
    ]
    rows = rows[1::2] if is_quantized_besides(record, dense) else rows
    return pd.DataFrame(rows, columns=["Measured", "Dense", "Sparse", "Difference"])


def _size(theirs: Any, ours: Any, name: str) -> str:
    return tables.ratio_in_words(ours[name] / theirs[name])


def places(report: SparsityReport, here: Sequence[Device], *, is_tflite: bool = False) -> pd.DataFrame:
    """One row a runtime and device, those where it pays first: what runs here, and GPUs from Ampere on in any case.

    Of a network that becomes a `.tflite` file, what opens that.
    """
    runtimes = OF_TFLITE if is_tflite else tuple(RUNTIMES)
    asked = [(key, device) for device in here for key in runtimes if RUNTIMES[key].why_unavailable(device) is None]
    if not is_tflite and not any(_is_ampere(device) for device in here):
        asked += [(key, AMPERE) for key in ON_GPUS]
    rows = [(f"{RUNTIMES[key].title} on {device.name}", *pays(key, device, report)) for key, device in asked]
    ordered = sorted(rows, key=lambda row: not row[1])
    words = [(place, "yes" if is_faster else "no", why) for place, is_faster, why in ordered]
    return pd.DataFrame(words, columns=["Runtime and device", "Can pay", "Why"])


def _is_ampere(device: Device) -> bool:
    return bool(device.compute_capability and device.compute_capability >= (8, 0))


def draw_layers(shown: _Shown) -> None:
    """How many weights of each layer are zero and, for 2:4, in how many runs of four."""
    layers, look = shown.report.layers, {"colour": shown.colour, "ink": shown.ink}
    dense = DENSE * any(layer.why_dense for layer in layers)
    drawn = {"Share of zeros in each layer": figures.zeros_by_layer(layers, mean=shown.report.sparsity, **look)}
    if shown.report.pattern == "2:4":
        drawn["Share of runs of four with two zeros"] = figures.blocks_by_layer(layers, **look)
    with st.grid(2, min_column_width=380):
        for number, (title, figure) in enumerate(drawn.items()):
            st.plotly_chart(figure, key=shown.key(f"layers-{number}"), config=PLAIN, alt=title)
    st.caption(f"Dotted: all layers together. {dense}{BLOCKS * (shown.report.pattern == '2:4')}")


def draw_errors(shown: _Shown) -> None:
    """How far the outputs of each layer moved when its zeros were set."""
    layers = shown.report.layers
    worst = max(layers, key=lambda layer: layer.output_error or 0.0)
    st.markdown(
        f"The outputs moved most at **{text.escape(worst.name)}**: by {100 * (worst.output_error or 0):.2g} % of their "
        "size."
    )
    figure = figures.errors_by_layer(layers, colour=shown.colour, ink=shown.ink)
    st.plotly_chart(figure, key=shown.key("errors"), config=PLAIN, alt="Output error of each layer")
    st.caption(ERROR)


def draw_schedule(shown: _Shown) -> None:
    """How sparsity rose during training."""
    points = shown.report.schedule
    figure = figures.schedule(points, colour=shown.colour)
    st.plotly_chart(figure, key=shown.key("schedule"), config=PLAIN, alt="Share of zeros over the steps of training")
    end = next(point for point in points if point.sparsity == points[-1].sparsity)
    st.caption(
        f"It reached {100 * end.sparsity:.1f} % at step {end.step:,}; the training after that makes up for what the "
        "last zeros cost. Rising along a cubic: Zhu and Gupta 2017, arXiv:1710.01878."
    )


def draw_table(shown: _Shown) -> None:
    """Every layer's figures, to sort and to take along."""
    table = layer_table(shown.report)
    order = [name for name in COLUMNS if table[name].notna().any() and not (table[name] == "").all()]
    st.dataframe(
        table, column_config=COLUMNS, column_order=order, hide_index=True, placeholder="n/a",
        key=shown.key("table"), alt="Every layer's figures",
    )  # fmt: skip
    st.download_button(
        "Download CSV", tables.to_csv(table), f"sparsity-{shown.record.id}.csv", "text/csv",
        icon=":material/download:", key=shown.key("csv"), on_click="ignore",
    )  # fmt: skip


def layer_table(report: SparsityReport) -> pd.DataFrame:
    """One row a layer in the order of the network; shares and errors in %, NaN where they are not known."""
    rows = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "weights": layer.weights,
            "zeros": layer.zeros,
            "sparsity": 100 * layer.zeros / layer.weights,
            "pattern": 100 * layer.blocks_with_pattern / layer.blocks if layer.blocks else None,
            "error": None if layer.output_error is None else 100 * layer.output_error,
            "why_dense": layer.why_dense,
        }
        for layer in report.layers
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"pattern": float, "error": float})
