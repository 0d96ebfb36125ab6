"""The main screen: from switches and sliders to a recipe in the queue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from bridges.environments import TENSORFLOW, Environment
from core.devices import find_device
from core.errors import BadInput
from experiments.checking import why_refused
from experiments.recipe import MeasurementSettings, Recipe
from experiments.recipe_file import from_yaml, to_yaml
from experiments.store import Store
from optimizers import TECHNIQUES
from runtimes import EXTRAS, RUNTIMES
from sample_models import MODELS
from tests.pages.left_behind import finished
from ui.optimise import place
from ui.widgets import applies, heading

Visit = Callable[..., AppTest]


def shown_recipe(page: AppTest) -> Recipe:
    """The recipe as the page shows it."""
    return from_yaml(page.expander(key="yaml").code[0].value)


def switch(page: AppTest, *keys: str) -> AppTest:
    """Turn the switches of these techniques."""
    for key in keys:
        toggle = page.container(key=f"technique-{key}").toggle[0]
        toggle.set_value(not toggle.value).run()
    return page


def upload(page: AppTest, content: bytes) -> AppTest:
    """Open a recipe file."""
    page.file_uploader[0].upload("recipe.yaml", content).run()
    return page


def test_a_first_visit_shows_a_recipe_that_runs(visit: Visit) -> None:
    page = visit("optimise")
    assert shown_recipe(page) == Recipe(model=next(iter(MODELS)), runtime="onnxruntime")
    assert not page.button(key="run").disabled


def test_the_address_names_the_model_and_nonsense_is_ignored(visit: Visit) -> None:
    assert shown_recipe(visit("optimise", model="vit_fmnist")).model == "vit_fmnist"
    assert shown_recipe(visit("optimise", model="../nonsense")).model == next(iter(MODELS))


def test_choosing_a_model_changes_the_address(visit: Visit) -> None:
    page = visit("optimise", model="vit_fmnist")
    page.selectbox(key="model").set_value("dwcnn_fmnist").run()
    assert shown_recipe(page).model == "dwcnn_fmnist"
    assert page.query_params["model"] == "dwcnn_fmnist"


def where_it_fits(page: AppTest, key: str) -> AppTest:
    """The page with a model and a runtime chosen for which the technique's usual settings fit; else skips."""
    device = find_device("cpu")
    for model, runtime in product(MODELS, RUNTIMES):
        recipe = Recipe(model=model, techniques=(TECHNIQUES[key](),), runtime=runtime)
        if RUNTIMES[runtime].why_unavailable(device) is None and not why_refused(recipe):
            page.selectbox(key="model").set_value(model).run()
            page.get("segmented_control")[0].set_value(runtime).run()
            return page
    pytest.skip(f"{TECHNIQUES[key].title} runs in no engine here")


@pytest.mark.parametrize("key", list(TECHNIQUES))
def test_each_technique_shows_its_controls_when_on_and_its_explanation_always(visit: Visit, key: str) -> None:
    page = where_it_fits(visit("optimise"), key)
    card = page.container(key=f"technique-{key}")
    assert TECHNIQUES[key].learn in [markdown.value for markdown in card.markdown]
    assert not card.slider
    switch(page, key)
    card = page.container(key=f"technique-{key}")
    usual = TECHNIQUES[key]().model_dump()
    titles = {heading(field) for field in TECHNIQUES[key].model_fields.values() if applies(field, usual)}
    labels = {
        widget.label
        for kind in ("slider", "selectbox", "segmented_control", "toggle", "text_input", "multiselect")
        for widget in card.get(kind)
    }
    assert titles <= labels
    assert shown_recipe(page).techniques == (TECHNIQUES[key](),)


def test_finished_variants_of_the_model_can_teach_by_their_title(visit: Visit, store: Store) -> None:
    named = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime", name="Mine")
    for recipe in (named, named.model_copy(update={"model": "vit_fmnist"})):
        finished(store, recipe)
    finished(store, named)
    page = switch(visit("optimise"), "distillation")
    teachers = page.container(key="technique-distillation").multiselect[0]
    assert teachers.options == ["Mine"]
    teachers.set_value([named.digest]).run()
    assert shown_recipe(page).techniques == (TECHNIQUES["distillation"](teachers=(named.digest,)),)


