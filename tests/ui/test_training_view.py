"""The comparison of training on a page of its own."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from core.quantization import TrainingComparison
from experiments.training_gain import gain_of
from tests.experiments.training_comparisons import comparison
from ui.training_view import measures, turns, why_not


def page(shown: object) -> None:
    from ui.training_view import draw_training

    draw_training(shown, colour="#123456")  # type: ignore[arg-type]


def drawn(shown: TrainingComparison) -> AppTest:
    test = AppTest.from_function(page, args=(shown,), default_timeout=60).run()
    assert not test.exception
    return test


def test_it_says_first_what_may_be_said_of_the_speed() -> None:
    words = [each.value for each in drawn(comparison(ratio=1.3)).markdown]
    assert any("1.30 times the samples per second" in each and each.startswith(":green[") for each in words)
    words = [each.value for each in drawn(comparison(ratio=0.8)).markdown]
    assert any("Slower\\: 0.80 times" in each and each.startswith(":red[") for each in words)


def test_the_table_has_every_measure_of_both() -> None:
    frame = measures(gain_of(comparison(precision="fp16")))
    assert list(frame.columns) == ["Measure", "FP16", "FP32", "Difference"]
    row = frame.set_index("Measure").loc
    assert row["Images per second", "FP32"] == "3,202"
    assert row["Memory", "Difference"] == "42 % less memory"
    assert row["Memory", "FP32"] == "9.54 MiB"
    assert row["Validation accuracy", "FP16"] == "89.90 %"
    assert row["Training loss at the end", "Difference"] == "+0.000"


@pytest.mark.parametrize(("precision", "figures"), [("bf16", 2), ("fp16", 3)])
def test_a_loss_scale_has_a_figure_of_its_own(precision: str, figures: int) -> None:
    assert len(drawn(comparison(precision=precision)).get("plotly_chart")) == figures  # type: ignore[arg-type]


def test_every_turn_is_in_the_table_behind() -> None:
    shown = comparison(precision="fp16")
    frame = turns(shown)
    assert list(frame["Steps"]) == list(shown.turns)
    assert set(frame["Loss scale"]) == {2.0**16, 2.0**15}
    assert {"Loss, FP16", "Images/s, FP16", "Loss, FP32", "Images/s, FP32"} <= set(frame.columns)


def test_a_small_batch_is_named_as_a_reason_only_where_nothing_was_gained() -> None:
    assert "1 image a step" in why_not(gain_of(comparison(ratio=0.9, batch_size=1)), 1)
    assert why_not(gain_of(comparison(ratio=0.9)), 64) == ""
    assert why_not(gain_of(comparison(ratio=1.3, batch_size=1)), 1) == ""
