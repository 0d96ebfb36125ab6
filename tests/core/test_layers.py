from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from core.layers import Layer, LayerProfile

CONV = Layer(
    name="features.3", op="QLinearConv", kind="compute", time_ms=0.04, precision="int8", macs=1000, weight_bytes=10,
    input_bytes=20, output_bytes=30, channels=(16, 32), groups=2, padding=0.25,
)  # fmt: skip
CAST = Layer(name="q", op="QuantizeLinear", kind="conversion", time_ms=0.01, precision="fp32")
PROFILE = LayerProfile(batch_size=2, calls=30, call_ms=0.07, layers=(CAST, CONV), resolution_ms=0.001)


def test_a_profile_survives_json_and_takes_few_bytes_a_layer() -> None:
    text = PROFILE.model_dump_json()
    assert LayerProfile.model_validate_json(text) == PROFILE
    assert LayerProfile.model_validate(json.loads(json.dumps(PROFILE.model_dump(mode="json")))) == PROFILE
    many = PROFILE.model_copy(update={"layers": (CONV,) * 300})
    assert len(many.model_dump_json()) < 100 * 300


def test_a_layer_is_written_as_a_row_in_the_order_of_its_fields() -> None:
    row = CONV.model_dump(mode="json")
    assert row == ["features.3", "QLinearConv", "compute", 0.04, "int8", 1000, 10, 20, 30, [16, 32], 2, 0.25, None]
    with pytest.raises(ValidationError):
        Layer.model_validate([*row[:2], "guesses", *row[3:]])


def test_layers_and_overhead_are_the_call() -> None:
    assert PROFILE.layers_ms == pytest.approx(0.05)
    assert PROFILE.overhead_ms == pytest.approx(0.02)
    assert PROFILE.layers_ms + PROFILE.overhead_ms == pytest.approx(PROFILE.call_ms)
    assert (PROFILE.of("compute"), PROFILE.of("other"), PROFILE.macs) == ((CONV,), (), 1000)
    assert CONV.moved_bytes == 60
