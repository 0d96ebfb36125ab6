from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd
import pytest

from core.errors import BadInput
from experiments.compare import DISTURBED, against_baseline, variants
from experiments.measures import NO_DIFFERENCE
from experiments.recipe import Recipe
from experiments.recommendation import baseline, headline, in_a_list, recommend, size_words
from experiments.store import Store
from tests.experiments.synthetic import finish_with

MIB = 2**20
BASELINE = Recipe(model="resnet_fmnist")


def leave(store: Store, name: str, *, wrong: int = 60, median_ms: float, size_bytes: int = MIB) -> str:
    """A finished variant of that name; the images it has wrong are the first ones."""
    recipe = Recipe(model="resnet_fmnist", runtime="onnxruntime", name=name)
    return finish_with(store, recipe, wrong=range(wrong), median_ms=median_ms, size_bytes=size_bytes)


def leave_baseline(store: Store) -> str:
    return finish_with(store, BASELINE, wrong=range(60), median_ms=4.0, size_bytes=4 * MIB)


def table(store: Store) -> pd.DataFrame:
    records = store.runs()
    return against_baseline(variants(records), store.results([record.id for record in records]))


def row_of(frame: pd.DataFrame, run_id: str) -> pd.Series[Any]:
    return frame[frame.run_id == run_id].iloc[0]


def test_the_fastest_without_measurable_loss_is_recommended_and_not_the_fastest_of_all(store: Store) -> None:
    leave_baseline(store)
    leave(store, "Fast and wrong", wrong=120, median_ms=0.5)
    best = leave(store, "Good", wrong=63, median_ms=1.0)
    leave(store, "Slower", wrong=60, median_ms=2.0)
    chosen = recommend(table(store))
    assert chosen.run_id == best
    assert chosen.reason == "It has the lowest p50 of the 2 variants without a measurable loss of accuracy."


def test_variants_that_are_not_measurably_slower_are_named(store: Store) -> None:
    leave_baseline(store)
    best = leave(store, "First", median_ms=1.0)
    leave(store, "Second", median_ms=1.02)
    leave(store, "Third", median_ms=1.01)
    leave(store, "Fourth", median_ms=1.5)
    chosen = recommend(table(store))
    assert chosen.run_id == best
    assert chosen.reason.endswith("; Second and Third are not measurably slower.")


def test_where_all_lose_the_one_that_loses_least_is_recommended(store: Store) -> None:
    leave_baseline(store)
    leave(store, "Bad", wrong=200, median_ms=0.5)
    least = leave(store, "Less bad", wrong=100, median_ms=1.0)
    chosen = recommend(table(store))
    assert chosen.run_id == least
    assert "loses least" in chosen.reason


def test_without_a_baseline_the_most_accurate_is_taken_and_nothing_is_claimed(store: Store) -> None:
    leave(store, "Fast", wrong=70, median_ms=0.5)
    right = leave(store, "Right", wrong=50, median_ms=1.0)
    frame = table(store)
    chosen = recommend(frame)
    assert chosen.run_id == right
    assert "without the baseline" in chosen.reason
    sentence = headline(row_of(frame, right), baseline(frame))
    assert sentence.startswith("Right answers in 1.00 ms and is right on 95.00 %")
    assert not any(word in sentence for word in ("faster", "smaller", "untouched"))


def test_a_baseline_alone_cannot_be_recommended(store: Store) -> None:
    leave_baseline(store)
    with pytest.raises(BadInput, match="beside the baseline"):
        recommend(table(store))


def test_the_headline_has_speed_size_and_accuracy_with_its_interval(store: Store) -> None:
    leave_baseline(store)
    run_id = leave(store, "INT8", wrong=61, median_ms=1.0, size_bytes=MIB)
    frame = table(store)
    row = row_of(frame, run_id)
    assert headline(row, baseline(frame)) == (
        f"INT8 is {row.speedup:.2f}x faster and 4.00x smaller than the untouched model, with no measurable difference "
        f"in accuracy (93.90 %, 95 % interval {100 * row.accuracy_low:.2f} to {100 * row.accuracy_high:.2f} %)."
    )


@pytest.mark.parametrize(
    ("wrong", "median_ms", "size_bytes", "words"),
    [
        (160, 1.0, MIB, "x faster and 4.00x smaller than the untouched model, at the cost of 10.00 points of accuracy"),
        (10, 1.0, MIB, "x faster and 4.00x smaller than the untouched model, with a gain of 5.00 points of accuracy"),
        (
            60,
            8.0,
            MIB,
            "x slower but 4.00x smaller than the untouched model, with no measurable difference in acc",
        ),
        (60, 1.0, 8 * MIB, "x faster but 2.00x larger than the untouched model"),
        (60, 8.0, 8 * MIB, "x slower and 2.00x larger than the untouched model"),
        (60, 4.0, MIB, "is 4.00x smaller than the untouched model, with no measurable difference in speed or accuracy"),
        (
            160,
            4.0,
            4 * MIB,
            "as large as the untouched model, with no measurable difference in speed and at the cost",
        ),
    ],
)
def test_the_headline_says_what_is_better_and_what_is_worse(
    store: Store, wrong: int, median_ms: float, size_bytes: int, words: str
) -> None:
    leave_baseline(store)
    run_id = leave(store, "It", wrong=wrong, median_ms=median_ms, size_bytes=size_bytes)
    frame = table(store)
    assert words in headline(row_of(frame, run_id), baseline(frame))


def test_no_headline_claims_what_its_verdicts_deny(store: Store) -> None:
    leave_baseline(store)
    for wrong, median_ms in product((58, 60, 63, 200), (1.0, 3.9, 4.0, 4.1, 9.0)):
        leave(store, f"{wrong}/{median_ms}", wrong=wrong, median_ms=median_ms)
    frame = table(store)
    for _, row in frame[~frame.is_baseline.astype(bool)].iterrows():
        sentence = headline(row, baseline(frame))
        is_as_fast, is_as_good = row.latency_verdict == NO_DIFFERENCE, row.accuracy_verdict == NO_DIFFERENCE
        assert (row.latency_verdict in sentence) or is_as_fast
        assert ("faster" in sentence or "slower" in sentence) != is_as_fast
        assert ("cost of" in sentence or "gain of" in sentence) != is_as_good
        assert (NO_DIFFERENCE in sentence) == (is_as_fast or is_as_good)


@pytest.mark.parametrize(("median_ms", "joined"), [(0.5, "x faster{} and 8.00x"), (8, "x slower{} but 8.00x")])
def test_a_doubted_speed_is_called_so_in_the_headline(store: Store, median_ms: float, joined: str) -> None:
    leave_baseline(store)
    variant = leave(store, "variant", median_ms=median_ms, size_bytes=MIB // 2)
    frame = table(store)
    doubted = frame.assign(latency_verdict=frame.latency_verdict + DISTURBED)
    assert joined.format("") in headline(row_of(frame, variant), frame.iloc[0])
    assert joined.format(" (timing disturbed)") in headline(row_of(doubted, variant), frame.iloc[0])


def test_a_size_is_compared_by_its_bytes() -> None:
    small, large = pd.Series({"size_bytes": 1000}), pd.Series({"size_bytes": 2500})
    assert size_words(small, large) == "2.50x smaller"
    assert size_words(large, small) == "2.50x larger"
    assert size_words(small, pd.Series({"size_bytes": 1004})) == ""


def test_words_in_a_list() -> None:
    assert [in_a_list(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
