"""The Report tab of the Compare page."""

from __future__ import annotations

import re
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import finished

Visit = Callable[..., AppTest]
MODEL = "resnet_fmnist"
BASELINE = Recipe(model=MODEL)
INT8 = Recipe(model=MODEL, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
OPENVINO = Recipe(model=MODEL, runtime="openvino", name="*Mine* $x$")
MIB = 2**20


def leave_all(store: Store) -> list[str]:
    return [
        finished(store, BASELINE, p50_ms=2.0, size_bytes=4 * MIB),
        finished(store, INT8, p50_ms=0.5, size_bytes=MIB),
        finished(store, OPENVINO, p50_ms=1.0, size_bytes=4 * MIB),
    ]


def headline(page: AppTest) -> str:
    return next(each.value for each in page.markdown if each.value.startswith("####"))


def captions(page: AppTest) -> str:
    return "\n".join(each.value for each in page.caption)


def changes(page: AppTest) -> set[tuple[str, str]]:
    """Colour and words of every change below a key figure."""
    found = (re.fullmatch(r":small\[:(\w+)-background\[(.+)\]\]", each.value) for each in page.markdown)
    return {(each[1], each[2]) for each in found if each}


def test_the_tab_says_what_the_report_will_say(visit: Visit, store: Store) -> None:
    leave_all(store)
    page = visit("compare", model=MODEL, tab="Report")
    assert "faster and 4.00x smaller than the untouched model" in headline(page).replace("\\", "")
    assert "lowest p50 of the 2 variants" in captions(page).replace("\\", "")
    shown = {metric.label: metric.value for metric in page.metric}
    assert (shown["Size of the file"], shown["Accuracy"]) == ("1.00 MiB", "93.00 %")
    assert {("green", "4.00x smaller"), ("gray", "no measurable difference")} <= changes(page)
    (button,) = page.get("download_button")
    assert button.proto.label == "Download report"
    assert not button.proto.disabled
    assert not page.get("iframe")


def test_another_variant_can_be_recommended_and_its_name_is_not_markdown(visit: Visit, store: Store) -> None:
    leave_all(store)
    page = visit("compare", model=MODEL, tab="Report")
    chooser = next(each for each in page.selectbox if each.label == "Recommended variant")
    assert chooser.value == store.finished_before(INT8).id
    chooser.set_value(store.finished_before(OPENVINO).id).run()
    assert headline(page).startswith(r"#### \*Mine\* \$x\$ is 2.0")
    assert "author" in captions(page)


def test_a_price_by_the_hour_gives_costs_and_savings(visit: Visit, store: Store) -> None:
    leave_all(store)
    page = visit("compare", model=MODEL, tab="Report")
    assert not page.dataframe
    assert "Enter a price" in captions(page)
    page.number_input(key="report.amount").set_value(3.6).run()
    page.button_group(key="report.currency").set_value("EUR").run()
    table = page.dataframe[0].value
    assert list(table.variant) == ["FP32 · PyTorch", INT8.title, "*Mine* $x$"]
    assert [each[0] for each in table.cost] == ["€"] * 3
    assert table.saving[0] == "baseline"
    assert table.saving[1].startswith("75.") or table.saving[1].startswith("74.")
    cost = next(metric for metric in page.metric if metric.label.startswith("Cost"))
    assert cost.value == table.cost[1]
    assert ("green", table.saving[1]) in changes(page)


def test_electricity_needs_the_power_where_no_energy_was_measured(visit: Visit, store: Store) -> None:
    leave_all(store)
    page = visit("compare", model=MODEL, tab="Report")
    page.button_group(key="report.per").set_value("kwh").run()
    page.number_input(key="report.amount").set_value(0.3).run()
    assert set(page.dataframe[0].value.cost) == {"not known"}
    assert "enter the power" in captions(page)
    page.number_input(key="report.watts").set_value(50.0).run()
    assert "the power you entered" in captions(page).replace("\\", "")
    assert "not known" not in set(page.dataframe[0].value.cost)


def test_a_power_of_nothing_is_refused_in_a_sentence(visit: Visit, store: Store) -> None:
    leave_all(store)
    page = visit("compare", model=MODEL, tab="Report")
    page.button_group(key="report.per").set_value("kwh").run()
    page.number_input(key="report.amount").set_value(0.3)
    page.number_input(key="report.watts").set_value(0.0).run()
    assert "more than 0 W" in page.error[0].value
    assert not page.exception


def test_the_whole_report_is_shown_on_demand(visit: Visit, store: Store) -> None:
    leave_all(store)
    page = visit("compare", model=MODEL, tab="Report")
    page.text_input(key="report.title").set_value("For the <b>board</b>")
    page.toggle(key="report.preview").set_value(True).run()
    (frame,) = page.get("iframe")
    assert "<h1>For the &lt;b&gt;board&lt;/b&gt;</h1>" in frame.proto.srcdoc


def test_a_baseline_alone_makes_no_report(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    page = visit("compare", model=MODEL, tab="Report")
    assert "Choose a variant" in page.info[0].value
    assert not page.get("download_button")


def test_without_the_baseline_the_report_claims_nothing(visit: Visit, store: Store) -> None:
    finished(store, INT8, p50_ms=0.5)
    page = visit("compare", model=MODEL, tab="Report")
    assert "untouched" not in headline(page)
    assert {metric.delta for metric in page.metric} == {""}
