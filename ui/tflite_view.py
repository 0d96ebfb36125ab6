"""What is in a .tflite file: its weights in how many bits, zeros and different values, its operators, and why so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from core.tflite_file import TfliteFacts
from experiments.references import reference_of
from experiments.result import RunResult
from experiments.run_record import RunRecord
from experiments.why_tflite import Remark, remarks
from ui import tables, text
from ui.figures import tflite as figures
from ui.figures.frame import PLAIN
from ui.state import colours, ink, store

COLUMNS: dict[str, Any] = {
    "name": st.column_config.TextColumn("Weights of", width="medium", pinned=True),
    "operator": "Operator",
    "shape": "Shape",
    "dtype": st.column_config.TextColumn("Stored as", help="What the file holds for each number."),
    "bits": st.column_config.NumberColumn("Bits", format="%d", help="Of one number."),
    "count": st.column_config.NumberColumn("Numbers", format="%,d"),
    "zeros": st.column_config.NumberColumn("Zeros", format="%,d"),
    "share": st.column_config.NumberColumn("Share of zeros", format="%.1f %%"),
    "distinct": st.column_config.NumberColumn(
        "Different values", format="%,d", help="How many different numbers are stored; few of them compress well."
    ),
}
WEIGHTS = (
    "Tensors that an operator multiplies by, in the order of use; biases are left out. Zeros and repeated values take "
    "as many bytes as any others until the file is compressed."
)
OPERATORS = (
    "The steps of the graph as the file has them. LiteRT hands those that it can to XNNPACK, its library of fast CPU "
    "kernels, and runs the others itself."
)


@dataclass(frozen=True)
class _Shown:
    """What all sections draw from."""

    facts: TfliteFacts
    record: RunRecord
    remarks: tuple[Remark, ...]
    colour: str
    ink: str

    def key(self, name: str) -> str:
        """A widget key of this run's own."""
        return f"tflite.{name}.{self.record.id}"


def draw_tflite(facts: TfliteFacts, result: RunResult, record: RunRecord) -> None:
    """How large the file is, raw and compressed, and, in tabs, why it is as it is and what is in it."""
    found = remarks(record.recipe, result, reference_result(record))
    shown = _Shown(facts, record, found, colours([record])[record.recipe.digest], ink())
    with st.container(border=True, key="tflite"):
        st.markdown(f"**LiteRT file** · {text.escape(headline(facts, result))}")
        sections = _sections(shown)
        opened = st.tabs(list(sections), key="tflite.tab", on_change="rerun")
        for tab, draw in zip(opened, sections.values(), strict=True):
            if tab.open:
                with tab:
                    draw(shown)


def reference_result(record: RunRecord) -> RunResult | None:
    """What was measured of the untouched network in the same runtime; None where that has not run, or is this run."""
    if not record.recipe.techniques:
        return None
    reference = store().finished_before(reference_of(record.recipe))
    return store().result(reference.id) if reference else None


def headline(facts: TfliteFacts, result: RunResult) -> str:
    """`417 KiB, 385 KiB compressed. 105,866 parameters, 0.0 % of them zero. Takes float32 and gives float32.`"""
    size = result.size
    return (
        f"{text.data_size(size.size_bytes)}, {text.data_size(size.gzip_bytes)} compressed with gzip. "
        f"{facts.parameter_count:,} parameters, {share_of_zeros(facts):.1f} % of them zero. "
        f"Takes {facts.input_type} and gives {facts.output_type}."
    )


def share_of_zeros(facts: TfliteFacts) -> float:
    """Of all parameters, in %; 0 where there are none."""
    return 100 * (1 - facts.nonzero_count / facts.parameter_count) if facts.parameter_count else 0.0


def _sections(shown: _Shown) -> dict[str, Callable[[_Shown], None]]:
    """The tabs that have something to show."""
    has_weights = bool(shown.facts.weights)
    return {
        **({"Why it is so": draw_remarks} if shown.remarks else {}),
        **({"Weights": draw_weights} if has_weights else {}),
        "Operators": draw_operators,
        **({"All weights": draw_table} if has_weights else {}),
    }


def draw_remarks(shown: _Shown) -> None:
    """What explains size and speed, a paragraph each."""
    for each in shown.remarks:
        st.markdown(f"**{text.escape(each.title)}** · {text.escape(each.sentence)}")


def draw_weights(shown: _Shown) -> None:
    """Zeros and different values of each tensor."""
    weights, look = shown.facts.weights, {"colour": shown.colour, "ink": shown.ink}
    drawn = {
        "Share of zeros in each tensor": figures.zeros_by_tensor(weights, **look),
        "Different values in each tensor": figures.distinct_by_tensor(weights, **look),
    }
    with st.grid(2, min_column_width=380):
        for number, (title, figure) in enumerate(drawn.items()):
            st.plotly_chart(figure, key=shown.key(f"weights-{number}"), config=PLAIN, alt=title)
    st.caption(WEIGHTS)


def draw_operators(shown: _Shown) -> None:
    """How many there are of each."""
    rows = list(shown.facts.operators.items())
    table = pd.DataFrame(rows, columns=["Operator", "How many"])
    st.table(table, border="horizontal", hide_index=True, alt="Operators of the file")
    st.caption(OPERATORS)


def draw_table(shown: _Shown) -> None:
    """Every tensor's figures, to sort and to take along."""
    table = weight_table(shown.facts)
    st.dataframe(table, column_config=COLUMNS, hide_index=True, key=shown.key("table"), alt="Weights of the file")
    st.download_button(
        "Download CSV", tables.to_csv(table), f"weights-{shown.record.id}.csv", "text/csv",
        icon=":material/download:", key=shown.key("csv"), on_click="ignore",
    )  # fmt: skip


def weight_table(facts: TfliteFacts) -> pd.DataFrame:
    """One row a tensor in the order of use; the share of zeros in %."""
    rows = [
        {
            **each.model_dump(),
            "shape": " x ".join(map(str, each.shape)),
            "share": 100 * each.zeros / each.count,
        }
        for each in facts.weights
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
