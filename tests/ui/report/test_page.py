from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from experiments.cost import Price
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml
from experiments.report import Report, Wishes
from experiments.store import Store
from tests.ui.report.reading import BASELINE, INT8, MIB, Node, leave, read, report_on
from ui.glossary import TERMS
from ui.report import html_of, library_bytes
from ui.report.page import ALWAYS, OF_TECHNIQUE
from ui.text import data_size
from ui.theme import BASELINE_LIGHT, LIGHT

ROOT = Path(__file__).resolve().parents[3]
NASTY = """</script><script>alert(1)</script> <img src=x onerror=y> "a" 'b' & ]]> --> $title ${library} 50 %"""
WHY = (
    (
        "Why INT8 is 2.0x faster",
        (("Conversions", 0.1234, "They <only> change the format."), ("Kernels", -0.02, "Faster.")),
    ),
)


@pytest.fixture
def report(store: Store) -> Report:
    """A baseline, INT8, and a variant with a name that would like to be code."""
    leave(store, BASELINE, p50_ms=2.0, size_bytes=3 * MIB)
    leave(store, INT8, p50_ms=0.5, size_bytes=MIB)
    leave(store, Recipe(model="resnet_fmnist", runtime="openvino", name=NASTY), p50_ms=1.0, size_bytes=2 * MIB)
    return report_on(store, Wishes(title=NASTY, price=Price(1.2, "hour", "EUR"), why=WHY))


@pytest.fixture
def page(report: Report) -> Node:
    return read(html_of(report))


def section(page: Node, key: str) -> Node:
    return next(each for each in page.all("section") if each.attributes["id"] == key)


def rows(node: Node) -> list[list[str]]:
    return [[cell.text for cell in row.children if isinstance(cell, Node)] for row in node.all("tr")[1:]]


def test_no_text_becomes_code(page: Node) -> None:
    assert len(page.all("script")) == 3
    assert page.all("img") == []
    assert all(not name.startswith("on") for node in page.every() for name in node.attributes)
    assert page.all("h1")[0].text == page.all("title")[0].text == NASTY
    assert NASTY in section(page, "variants").text
    assert NASTY in [each.text for each in section(page, "recipes").all("summary")]


def test_nothing_is_loaded_from_anywhere(page: Node) -> None:
    for node in page.every():
        assert not {"src", "srcset", "action", "poster", "data", "background"} & set(node.attributes)
        assert node.attributes.get("href", "#").startswith("#")
        assert "url(" not in node.attributes.get("style", "")
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    assert page.all("link") == []


def test_its_own_policy_allows_these_scripts_and_no_request(page: Node) -> None:
    policy = next(node.attributes["content"] for node in page.all("meta") if "http-equiv" in node.attributes)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "http" not in policy
    running = [node.text for node in page.all("script") if "type" not in node.attributes]
    hashes = [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in running]
    assert rules["script-src"].split() == hashes


def test_the_drawing_library_is_inside_once_and_the_size_is_told(report: Report) -> None:
    html = html_of(report)
    assert html.count("* plotly.js v") == 1
    assert library_bytes() < len(html.encode()) < library_bytes() + 2 * MIB
    told = re.search(r"one file of ([\d.]+) MiB", html)
    assert told
    assert float(told[1]) == pytest.approx(len(html.encode()) / MIB, abs=0.02)


def test_the_table_has_the_numbers_of_the_frame(report: Report, page: Node) -> None:
    shown = rows(section(page, "variants"))
    base = report.frame.iloc[0]
    for cells, (_, row) in zip(shown, report.frame.iterrows(), strict=True):
        assert cells[0].startswith(row.title)
        assert cells[1].startswith(f"{100 * row.accuracy:.2f} %")
        assert cells[3].startswith(f"{row.p50_ms:.3f} ms")
        assert f"{row.p50_low_ms:.3f} to {row.p50_high_ms:.3f}" in cells[3]
        assert cells[6] == f"{row.size_bytes / MIB:.2f} MiBcompressed {data_size(row.gzip_bytes)}"
        if row.is_baseline:
            assert [cells[at] for at in (2, 4, 7)] == ["baseline"] * 3
        else:
            assert cells[4] == f"{row.p50_ms - base.p50_ms:+.3f} ms{row.latency_verdict}"
            assert cells[7].startswith(f"{(row.size_bytes - base.size_bytes) / MIB:+.2f} MiB")
            assert cells[2] == "+0.00 pointsno measurable difference"


@pytest.mark.parametrize(("base_ms", "change"), [(0.0072, "+0.0 µs"), (2.0, "+0.000 ms")])
def test_a_change_has_the_unit_of_what_it_is_counted_from(store: Store, base_ms: float, change: str) -> None:
    leave(store, BASELINE, p50_ms=base_ms, size_bytes=MIB)
    leave(store, INT8, p50_ms=base_ms, size_bytes=MIB)
    shown = rows(section(read(html_of(report_on(store))), "variants"))
    assert shown[1][4] == f"{change}no measurable difference"


def test_the_recommended_variant_stands_out(report: Report, page: Node) -> None:
    (marked,) = [row for row in section(page, "variants").all("tr") if row.attributes.get("class") == "marked"]
    assert marked.of_class("recommended")[0].text == "recommended"
    assert report.titles[report.recommended] in marked.text
    values = [tile.text for tile in section(page, "key-figures").of_class("value")]
    assert values == [figure.value for figure in report.key_figures]


