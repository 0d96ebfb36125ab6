"""What a student learned from its teacher: the gain over learning alone, softened answers, and where the two differ."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.data import Split
from core.distillation import DistillationReport
from core.errors import StudioError
from core.packed import Numbers
from experiments.distillation_gain import Gain, gain_of
from experiments.flips import class_names
from experiments.models import contract, test_split
from experiments.run_record import RunRecord
from experiments.teaching import Agreement, Answers, agreement_of, entropy_bits, shown_answers, softened
from profiling.statistics import mcnemar_p
from ui import text
from ui.agreement_view import draw_agreement
from ui.examples import in_short, noun, words_of
from ui.figures import distillation as figures
from ui.figures.frame import PLAIN
from ui.images import picture
from ui.state import colours, ink, is_dark

HIGHEST_TEMPERATURE = 20.0
THUMBNAIL = 56
"""Pixels of an image in a table's row."""
LIST_HEIGHT = 420
HOW_GAINED = (
    "For every seed the same student started from the same weights and saw the same batches twice: once with the "
    "teacher, once with the labels alone. Both were judged on the {images:,} test images, by which nothing was chosen. "
    "The interval is Student's t over the seeds; the p-value of a seed is McNemar's exact test on its images."
)
TEMPERATURE_HELP = (
    "Both networks' outputs are divided by it before they become probabilities. 1 is the answer as it is; the run's "
    "own temperature is where the slider starts."
)
ANSWER_COLUMNS: dict[str, Any] = {
    "picture": st.column_config.ImageColumn("", width=60),
    "text": st.column_config.TextColumn("Text", width="medium"),
    "label": st.column_config.TextColumn("Label", width="small"),
    "teacher": st.column_config.TextColumn("Teacher", width="small"),
    "student": st.column_config.TextColumn("Student", width="small"),
}


@dataclass(frozen=True, eq=False)
class _Shown:
    """What all sections draw from."""

    report: DistillationReport
    record: RunRecord
    colour: str
    ink: str
    dark: bool

    def key(self, name: str) -> str:
        """A widget key of this run's own."""
        return f"distillation.{name}.{self.record.id}"

    @cached_property
    def names(self) -> Sequence[str]:
        """Of the classes."""
        return [str(name) for name in class_names(contract(self.record.recipe.model).labels)]

    @cached_property
    def split(self) -> Split:
        """The labelled test images. Raises `StudioError` where the model is not here."""
        return test_split(self.record.recipe.model)

    def words(self, answers: Sequence[Answers]) -> dict[int, str]:
        """The texts that these are answers to; empty where they are images."""
        return words_of(self.record.recipe.model, self.split, [each.image for each in answers])

    @cached_property
    def agreement(self) -> Agreement:
        """Teacher and student on them. Raises `StudioError` where they are not those that both answered to."""
        return agreement_of(self.report, self.split, len(self.names))


def draw_distillation(report: DistillationReport, record: RunRecord) -> None:
    """Who taught whom and, in tabs, what came of it."""
    shown = _Shown(report, record, colours([record])[record.recipe.digest], ink(), is_dark())
    with st.container(border=True, key="distillation"):
        st.markdown(f"**Distilled** · {text.escape(pairing(report))}")
        sections: dict[str, Callable[[_Shown], None]] = {
            "Gain": draw_gain,
            "Temperature": draw_temperature,
            "Agreement": draw_agreed,
        }
        opened = st.tabs(list(sections), key="distillation.tab", on_change="rerun")
        for tab, draw in zip(opened, sections.values(), strict=True):
            if tab.open:
                with tab:
                    _drawn(draw, shown)


def _drawn(draw: Callable[[_Shown], None], shown: _Shown) -> None:
    try:
        draw(shown)
    except StudioError as error:
        st.info(text.escape(str(error)), icon=":material/image_not_supported:")


