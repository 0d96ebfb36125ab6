"""HTML from plain text: whatever is not `Html` is escaped before it becomes part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is HTML already and goes into a page as it is."""

    __slots__ = ()


def safe(content: str) -> Html:
    """The text as HTML; unchanged where it is HTML already."""
    return content if isinstance(content, Html) else Html(escape(content))


def element(name: str, *content: str, css: str = "", **attributes: str) -> Html:
    """`<name class="css" ...>content</name>`; an underscore in an attribute's name stands for a hyphen."""
    named = {"class": css, **{key.replace("_", "-"): value for key, value in attributes.items()}}
    inside = "".join(f' {key}="{escape(value)}"' for key, value in named.items() if value)
    return Html(f"<{name}{inside}>{''.join(map(safe, content))}</{name}>")


def two_lines(first: str, second: str) -> Html:
    """A value with something smaller below it."""
    return Html(safe(first) + (element("small", second) if second else ""))


def bullets(sentences: Iterable[str]) -> Html:
    """A list."""
    return element("ul", *(element("li", each) for each in sentences))


def details(summary: str, *content: str) -> Html:
    """Something that opens on a click; printed open."""
    return element("details", element("summary", summary), *content)


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, align: str, marked: Iterable[int] = ()
) -> Html:
    """A table that scrolls by itself where it is too wide, its first column the rows' headings.

    `align` has l or r for each column, `marked` the numbers of the rows that stand out.
    """
    columns = ["number" if side == "r" else "" for side in align]
    titles = (element("th", title, css=css, scope="col") for title, css in zip(head, columns, strict=True))
    standing_out = set(marked)
    body = (_row(cells, columns, css="marked" if at in standing_out else "") for at, cells in enumerate(rows))
    content = element(
        "table", element("caption", caption), element("thead", element("tr", *titles)), element("tbody", *body)
    )
    return element("div", content, css="scrolling", tabindex="0", role="region", aria_label=caption)


def _row(cells: Sequence[str], columns: Sequence[str], *, css: str) -> Html:
    first = element("th", cells[0], scope="row")
    rest = (element("td", cell, css=column) for cell, column in zip(cells[1:], columns[1:], strict=True))
    return element("tr", first, *rest, css=css)
