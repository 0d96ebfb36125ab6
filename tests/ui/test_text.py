"""Numbers and words as they appear on screen."""

from __future__ import annotations

import re
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
    assert text.milliseconds(0.007164) == text.fine_milliseconds(0.007164) == "7.2 µs"
    assert [text.count(value) for value in (586, 9_030, 45_300_000, 1.82e9)] == ["586", "9.03 k", "45.3 M", "1.82 G"]
    assert text.share(0.9283) == "92.83 %"


@pytest.mark.parametrize(
    ("passed", "shown"), [(5, "just now"), (200, "3 min ago"), (7300, "2 h ago"), (2e5, "2 d ago")]
)
def test_how_long_ago(passed: float, shown: str) -> None:
    assert text.ago(time.time() - passed) == shown


def test_escaped_text_holds_no_markdown() -> None:
    assert text.escape("![x](y) `c :red[d] &lt;") == r"\!\[x\]\(y\) \`c \:red\[d\] \&lt;"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("add it by `studio.py install *x*` (2_3)", r"add it by `studio.py install *x*` \(2\_3\)"),
        ("`a` and `b_1`, not c_1", r"`a` and `b_1`, not c\_1"),
        ("`www.a.b`, www.a.b", "`www.a.b`, www\u2060.a.b"),
        ("``a``", r"\`\`a\`\`"),
        ("`a](x)`", r"\`a\]\(x\)\`"),
        ("`<img>`", r"\`\<img\>\`"),
        ("`a\nb`", "\\`a\nb\\`"),
    ],
)
def test_what_stands_between_backticks_is_code_unless_it_could_end_early(given: str, shown: str) -> None:
    assert text.escape(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a network of PyTorch for LiteRT", "A network of PyTorch for LiteRT"),
        ("bf16 on a CPU", "bf16 on a CPU"),
        ("torch.compile fuses", "torch.compile fuses"),
        ("`fc` is gone", "`fc` is gone"),
        ("", ""),
    ],
)
def test_a_sentence_begins_with_a_capital_and_a_name_as_it_is_called(given: str, shown: str) -> None:
    assert text.sentence(given) == shown


ADDRESS = re.compile(r"(https?://|www(?=\.))([-.\w]+)|([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)", re.IGNORECASE)
"""What mdast-util-gfm-autolink-literal, which the browser runs, makes a link of, once escapes are read."""


@pytest.mark.parametrize(
    "name",
    ["http://a.b/i.png", "see (HTTPS://a.b)", "www.a.b", "http://www.a.b?c@d.e", "mailto:a+b@c.d", "WWW.a.b x@y.z"],
)
def test_escaped_addresses_become_no_links(name: str) -> None:
    assert ADDRESS.search(name)
    read = re.sub(r"\\(?=[!-/:-@\[-`{-~])", "", text.escape(name))
    assert not ADDRESS.search(read)
    assert read.replace("\u2060", "") == name


@pytest.mark.parametrize("entity", ["www&#46;a.b", "http&#58;//a.b", "a&#64;b.c"])
def test_entities_stay_text_and_so_become_no_links(entity: str) -> None:
    assert text.escape(entity).replace("\\", "") == entity
    assert not re.search(r"(?<!\\)&", text.escape(entity))


@pytest.mark.parametrize("name", ["T-shirt", "resnet50.a1 in1k", "92.4 %", "me @ home", "awww"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert text.escape(name) == name


def test_compared_times_keep_a_digit_more_and_differences_their_sign() -> None:
    assert [text.fine_milliseconds(value) for value in (0.007164, 0.5231, 4.67)] == ["7.2 µs", "0.523 ms", "4.670 ms"]
    assert text.fine_numbers(0.00712, 0.1, like=0.0072) == ["7.1", "100.0"]
    assert [text.signed(value, text.fine_milliseconds) for value in (-0.00813, 0.25)] == ["-8.1 µs", "+0.250 ms"]