def pairing(report: DistillationReport) -> str:
    """`ResNet, as loaded (684 k parameters) taught Tiny depthwise CNN (9.2 k): soft targets ...`."""
    teacher, student = report.teacher_parameters, report.student_parameters
    size = f" ({text.count(teacher)} parameters)" if teacher else ""
    labels = "" if report.labels_used else ", without labels"
    return f"{report.teacher}{size} taught {report.student} ({text.count(student)} parameters): {report.loss}{labels}."


def draw_gain(shown: _Shown) -> None:
    """What the teacher added to the same student, seed by seed."""
    gain = gain_of(shown.report)
    if not shown.report.seeds:
        st.markdown(f"{text.escape(gain.sentence)} **Seeds of the control** under Distillation trains one.")
        return
    st.markdown(f":{tint(gain)}[**{text.escape(gain.sentence)}**]")
    seeds = seed_table(shown.report)
    figure = figures.seed_gains(seeds, colour=shown.colour, ink=shown.ink)
    st.plotly_chart(figure, key=shown.key("seeds"), config=PLAIN, alt="Accuracy of the student alone and taught")
    st.dataframe(seeds, hide_index=True, column_config=SEED_COLUMNS, key=shown.key("table"), alt="Every seed")
    st.caption(HOW_GAINED.format(images=shown.report.test_images))


def tint(gain: Gain) -> str:
    """Green for a gain, red for a loss, grey where nothing can be told."""
    return "green" if gain.is_gain else "red" if gain.verdict.startswith("-") else "gray"


SEED_COLUMNS = {
    "seed": st.column_config.NumberColumn("Seed", format="%d", help="The first is the one that ships."),
    "alone": st.column_config.NumberColumn("Alone", format="%.2f %%", help="Accuracy without the teacher."),
    "taught": st.column_config.NumberColumn("With the teacher", format="%.2f %%"),
    "points": st.column_config.NumberColumn("Gain", format="%+.2f points"),
    "only_taught": st.column_config.NumberColumn("Only taught right", format="%d images"),
    "only_alone": st.column_config.NumberColumn("Only alone right", format="%d images"),
    "p_value": st.column_config.NumberColumn("p (McNemar)", format="%.3g"),
}


def seed_table(report: DistillationReport) -> pd.DataFrame:
    """One row a seed: accuracies in %, their difference in points, the images behind it and McNemar's p."""
    rows = [
        {
            "seed": each.seed,
            "alone": 100 * each.alone_correct / report.test_images,
            "taught": 100 * each.taught_correct / report.test_images,
            "points": 100 * (each.taught_correct - each.alone_correct) / report.test_images,
            "only_taught": each.only_taught_right,
            "only_alone": each.only_alone_right,
            "p_value": mcnemar_p(each.only_taught_right, each.only_alone_right),
        }
        for each in report.seeds
    ]
    return pd.DataFrame(rows)


def draw_temperature(shown: _Shown) -> None:
    """The answers to one image at any temperature."""
    if not len(shown.report.shown):
        st.markdown("No answers to single images were kept in this run.")
        return
    st.fragment(draw_answers)(shown)


def draw_answers(shown: _Shown) -> None:
    """The images to choose from, the temperature, and both answers."""
    answers = shown_answers(shown.report)
    with st.grid(2, min_column_width=270, gap=("small", "large")):
        with st.container():
            chosen = answers[draw_list(shown, answers)]
        with st.container():
            temperature = draw_slider(shown)
            log = st.toggle("Logarithmic axis", key=shown.key("log"), help="Shows the small probabilities too.")
            draw_answer(chosen, temperature, shown, log=log)


def draw_list(shown: _Shown, answers: Sequence[Answers]) -> int:
    """The images with what is said of them; the row that is chosen, the first to begin with."""
    st.caption("Choose one: those where teacher and student differ come first.")
    table = answer_table(shown.split, answers, shown.names, shown.words(answers))
    picked = st.dataframe(
        table, hide_index=True, column_config=ANSWER_COLUMNS, height=LIST_HEIGHT, row_height=THUMBNAIL,
        on_select="rerun", selection_mode="single-row-required", key=shown.key("images"),
        alt=f"Test {noun(shown.split)}s with both answers",
    )  # fmt: skip
    return int(picked["selection"]["rows"][0])


