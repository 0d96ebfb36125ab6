"""Pages about models of people's own: of equal title, deleted, and of texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

from experiments.models import title_of
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml
from experiments.store import Store
from intake.library import MODEL_FILE, OwnModel, TextInput, delete_model, models_folder
from intake.sources import TextFolder
from optimizers import TECHNIQUES
from sample_models import MODELS
from tests.experiments.own import plant_onnx
from tests.pages.left_behind import finished

Visit = Callable[..., AppTest]


def test_each_of_two_models_of_one_title_can_be_chosen(visit: Visit, store: Store) -> None:
    keys = [plant_onnx(title="My net", data_title=name) for name in ("first", "second")]
    for key in keys:
        finished(store, Recipe(model=key, runtime="onnxruntime"))
    for page, control in ((visit("optimise"), "model"), (visit("profile"), "profile.model"), *measured(visit)):
        shown = [title for title in page.selectbox(key=control).options if title.startswith("My net")]
        assert sorted(shown) == sorted(f"My net ({key[-4:]})" for key in keys), control
        other = next(key for key in keys if key != page.selectbox(key=control).value)
        page.selectbox(key=control).select(f"My net ({other[-4:]})").run()
        assert page.selectbox(key=control).value == other
    exported = visit("export").selectbox(key="export.run").options
    assert len(exported) == len(set(exported)) == 2


def measured(visit: Visit) -> list[tuple[AppTest, str]]:
    """Pages that offer the models of which something was measured, with their control."""
    return [(visit("compare"), "compare.model"), (visit("truth"), "truth.model")]


def test_a_deleted_model_keeps_its_title_and_runs_no_more(visit: Visit, store: Store) -> None:
    key = plant_onnx(title="My net")
    run = finished(store, Recipe(model=key, runtime="onnxruntime"))
    assert not visit("runs", run=run).button(key="again").disabled
    delete_model("", key)
    assert (title_of(key), title_of(key, "bob")) == ("My net", "My net")
    page = visit("runs", run=run)
    assert any(each.value.startswith("My net · ") for each in page.markdown)
    assert page.button(key="again").disabled
    assert any(each.value.startswith("My net was deleted") for each in page.caption)
    page = visit("truth", model=key)
    page.selectbox(key=next(each.key for each in page.selectbox if each.key.startswith("truth.runtime."))).set_value(
        "onnxruntime"
    ).run()
    assert page.button(key="truth-rerun").disabled
    assert visit("runs").dataframe[0].value.model.tolist() == ["My net"]
    assert any("· My net" in each.value for each in visit("home").markdown)
    page = visit("optimise", model=key)
    assert "The model My net, which the address names, was deleted" in page.warning[0].value
    assert page.selectbox(key="model").value == next(iter(MODELS))


def test_what_another_deleted_has_no_title_for_me(store: Store) -> None:
    key = plant_onnx(title="Secret net", owner="ada")
    delete_model("ada", key)
    assert (title_of(key, "ada"), title_of(key, "bob")) == ("Secret net", key)


def test_a_model_of_texts_begins_with_a_student_that_reads_them(visit: Visit, store: Store, tmp_path: Path) -> None:
    page = visit("optimise", model=described_texts(tmp_path))
    page.container(key="technique-distillation").toggle[0].set_value(True).run()
    (recipe,) = (from_yaml(each.value) for each in page.expander(key="yaml").code)
    assert recipe.techniques == (TECHNIQUES["distillation"](student="width"),)
    offered = page.container(key="technique-distillation").get("segmented_control")[0].options
    assert offered == ["Narrower copy", "This network itself"]
    assert not page.error
    page.selectbox(key="model").set_value(next(iter(MODELS))).run()
    assert not page.exception
    assert from_yaml(page.expander(key="yaml").code[0].value).techniques == (TECHNIQUES["distillation"](),)


def described_texts(folder: Path) -> str:
    """The key of a model of texts of which nothing is there but what is known of it."""
    model = OwnModel(
        key="own-texts-0123456789", title="Texts", owner="", family="transformer", task="text",
        source=TextFolder(path=folder), input=TextInput(length=16, padding=0), labels=("bad", "good"),
        data_title="reviews", counts={"train": 64, "calibrate": 16, "test": 16}, parameter_count=1, macs=1,
        size_bytes=4, correct=1, judged=1, added_at=0.0,
    )  # fmt: skip
    (place := models_folder("") / model.key).mkdir(parents=True)
    (place / MODEL_FILE).write_text(model.model_dump_json())
    return model.key
