from __future__ import annotations

import pytest

from experiments.layer_table import layer_table
from tests.experiments.profiled import layer, layer_profile, other, profile_result
from ui.profile.layers import columns_of, height_of, on_screen

LONG = "aten.scaled_dot_product_attention"
FRAME = layer_table(
    profile_result(
        layers=layer_profile(
            [other("transpose_1", 0.001, LONG), layer("stem", 0.03, macs=1_002_000), layer("body.0.conv1", 12_345.678)]
        )
    )
)


def test_only_names_that_are_no_modules_are_shown_beside_these() -> None:
    table = on_screen(FRAME)
    assert table.module.tolist() == ["(network)", "stem", "body.0.conv1"]
    assert table.name.tolist() == ["transpose_1", "", ""]
    assert "name" not in on_screen(FRAME[1:])


def test_units_stand_in_the_header_and_shares_are_in_percent_with_one_decimal() -> None:
    table = on_screen(FRAME)
    columns = columns_of(table, 100.0)
    assert list(columns) == list(table)
    assert {columns[name]["label"] for name in ("time_ms", "macs_per_s", "macs", "output_bytes")} == {
        "Time (ms)", "GMAC/s", "MACs (M)", "Output (KiB)",
    }  # fmt: skip
    assert columns["macs_per_s"]["type_config"]["format"] % table.macs_per_s[1] == "33.4"
    attained = columns["attained"]["type_config"]["format"] % table.attained[1]
    assert attained == "33.4 %"
    assert columns["share"]["type_config"]["format"] % table.share[2] == "100.0 %"


def test_columns_are_as_wide_as_the_longest_text_in_them() -> None:
    columns = columns_of(on_screen(FRAME), 100.0)
    # Pixels of `LONG`, `12345.6780`, `GMAC/s` and `Output (KiB)` as Chromium measures them in Source Sans of 12.25 px.
    drawn = {"op": 182.1, "time_ms": 57.8, "macs_per_s": 39.4, "output_bytes": 63.7}
    for name, pixels in drawn.items():
        assert columns[name]["width"] >= pixels + 17  # the cell's padding and its line
    assert columns["op"]["width"] < 230


@pytest.mark.parametrize("count", [1, 19, 25])
def test_a_short_table_is_seen_whole(count: int) -> None:
    assert height_of(FRAME.iloc[[0] * count]) == "content"


def test_a_long_table_ends_within_a_row() -> None:
    height = height_of(FRAME.iloc[[0] * 26])
    assert isinstance(height, int)
    assert 10 < (height - 34) % 31 < 20
