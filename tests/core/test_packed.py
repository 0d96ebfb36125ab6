from __future__ import annotations

from typing import Annotated

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from core.errors import BadInput
from core.packed import Packed, PackedField


class Holder(BaseModel):
    model_config = ConfigDict(frozen=True)

    times: Annotated[Packed, PackedField("<u4", 10_000)]
    classes: Annotated[Packed, PackedField("<i4")] = Packed.of([], "<i4")


def test_numbers_come_back_exactly_through_json() -> None:
    times = np.random.default_rng(0).uniform(0, 5000, 10_000).round(4)
    held = Holder(times=times, classes=[3, -1, 7])
    again = Holder.model_validate_json(held.model_dump_json())
    assert again == held
    np.testing.assert_array_equal(again.times.array, times)
    assert again.classes.integers.tolist() == [3, -1, 7]
    assert len(again.times) == 10_000


def test_the_text_is_much_shorter_than_the_numbers() -> None:
    predictions = np.random.default_rng(0).integers(0, 10, 10_000)
    assert len(Packed.of(predictions, "<i4").text) < len(str(predictions.tolist())) / 3


def test_plain_lists_are_there_for_those_who_cannot_unpack() -> None:
    plain = Holder(times=[0.5, 1.25], classes=[1]).model_dump(mode="json", context={"plain": True})
    assert plain == {"times": [0.5, 1.25], "classes": [1]}


@pytest.mark.parametrize("values", [[-1.0], [float("nan")], [1e9]])
def test_what_does_not_fit_is_refused(values: list[float]) -> None:
    with pytest.raises(BadInput, match="expected 0 to"):
        Packed.of(values, "<u4", 10_000)


@pytest.mark.parametrize("text", ["", "rubbish", "<f8/1:AAAA", "<u4/0:eJwDAAAAAAE=", "<u4/1:AAAA"])
def test_what_is_not_a_packed_series_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a packed series|padding|base64"):
        Holder(times=text)


def test_the_numbers_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Packed.of([1.0], "<u4").array[0] = 2
