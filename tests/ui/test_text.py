"""Numbers and words as they appear on screen."""

from __future__ import annotations

import time

import pytest

from ui import text


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(512, "512 B"), (2048, "2.00 KiB"), (1_583_000, "1.51 MiB"), (44 * 2**20, "44.0 MiB"), (25 * 2**30, "25.0 GiB")],
)
def test_data_sizes(size_bytes: int, shown: str) -> None:
    assert text.data_size(size_bytes) == shown


def test_three_digits_of_a_time_a_count_and_a_share() -> None:
    assert [text.milliseconds(value) for value in (0.4711, 12.34, 123.4)] == ["0.47 ms", "12.3 ms", "123 ms"]
    assert [text.count(value) for value in (586, 9_030, 45_300_000, 1.82e9)] == ["586", "9.03 k", "45.3 M", "1.82 G"]
    assert text.share(0.9283) == "92.83 %"


@pytest.mark.parametrize(
    ("passed", "shown"), [(5, "just now"), (200, "3 min ago"), (7300, "2 h ago"), (2e5, "2 d ago")]
)
def test_how_long_ago(passed: float, shown: str) -> None:
    assert text.ago(time.time() - passed) == shown


def test_escaped_text_holds_no_markdown() -> None:
    assert text.escape("![x](http://a.b) `c` :red[d]") == r"\!\[x\]\(http\://a.b\) \`c\` \:red\[d\]"