def test_a_moved_slider_changes_the_recipe(visit: Visit) -> None:
    page = switch(visit("optimise"), "structured_pruning")
    slider = page.container(key="technique-structured_pruning").slider[0]
    slider.set_value(slider.min).run()
    name = slider.key.rpartition(".")[2]
    assert getattr(shown_recipe(page).techniques[0], name) == slider.min / 100, "shares are drawn in percent"


def test_the_settings_are_still_there_after_a_look_at_another_page(visit: Visit) -> None:
    page = switch(visit("optimise", model="vit_fmnist"), "structured_pruning")
    slider = page.container(key="technique-structured_pruning").slider[0]
    slider.set_value(slider.min).run()
    before = shown_recipe(page)
    for name in ("learn", "optimise"):
        page.switch_page(str(Path(__file__).resolve().parents[2] / "pages" / f"{name}.py")).run()
    assert shown_recipe(page) == before


def test_the_order_of_techniques_can_be_changed_and_a_bad_one_is_refused_with_its_reason(visit: Visit) -> None:
    page = switch(visit("optimise"), "structured_pruning", "int8")
    assert [technique.key for technique in shown_recipe(page).techniques] == ["structured_pruning", "int8"]
    page.button(key="earlier-int8").click().run()
    assert [technique.key for technique in shown_recipe(page).techniques] == ["int8", "structured_pruning"]
    assert page.button(key="run").disabled
    assert len(page.error) == 1
    page.button(key="earlier-structured_pruning").click().run()
    assert not page.error
    assert not page.button(key="run").disabled


def blocked(page: AppTest, key: str) -> str:
    """The reason that stands below a technique's switch."""
    captions = [caption.value for caption in page.container(key=f"technique-{key}").caption]
    return next((caption for caption in captions if "Not here" in caption), "")


def test_what_no_setting_makes_fit_is_disabled_with_its_reason_until_the_place_changes(visit: Visit) -> None:
    page = visit("optimise")
    assert page.container(key="technique-simulated").toggle[0].disabled
    assert "Choose PyTorch as the runtime" in blocked(page, "simulated")
    assert not page.container(key="technique-int8").toggle[0].disabled
    page.get("segmented_control")[0].set_value("pytorch").run()
    assert not page.container(key="technique-simulated").toggle[0].disabled
    assert blocked(page, "simulated") == ""
    assert page.container(key="technique-int8").toggle[0].disabled
    assert not page.error


def test_what_is_on_can_still_be_switched_off_where_it_does_not_fit(visit: Visit) -> None:
    page = switch(visit("optimise"), "int8")
    page.get("segmented_control")[0].set_value("pytorch").run()
    assert not page.container(key="technique-int8").toggle[0].disabled
    assert "eager PyTorch" in blocked(page, "int8")
    assert page.button(key="run").disabled
    assert len(page.error) == 1
    switch(page, "int8")
    assert not page.error
    assert not page.button(key="run").disabled


def test_a_switch_moved_where_it_then_vanishes_stays_moved(visit: Visit) -> None:
    recipe = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="pytorch")
    page = switch(upload(visit("optimise"), to_yaml(recipe).encode()), "int8").run()
    assert shown_recipe(page).techniques == ()
    page.get("segmented_control")[0].set_value("onnxruntime").run()
    assert not page.container(key="technique-int8").toggle[0].value
    assert shown_recipe(page).techniques == ()


def test_the_wrong_order_blocks_the_run_but_disables_no_switch(visit: Visit) -> None:
    page = switch(visit("optimise"), "structured_pruning", "int8")
    page.button(key="earlier-int8").click().run()
    assert page.button(key="run").disabled
    assert blocked(page, "int8") == blocked(page, "structured_pruning") == ""


def test_layers_to_keep_are_typed_as_one_line(visit: Visit) -> None:
    page = switch(visit("optimise"), "int8")
    page.container(key="technique-int8").text_input[0].set_value("head, features.3.*").run()
    assert shown_recipe(page).techniques == (TECHNIQUES["int8"](keep=("head", "features.3.*")),)


def test_too_many_layers_block_the_run_with_a_sentence_and_what_was_typed_stays(visit: Visit) -> None:
    page = switch(visit("optimise"), "int8")
    typed = ", ".join(f"layer{number}" for number in range(120))
    page.container(key="technique-int8").text_input[0].set_value(typed).run()
    assert not page.exception
    assert ["at most 100" in error.value for error in page.error] == [True]
    assert page.button(key="run").disabled
    assert page.container(key="technique-int8").text_input[0].value == typed


