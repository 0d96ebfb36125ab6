"""A distilled network on the run's page."""

from __future__ import annotations

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import sample_models
from core.data import Split
from core.distillation import DistillationReport
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.store import Store
from experiments.teaching import Answers, agreement_of
from optimizers import TECHNIQUES
from tests.experiments.distillations import CLASSES, MODEL, report
from tests.pages.left_behind import finished
from ui.agreement_view import outcomes
from ui.distillation_view import answer_in_words, answer_table, pairing, seed_table

DISTILLED = Recipe(model=MODEL, techniques=(TECHNIQUES["distillation"](),), runtime="onnxruntime")


def page(content: str, run_id: str) -> None:
    from core.distillation import DistillationReport
    from ui.distillation_view import draw_distillation
    from ui.state import store

    record = store().run(run_id)
    assert record
    draw_distillation(DistillationReport.model_validate_json(content), record)


@pytest.fixture
def record(store: Store) -> RunRecord:
    """A finished run that distilled."""
    found = store.run(finished(store, DISTILLED))
    assert found
    return found


def drawn(content: DistillationReport, record: RunRecord, tab: str = "") -> AppTest:
    """The view after its first run, with a tab opened."""
    test = AppTest.from_function(
        page, kwargs={"content": content.model_dump_json(), "run_id": record.id}, default_timeout=60
    )
    if tab:
        test.session_state["distillation.tab"] = tab
    test.run(timeout=60)
    assert not test.exception
    return test


def words(test: AppTest) -> str:
    """All text on the page."""
    return "\n".join(str(each.value) for kind in ("markdown", "caption", "info") for each in test.get(kind))


def test_a_gain_is_green_with_its_interval_and_every_seed_in_a_table(record: RunRecord) -> None:
    test = drawn(report(), record)
    assert ":green[**\\+0.47 points over the same student without the teacher" in words(test)
    assert "3 seeds" in words(test)
    assert test.dataframe[0].value.points.tolist() == pytest.approx([0.40, 0.53, 0.48])
    assert len(test.get("plotly_chart")) == 1


def test_no_gain_is_grey_and_a_missing_control_says_what_to_do(record: RunRecord) -> None:
    assert ":gray[**No measurable gain" in words(drawn(report(pairs=((30, 20), (10, 40), (25, 20))), record))
    assert "**Seeds of the control**" in words(drawn(report(pairs=()), record))


def test_a_seed_s_p_value_is_that_of_the_binomial_test() -> None:
    from scipy.stats import binomtest

    row = seed_table(report()).iloc[0]
    assert row.p_value == pytest.approx(binomtest(60, 80).pvalue)
    assert (row.alone, row.taught) == pytest.approx((90.20, 90.60))


def test_the_bars_follow_the_temperature_and_the_image(record: RunRecord) -> None:
    test = drawn(report(), record, "Temperature")
    assert test.slider[0].value == 4
    assert "At temperature 4" in words(test)
    test.slider[0].set_value(12.0).run()
    assert not test.exception
    assert "At temperature 12" in words(test)
    table = test.dataframe[0].value
    assert len(table) == 6
    assert (table.teacher != table.student).all()
    assert table.picture.str.startswith("data:image/png;base64,").all()


def test_what_the_teacher_says_beyond_the_label_is_told() -> None:
    teacher, student, names = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.0, 1.0]), ["bag", "coat", "boot_x"]
    said = answer_in_words(teacher, student, [0], names, 4.0)
    assert "the teacher says **bag** 50.0 %, as the label does" in said
    assert "**coat** 30.0 % and **boot\\_x** 20.0 %" in said
    assert "its answer is 1.49 bits, of the student's 0.00, of at most 1.58" in said
    wrong = answer_in_words(teacher, student, [1], names, 1.0)
    assert "is wrong here: it says **bag** 50.0 %" in wrong
    assert "gives the label **coat** 30.0 %" in wrong


def test_agreement_is_told_by_outcome_by_class_and_in_pictures(record: RunRecord) -> None:
    content = report()
    test = drawn(content, record, "Agreement")
    teacher, student = content.teacher_classes.integers, content.student_classes.integers
    assert f"**{100 * (teacher == student).mean():.2f} %** of 10,000 test images" in words(test)
    assert len(test.get("plotly_chart")) == 1
    split = sample_models.test_split(MODEL)
    targets = split.targets
    only_student = int(((teacher != targets) & (student == targets)).sum())
    assert f"Only the student right · {only_student:,}" in test.get("segmented_control")[0].options
    test.get("segmented_control")[0].set_value("only_student").run()
    assert not test.exception
    assert f"{only_student:,}" in outcomes(agreement_of(content, split, CLASSES)).Images.tolist()


def test_other_test_images_than_here_are_no_crash(record: RunRecord) -> None:
    test = drawn(report(images=500), record, "Agreement")
    assert "10,000 labelled test images" in words(test).replace("\\", "")


def test_the_pairing_names_both_sizes() -> None:
    content = report()
    assert pairing(content).startswith("ResNet, as loaded (684 k parameters) taught Tiny depthwise CNN (9.20 k")
    alone = content.model_copy(update={"teacher": "Ensemble of 2 variants", "teacher_parameters": None})
    assert pairing(alone).startswith("Ensemble of 2 variants taught")
    assert len(sample_models.contract(MODEL).labels) == CLASSES


def test_texts_stand_in_the_table_in_their_words() -> None:
    split = Split(np.zeros((3, 2, 8), np.int32), np.array([[0], [1], [0]], np.int64))
    answers = [Answers(row, np.array([0.2, 0.8]), np.array([0.9, 0.1])) for row in (2, 1)]
    table = answer_table(split, answers, ["calm", "loud"], {2: "a *quiet*  day", 1: "a horn"})
    assert table.to_dict("list") == {
        "text": ["a *quiet* day", "a horn"],
        "label": ["calm", "loud"],
        "teacher": ["loud", "loud"],
        "student": ["calm", "calm"],
    }
