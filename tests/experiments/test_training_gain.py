from __future__ import annotations

import numpy as np
import pytest

from core.judging import LABELLED
from core.quantization import TrainingComparison
from experiments.training_gain import gain_of, smoothed, turn_losses, turn_pace
from profiling.statistics import mcnemar_p
from tests.experiments.training_comparisons import comparison


def test_the_ratio_is_found_inside_its_interval() -> None:
    gain = gain_of(comparison(ratio=1.3))
    assert gain.ratio is not None
    assert gain.ratio.low < 1.3 < gain.ratio.high
    assert gain.ratio.high - gain.ratio.low < 0.02
    assert gain.samples_per_s == pytest.approx((1000 * 64 / (20 / 1.3), 1000 * 64 / 20), rel=0.01)
    assert gain.pace == "faster"


def test_the_first_turn_is_a_warm_up_and_counts_nowhere() -> None:
    one, other = gain_of(comparison(turns=(4,) * 21)), gain_of(comparison(turns=(40,) + (4,) * 20))
    assert one.ratio is not None
    assert one.samples_per_s[1] == pytest.approx(3200, rel=0.01)
    assert other.samples_per_s[1] == pytest.approx(3200, rel=0.01)


def test_turns_of_unequal_length_are_taken_apart_as_they_were_played() -> None:
    shown = comparison(turns=(3, 1, 5))
    run = shown.runs[0]
    times = run.step_ms.array
    means = [times[:3].mean(), times[3:4].mean(), times[4:].mean()]
    assert turn_pace(run, shown) == pytest.approx(64_000 / np.asarray(means))
    losses = run.losses.array
    assert turn_losses(run, shown) == pytest.approx([losses[:3].mean(), losses[3], losses[4:].mean()])


@pytest.mark.parametrize(
    ("shown", "pace", "words"),
    [
        (comparison(ratio=1.3), "faster", "1.30 times the samples per second of FP32 (95 % interval 1.29 to 1.3"),
        (comparison(ratio=0.8), "slower", "slower: 0.80 times"),
        (comparison(ratio=1.02, noise=0.001), "no measurable difference", "no measurable difference in speed: 1.02"),
        (comparison(ratio=1.1, noise=0.6), "no measurable difference", "no measurable difference in speed"),
        (comparison(turns=(2,) * 6), "too few steps to tell", "too few steps to tell whether"),
        (comparison(turns=(1,)), "too few steps to tell", "too few steps to tell whether"),
    ],
)
def test_words_claim_no_more_than_the_interval_allows(shown: TrainingComparison, pace: str, words: str) -> None:
    gain = gain_of(shown)
    assert gain.pace == pace
    assert gain.pace_in_words.startswith(words)


@pytest.mark.parametrize(
    ("share", "words"), [(0.58, "42 % less memory"), (1.004, "as much"), (1.5, "50 % more memory")]
)
def test_memory_is_told_as_a_share(share: float, words: str) -> None:
    assert gain_of(comparison(memory_share=share)).memory_in_words.startswith(words)


def test_accuracy_differs_only_where_mcnemar_says_so() -> None:
    alike, worse = gain_of(comparison()), gain_of(comparison(only_first_right=5, only_second_right=30))
    assert alike.accuracy_verdict == "no measurable difference"
    assert worse.accuracy_verdict == "-2.50 points"
    assert worse.p_value == mcnemar_p(5, 30)


def test_the_sentence_holds_every_figure() -> None:
    sentence = gain_of(comparison(ratio=1.3)).sentence(LABELLED)
    for part in ("Training in BF16: 1.30 times", "42 % less memory", "89.90 against 90.00 %", "McNemar"):
        assert part in sentence


def test_smoothing_is_a_mean_of_what_came_last() -> None:
    values = np.random.default_rng(0).normal(size=30)
    expected = [values[max(0, end - 7) : end].mean() for end in range(1, 31)]
    assert smoothed(values, 7) == pytest.approx(expected)
    assert smoothed(values, 1) == pytest.approx(values)


def test_a_comparison_survives_json() -> None:
    shown = comparison(precision="fp16")
    again = TrainingComparison.model_validate_json(shown.model_dump_json())
    assert again == shown
    assert again.runs[0].log2_scales is not None
    assert again.runs[0].log2_scales.array.min() == 15
