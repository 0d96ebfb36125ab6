from __future__ import annotations

import pytest

from tests.ui.report.reading import read
from ui.report.markup import Html, bullets, details, element, safe, table, two_lines

NASTY = """<script>alert("1")</script> & 'quotes' ]]> --> ${x}"""


def test_text_is_escaped_once_and_html_is_left_alone() -> None:
    assert safe("a < b") == "a &lt; b"
    assert safe(safe("a < b")) == "a &lt; b"
    assert element("b", Html("<i>x</i>"), "<i>") == "<b><i>x</i>&lt;i&gt;</b>"


@pytest.mark.parametrize(
    "made",
    [
        element("p", NASTY),
        element("p", css=NASTY),
        element("p", "x", title=NASTY, data_key=NASTY),
        two_lines(NASTY, NASTY),
        bullets([NASTY]),
        details(NASTY, NASTY),
        table(NASTY, ["a", NASTY], [[NASTY, NASTY]], align="lr"),
    ],
)
def test_text_stays_text_wherever_it_stands(made: Html) -> None:
    root = read(made)
    assert root.all("script") == []
    values = [root.text, *(value for node in root.every() for value in node.attributes.values())]
    assert any(NASTY in value for value in values)


def test_a_table_has_headings_for_rows_and_columns_and_right_aligned_numbers() -> None:
    root = read(table("What", ["Name", "Size"], [["a", "1"], ["b", "2"]], align="lr", marked=[1]))
    assert [node.attributes.get("scope") for node in root.all("th")] == ["col", "col", "row", "row"]
    assert [node.attributes["class"] for node in root.all("td")] == ["number", "number"]
    assert [node.attributes.get("class", "") for node in root.all("tr")] == ["", "", "marked"]
    assert root.all("caption")[0].text == "What"


def test_a_row_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        table("What", ["Name", "Size"], [["a"]], align="lr")