def answer_table(
    split: Split, answers: Sequence[Answers], names: Sequence[str], words: Mapping[int, str]
) -> pd.DataFrame:
    """One row an image: the image itself, or the text in its words, its label, and both answers."""
    rows = [
        {
            **_itself(split, each.image, words),
            "label": label_in_words(split, each.image, names),
            "teacher": names[int(each.teacher_logits.argmax())],
            "student": names[int(each.student_logits.argmax())],
        }
        for each in answers
    ]
    return pd.DataFrame(rows)


def _itself(split: Split, row: int, words: Mapping[int, str]) -> dict[str, str]:
    if row in words:
        return {"text": in_short(words[row])}
    return {"picture": _address(picture(split.pixels[row], side=THUMBNAIL))}


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"


def label_in_words(split: Split, image: int, names: Sequence[str]) -> str:
    """The class of an image; where several are acceptable, all of them."""
    return " or ".join(names[label] for label in split.labels[image] if label >= 0)


def draw_slider(shown: _Shown) -> float:
    """The temperature, first that of the run."""
    start = shown.report.temperature
    return st.slider(
        "Temperature", min(1.0, start), max(HIGHEST_TEMPERATURE, start), start, 0.5, format="%.1f",
        help=TEMPERATURE_HELP, key=shown.key("temperature"),
    )  # fmt: skip


def draw_answer(chosen: Answers, temperature: float, shown: _Shown, *, log: bool) -> None:
    """The bars of both answers and what the teacher says beyond the label."""
    labels = [int(label) for label in shown.split.labels[chosen.image] if label >= 0]
    teacher, student = (softened(each, temperature) for each in (chosen.teacher_logits, chosen.student_logits))
    kept = figures.shown_classes(teacher, student, labels)
    bars = pd.DataFrame(
        {
            "title": [shown.names[each] for each in kept],
            "teacher": 100 * teacher[kept],
            "student": 100 * student[kept],
            "is_label": np.isin(kept, labels),
        }
    )
    st.echarts_chart(
        figures.answer_bars(bars, colour=shown.colour, log=log), height=figures.bars_height(len(kept)),
        key=shown.key("bars"), alt=f"Probabilities of teacher and student at temperature {temperature:g}",
    )  # fmt: skip
    st.caption(answer_in_words(teacher, student, labels, shown.names, temperature))


def answer_in_words(
    teacher: Numbers, student: Numbers, labels: Sequence[int], names: Sequence[str], temperature: float
) -> str:
    """The entropy of both answers and what the teacher's tells beyond the label, as markdown."""
    ranked = [int(each) for each in np.argsort(-teacher, kind="stable")]
    said = [f"**{text.escape(names[each])}** {figures.percent_in_words(100 * teacher[each])}" for each in ranked]
    beyond = [words for each, words in zip(ranked, said, strict=True) if each not in labels][:2]
    if ranked[0] in labels:
        answer = f"the teacher says {said[0]}, as the label does. Beyond that it says {' and '.join(beyond)}."
    else:
        of_label = " and ".join(said[ranked.index(label)] for label in labels)
        answer = f"the teacher is wrong here: it says {beyond[0]}, and gives the label {of_label}."
    bits, others, most = entropy_bits(teacher), entropy_bits(student), np.log2(len(teacher))
    return (
        f"At temperature {temperature:g}: {answer} The entropy of its answer is {bits:.2f} bits, of the student's "
        f"{others:.2f}, of at most {most:.2f}: 0 says one class and nothing more, the most says nothing at all."
    )


def draw_agreed(shown: _Shown) -> None:
    """Where teacher and student agree, and where they do not."""
    draw_agreement(
        shown.agreement, shown.names, model=shown.record.recipe.model, key=shown.key("agreement"),
        colour=shown.colour, ink=shown.ink, dark=shown.dark,
    )  # fmt: skip