def test_every_figure_has_its_place_and_light_colours(page: Node) -> None:
    figures = json.loads(next(node.text for node in page.all("script") if "type" in node.attributes))
    places = [node.attributes["data-figure"] for node in page.of_class("chart")]
    assert places == list(figures)
    assert len(places) == 6
    assert all(node.attributes["aria-label"] for node in page.of_class("chart"))
    tints = figures["p50_ms"]["data"][1]["marker"]["color"]
    assert tints == [BASELINE_LIGHT, LIGHT[0], LIGHT[1]]
    assert {each["layout"]["template"]["layout"]["paper_bgcolor"] for each in figures.values()} == {"#FFFFFF"}


def test_the_contents_lead_to_every_section(page: Node) -> None:
    targets = [node.attributes["href"] for node in page.all("nav")[0].all("a")]
    assert targets == [f"#{each.attributes['id']}" for each in page.all("section")]
    for each in page.all("section"):
        (heading,) = [node for node in each.every() if node.attributes.get("id") == each.attributes["aria-labelledby"]]
        assert heading.name == "h2"


def test_headings_skip_no_level(page: Node) -> None:
    levels = [int(node.name[1]) for node in page.every() if re.fullmatch(r"h\d", node.name)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_causes_are_listed_with_signed_times(page: Node) -> None:
    why = section(page, "why")
    assert why.all("h3")[0].text == WHY[0][0]
    assert rows(why) == [
        ["Conversions", "+0.123 ms", "They <only> change the format."], ["Kernels", "-0.020 ms", "Faster."]
    ]  # fmt: skip


def test_causes_that_are_all_of_microseconds_are_told_so(store: Store) -> None:
    leave(store, BASELINE)
    leave(store, INT8)
    page = read(
        html_of(report_on(store, Wishes(why=(("Why", (("A", 0.0083, "Slower."), ("B", -0.0004, "Faster."))),))))
    )
    assert [row[1] for row in rows(section(page, "why"))] == ["+8.3 µs", "-0.4 µs"]


def test_costs_are_listed_with_their_source(report: Report, page: Node) -> None:
    cost = section(page, "cost")
    assert rows(cost) == [[line.title, line.amount, line.words] for line in report.costs]
    assert "the measured throughput and €1.20 per hour" in cost.all("caption")[0].text


def test_without_causes_and_price_their_sections_are_left_out(store: Store) -> None:
    leave(store, BASELINE, p50_ms=2.0)
    leave(store, INT8, p50_ms=0.5)
    keys = [each.attributes["id"] for each in read(html_of(report_on(store))).all("section")]
    assert "why" not in keys
    assert "cost" not in keys
    assert {"key-figures", "variants", "charts", "limits", "conditions", "recipes", "terms"} == set(keys)


def test_recipes_can_be_copied_out_of_the_page(page: Node) -> None:
    codes = [from_yaml(code.text) for code in section(page, "recipes").all("code")]
    assert codes == [BASELINE, INT8, Recipe(model="resnet_fmnist", runtime="openvino", name=NASTY)]


def test_conditions_that_are_alike_are_told_once(page: Node) -> None:
    conditions = section(page, "conditions")
    alike = dict(zip([dt.text for dt in conditions.all("dt")], [dd.text for dd in conditions.all("dd")], strict=True))
    assert alike["Device"] == "A CPU"
    assert alike["torch"] == "2.14.1"
    head = [cell.text for cell in conditions.all("thead")[0].all("th")]
    assert "Precision" in head
    assert not set(head) & set(alike)


def test_terms_are_those_used(page: Node) -> None:
    terms = [dt.text for dt in section(page, "terms").all("dt")]
    assert set(terms) == {*ALWAYS, "Test accuracy", *OF_TECHNIQUE["int8"]}
    assert {*ALWAYS, "Test accuracy", "Agreement"}.union(*OF_TECHNIQUE.values()) <= set(TERMS)


def test_limits_and_caveats_are_in_it(report: Report, page: Node) -> None:
    assert [li.text for li in section(page, "limits").all("li")] == list(report.limits)
    assert page.all("aside") == []


def test_percentiles_stand_behind_the_chart_of_calls(report: Report, page: Node) -> None:
    behind = section(page, "charts").all("details")[-1]
    assert behind.all("summary")[0].text == "Percentiles of latency"
    for cells, run_id in zip(rows(behind), report.titles, strict=True):
        latency = report.results[run_id].latency
        assert cells[1] == f"{len(latency.samples_ms):,}"
        assert cells[3].startswith(f"{latency.p50_ms:.3f}")
        assert cells[6] == "n too small"


def test_writing_a_report_needs_no_streamlit() -> None:
    code = "import sys; sys.modules['streamlit'] = None; import ui.report; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "fine", done.stderr


def test_microseconds_and_kibibytes_keep_their_digits(store: Store) -> None:
    leave(store, BASELINE, p50_ms=0.0153, size_bytes=80 * 1024)
    leave(store, INT8, p50_ms=0.0072, size_bytes=30 * 1024)
    report = report_on(store)
    page = read(html_of(report))
    base, int8 = (row for _, row in report.frame.iterrows())
    cells = rows(section(page, "variants"))[1]
    low, high = 1000 * int8.p50_low_ms, 1000 * int8.p50_high_ms
    assert cells[3] == f"{1000 * int8.p50_ms:.1f} µs{low:.1f} to {high:.1f}"
    assert cells[4].startswith(f"-{1000 * (base.p50_ms - int8.p50_ms):.1f} µs")
    assert cells[6:8] == ["30.0 KiBcompressed 27.0 KiB", "-50.0 KiB2.67x smaller"]
    assert "28.8 µs" in section(page, "charts").all("details")[0].text  # the first call takes 4 times as long
    assert rows(section(page, "charts").all("details")[-1])[1][3].startswith(f"{1000 * int8.p50_ms:.1f} µs")