def test_engine_settings_that_do_not_fit_block_the_run_until_they_do(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit("optimise")
    before = shown_recipe(page)

    def refuse(start: object, *, key: str) -> object:
        raise BadInput("These settings do not fit")

    with monkeypatch.context() as patched:
        patched.setattr(place, "controls", refuse)
        page.run()
        assert [error.value.startswith("Engine settings") for error in page.error] == [True]
        assert page.button(key="run").disabled
        assert shown_recipe(page) == before
    page.run()
    assert not page.error
    assert not page.button(key="run").disabled


def drawn(page: AppTest) -> list[str]:
    """Titles of the techniques on the page, in order."""
    found = []
    for name in ("Training alone", "Smaller network", "Smaller file", "Fewer bits"):
        with suppress(KeyError):
            found += [toggle.label.strip("*") for toggle in page.container(key=f"group-{name}").toggle]
    return found


@pytest.mark.parametrize(("model", "form"), [("resnet_fmnist", "torch"), ("keras_cnn_fmnist", "keras")])
def test_every_technique_that_could_work_on_the_model_is_in_a_group_and_no_other(
    visit: Visit, model: str, form: str
) -> None:
    page = visit("optimise", model=model)
    could = [technique.title for technique in TECHNIQUES.values() if form in technique.takes]
    assert drawn(page) == could, "in the order in which they compose"
    assert 0 < len(could) < len(TECHNIQUES)


def test_a_model_of_keras_starts_in_litert_and_names_the_engines_that_never_take_one(visit: Visit) -> None:
    page = visit("optimise", model="keras_cnn_fmnist")
    assert shown_recipe(page) == Recipe(model="keras_cnn_fmnist", runtime="litert")
    assert page.get("segmented_control")[0].options == ["OpenVINO", "LiteRT"]
    captions = [caption.value for caption in page.caption]
    assert any(words.startswith("Not for a model of Keras: PyTorch, torch.compile") for words in captions)
    assert any("only once it is compressed, and speed nothing up" in words for words in captions)
    assert not page.button(key="run").disabled
    page.selectbox(key="model").set_value("resnet_fmnist").run()
    assert shown_recipe(page) == Recipe(model="resnet_fmnist", runtime="onnxruntime")


def test_techniques_of_another_form_leave_the_recipe_with_the_model_and_come_back_with_it(visit: Visit) -> None:
    page = switch(visit("optimise"), "structured_pruning", "int8")
    chosen = shown_recipe(page)
    page.selectbox(key="model").set_value("keras_cnn_fmnist").run()
    assert shown_recipe(page).techniques == ()
    assert not page.error
    switch(page, "litert_quantization")
    assert [each.key for each in shown_recipe(page).techniques] == ["litert_quantization"]
    switch(page, "litert_quantization")
    page.selectbox(key="model").set_value(chosen.model).run()
    assert shown_recipe(page).techniques == chosen.techniques


def test_a_recipe_with_techniques_that_never_work_on_its_model_says_what_is_left_out(visit: Visit) -> None:
    wrong = Recipe(model="keras_cnn_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="litert")
    page = upload(visit("optimise"), to_yaml(wrong).encode())
    assert "never work on a model of Keras: INT8 quantization" in page.info[0].value
    assert shown_recipe(page).techniques == ()


def test_without_tensorflow_one_sentence_says_so_and_its_techniques_are_disabled(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "is_installed", property(lambda each: each.key != "tensorflow"))
    page = visit("optimise", model="keras_cnn_fmnist")
    assert [info.value for info in page.info] == [f"{TENSORFLOW.why_missing}."]
    for key in ("keras_fine_tuning", "keras_pruning", "keras_clustering", "keras_qat", "keras_quantization"):
        assert page.container(key=f"technique-{key}").toggle[0].disabled
        assert blocked(page, key).endswith("Not here: needs TensorFlow")
    assert not page.container(key="technique-litert_quantization").toggle[0].disabled
    assert not page.button(key="run").disabled
    assert not page.button(key="install-tensorflow").click().run().exception
    assert page.title[0].value == "System"


def test_the_litert_quantizer_begins_with_a_scheme_that_the_runtime_computes(visit: Visit) -> None:
    page = visit("optimise", model="keras_cnn_fmnist")
    page.get("segmented_control")[0].set_value("openvino").run()
    switch(page, "litert_quantization")
    assert not page.error
    assert shown_recipe(page).techniques == (TECHNIQUES["litert_quantization"](scheme="static_int8"),)
    page.get("segmented_control")[0].set_value("litert").run()
    assert shown_recipe(page).techniques == (TECHNIQUES["litert_quantization"](),)


def test_what_trains_a_model_of_keras_is_queued_with_its_control(
    visit: Visit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "is_installed", True)
    page = switch(visit("optimise", model="keras_cnn_fmnist"), "keras_pruning")
    assert any(words.value.startswith("Its control runs too") for words in page.caption)
    switch(page, "keras_quantization", "keras_qat")
    assert page.button(key="run").disabled
    assert not any(words.value.startswith("Its control runs too") for words in page.caption)
    switch(page, "keras_quantization", "keras_qat")
    page.button(key="run").click().run()
    assert [tuple(each.key for each in record.recipe.techniques) for record in store.queue()] == [
        (), ("keras_pruning",), ("keras_fine_tuning",),
    ]  # fmt: skip


def test_engines_that_are_not_installed_are_disabled_with_their_sentence(visit: Visit) -> None:
    page = visit("optimise")
    captions = "\n".join(caption.value for caption in page.caption)
    for extra in EXTRAS.values():
        if extra.is_engine and not extra.is_installed:
            assert f"{extra.adds} Install: `{extra.command}`" in captions
            disabled = [control for control in page.get("segmented_control") if control.disabled]
            assert extra.title in disabled[0].options


def test_running_queues_the_recipe_and_goes_to_it(visit: Visit, store: Store) -> None:
    page = switch(visit("optimise"), "structured_pruning")
    page.button(key="run").click().run()
    queue = [record.recipe for record in store.queue()]
    assert [(recipe.runtime, len(recipe.techniques)) for recipe in queue] == [
        ("pytorch", 0), ("onnxruntime", 1), ("onnxruntime", 0),
    ]  # fmt: skip
    assert page.query_params["run"] == store.queue()[1].id


def test_a_recipe_from_elsewhere_sets_every_control(visit: Visit) -> None:
    recipe = Recipe(
        model="dwcnn_fmnist",
        techniques=(TECHNIQUES["distillation"](alpha=0.25), TECHNIQUES["structured_pruning"]()),
        runtime="openvino" if RUNTIMES["openvino"].why_unavailable(find_device("cpu")) is None else "onnxruntime",
        measurement=MeasurementSettings(batch_size=8),
        seed=7,
        name="From elsewhere",
    )
    page = switch(visit("optimise"), "int8")
    assert shown_recipe(upload(page, to_yaml(recipe).encode())) == recipe


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"model: [", "not YAML"),
        (b"\xff\xfe\x00", "recipe"),
        (b"model: nonsense", "nonsense"),
        (b"model: resnet_fmnist\nx: 1", "x"),
    ],
)
def test_a_file_that_is_no_recipe_gets_one_sentence_and_changes_nothing(
    visit: Visit, content: bytes, reason: str
) -> None:
    page = visit("optimise")
    before = shown_recipe(page)
    upload(page, content)
    assert not page.exception
    assert [reason in error.value for error in page.error] == [True]
    assert shown_recipe(page) == before


