"""Settings models drawn as controls."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from optimizers import TECHNIQUES
from ui.widgets import grouped, number_format, options_of, split_names


def page(**start: object) -> None:
    from typing import Literal

    import streamlit as st
    from pydantic import BaseModel, ConfigDict

    from core.errors import BadInput
    from core.settings import choice, names, other_model, slider, text, variants
    from ui.widgets import controls

    class Settings(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid")
        epochs: int = slider(2, low=1, high=10, step=1, title="Epochs", help="Passes over the data.", unit="epochs")
        ratio: float = slider(0.5, low=0.05, high=0.95, step=0.05, title="Ratio", help="Share.", unit="of weights")
        method: Literal["minmax", "entropy"] = choice("minmax", title="Method", help="How.", labels={"minmax": "Range"})
        student: Literal["a", "b", "c"] = choice(
            "b", title="Student", help="Who.", labels={name: 20 * name for name in "abc"}
        )
        keep: tuple[str, ...] = names(title="Keep", help="Which.")
        name: str = text("net", title="Name", help="Called.", pattern="^[a-z]+$", only_if=("student", ("a",)))
        teachers: tuple[str, ...] = variants(title="Teachers", help="Who teaches.")
        other: str = other_model(title="Another", help="Which model.")
        batch: int = slider(8, low=1, high=64, step=1, title="Batch", help="Images.", unit="images", group="Training")
        layers: bool = choice(True, title="All layers", help="Or some.", advanced=True)

    offered = {"d1": "Pruned", "d2": "Narrow"}
    try:
        chosen = controls(Settings.model_validate(start), key="k", variants=offered, models={"own-a": "Mine"})
        st.session_state["result"] = chosen.model_dump()
    except BadInput as error:
        st.error(str(error))


def drawn(**start: object) -> AppTest:
    """The page above after its first run."""
    test = AppTest.from_function(page, kwargs=start, default_timeout=60).run()
    assert not test.exception
    return test


DEFAULTS = {
    "epochs": 2, "ratio": 0.5, "method": "minmax", "student": "b", "keep": (), "name": "net", "teachers": (),
    "other": "", "batch": 8, "layers": True,
}  # fmt: skip


def test_untouched_controls_give_the_start_back_with_its_types() -> None:
    result = drawn().session_state["result"]
    assert result == DEFAULTS
    assert {name: type(value) for name, value in result.items()} == {
        name: type(value) for name, value in DEFAULTS.items()
    }


def test_values_from_elsewhere_survive_even_off_the_sliders_grid() -> None:
    start = {
        "epochs": 7, "ratio": 0.333, "method": "entropy", "student": "a", "keep": ("head", "stem.*"), "name": "other",
        "teachers": ("gone", "d2"), "other": "own-gone", "batch": 3, "layers": False,
    }  # fmt: skip
    assert drawn(**start).session_state["result"] == start


def test_moving_controls_changes_the_settings() -> None:
    test = drawn()
    test.slider(key="k.epochs").set_value(9)
    test.slider(key="k.ratio").set_value(55)
    test.get_by_key("k.method").set_value("entropy")
    test.selectbox(key="k.student").set_value("c")
    test.text_input(key="k.keep").set_value("head")
    test.multiselect(key="k.teachers").set_value(["d2", "d1"])
    test.toggle(key="k.layers").set_value(False)
    assert test.run().session_state["result"] == {
        "epochs": 9, "ratio": 0.55, "method": "entropy", "student": "c", "keep": ("head",), "name": "net",
        "teachers": ("d2", "d1"), "other": "", "batch": 8, "layers": False,
    }  # fmt: skip


def test_bounds_help_and_titles_come_from_the_fields() -> None:
    test = drawn()
    epochs = test.slider(key="k.epochs")
    assert (epochs.min, epochs.max, epochs.step, epochs.label, epochs.help) == (
        1, 10, 1, "Epochs", "Passes over the data.",
    )  # fmt: skip
    ratio = test.slider(key="k.ratio")
    assert (ratio.min, ratio.max, ratio.step, ratio.value) == (5, 95, 5, 50), "a share, in percent"
    assert ratio.proto.format == "%d %% of weights"
    assert test.slider(key="k.batch").label == "Batch (images)", "one of them is not called images"
    assert test.get_by_key("k.method").options == ["Range", "entropy"]


def test_how_it_trains_comes_last() -> None:
    assert [expander.label for expander in drawn().expander] == ["Advanced", "Training in detail"]


def test_what_does_nothing_is_hidden_and_keeps_its_value() -> None:
    test = drawn(student="a", name="other")
    test.text_input(key="k.name").set_value("third").run()
    assert test.session_state["result"]["name"] == "third"
    test.selectbox(key="k.student").set_value("b").run()
    assert "Name" not in [field.label for field in test.text_input]
    assert test.session_state["result"]["name"] == "other", "as it began: what is hidden changes no recipe"
    test.selectbox(key="k.student").set_value("a").run()
    assert test.text_input(key="k.name").value == "third"


def test_a_text_that_does_not_fit_is_refused_with_a_sentence() -> None:
    test = drawn(student="a")
    test.text_input(key="k.name").set_value("No Net").run()
    assert "These settings do not fit: name" in test.error[0].value


def test_variants_go_by_title_and_one_that_is_gone_can_be_taken_out() -> None:
    test = drawn(teachers=("0f3a5b6c7d8e9f00",))
    field = test.multiselect(key="k.teachers")
    assert field.options == ["Pruned", "Narrow", "not here: 0f3a5b6c"]
    field.set_value([]).run()
    assert test.session_state["result"]["teachers"] == ()


@pytest.mark.parametrize("technique", TECHNIQUES.values(), ids=list(TECHNIQUES))
def test_what_a_setting_depends_on_is_drawn_before_it_and_can_have_the_values(technique: type) -> None:
    drawn_before: dict[str, object] = {}
    for fields in grouped(technique).values():
        for name, field in fields.items():
            on, wanted = field.json_schema_extra["only_if"] or ("", ())
            if on:
                assert set(wanted) < set(options_of(drawn_before[on])), f"{name} is shown always or never"
            drawn_before[name] = field


def test_advanced_settings_are_folded_away() -> None:
    test = drawn()
    assert [toggle.label for toggle in test.expander(key="k.group.advanced").toggle] == ["All layers"]
    assert len(test.toggle) == 1


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("", ()),
        (" , ,", ()),
        ("head", ("head",)),
        (" blocks.0.* ,Linear,, Linear", ("blocks.0.*", "Linear")),
        ("depthwise Conv2d", ("depthwise Conv2d",)),
    ],
)
def test_names_stand_between_commas_each_once(typed: str, names: tuple[str, ...]) -> None:
    assert split_names(typed) == names
    test = drawn()
    assert test.text_input(key="k.keep").set_value(typed).run().session_state["result"]["keep"] == names
    assert test.text_input(key="k.keep").value == typed


def test_names_from_elsewhere_are_shown_as_they_would_be_typed() -> None:
    assert drawn(keep=("head", "stem.*")).text_input(key="k.keep").value == "head, stem.*"


@pytest.mark.parametrize(
    ("step", "unit", "value", "shown"),
    [(1, "images", 256, "256 images"), (0.05, "", 0.5, "0.50"), (5, "%", 50, "50 %"), (0.001, "s", 0.25, "0.250 s")],
)
def test_numbers_are_shown_with_the_steps_decimals_and_unit(step: float, unit: str, value: float, shown: str) -> None:
    assert number_format(step, unit) % value == shown


def test_another_model_is_chosen_by_its_title_and_one_that_is_gone_stays() -> None:
    test = drawn()
    box = test.selectbox(key="k.other")
    assert box.options == ["none", "Mine"]
    assert box.select("own-a").run().session_state["result"]["other"] == "own-a"
    assert drawn(other="own-gone").selectbox(key="k.other").options == ["none", "Mine", "not here: own-gone"]