def test_a_run_s_recipe_can_be_opened_and_its_setting_pointed_at(visit: Visit, store: Store) -> None:
    techniques = (TECHNIQUES["structured_pruning"](ratio=0.35),)
    run_id = store.enqueue(Recipe(model="vit_fmnist", techniques=techniques, runtime="openvino"))
    page = visit("optimise", run=run_id, look="structured_pruning.round_to")
    assert "Round channels to" in page.info[0].value
    recipe = from_yaml(page.code[0].value)
    assert (recipe.model, recipe.runtime, recipe.techniques) == ("vit_fmnist", "openvino", techniques)
    assert "run" not in page.query_params


def test_a_runtime_that_never_serves_such_a_model_is_said_to_be_replaced(visit: Visit) -> None:
    recipe = Recipe(model="keras_cnn_fmnist", runtime="onnxruntime")
    page = upload(visit("optimise"), to_yaml(recipe).encode())
    assert shown_recipe(page).runtime == "litert"
    told = [each.value for each in page.info if "LiteRT is chosen instead" in each.value]
    assert told == ["The recipe asks for ONNX Runtime, which never serves a model of Keras: LiteRT is chosen instead."]
    served = upload(visit("optimise"), to_yaml(Recipe(model="keras_cnn_fmnist", runtime="openvino")).encode())
    assert not [each.value for each in served.info if "chosen instead" in each.value]
