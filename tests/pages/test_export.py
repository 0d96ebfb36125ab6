"""A finished variant as one zip."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

from experiments.folders import run_folder
from experiments.recipe import Recipe, from_yaml
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import finished, running

Visit = Callable[..., AppTest]
INT8 = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
BASELINE = Recipe(model="resnet_fmnist")


def zip_of(run_id: str) -> Path:
    """The zip that the page wrote."""
    return next(run_folder(run_id).glob("*.zip"))


def shown(page: AppTest) -> str:
    """All text and code on the page."""
    return "\n".join(str(element.value) for kind in ("markdown", "caption", "code") for element in page.get(kind))


def test_an_empty_store_says_what_to_press(visit: Visit, store: Store) -> None:
    running(store, BASELINE)
    page = visit("export")
    assert "no run has finished" in page.info[0].value
    page.button(key="go-optimise").click().run()
    assert page.title[0].value == "Optimise"


def test_the_page_names_what_the_zip_holds_and_its_fingerprint(visit: Visit, store: Store) -> None:
    run_id = finished(store, INT8)
    page = visit("export", run=run_id)
    path = zip_of(run_id)
    text = shown(page)
    with zipfile.ZipFile(path) as archive:
        names = [Path(name).name for name in archive.namelist()]
        assert from_yaml(archive.read(f"{path.stem}/recipe.yaml").decode()) == INT8
        assert archive.read(f"{path.stem}/run.py").decode().strip() in text
    assert {"model.onnx", "recipe.yaml", "result.json", "contract.json", "samples.npz", "run.py"} <= set(names)
    assert all(f"`{name}`" in text for name in names)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert path.name in text


def test_the_address_chooses_the_variant(visit: Visit, store: Store) -> None:
    older = finished(store, BASELINE)
    newer = finished(store, INT8)
    assert visit("export", run=older).selectbox[0].value == older
    page = visit("export")
    assert page.selectbox[0].value == newer
    page.selectbox[0].set_value(older).run()
    assert page.query_params["run"] == older
    assert zip_of(older).name in shown(page)


def test_a_run_that_has_not_finished_is_explained(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    assert "has not finished" in visit("export", run=running(store, INT8)).warning[0].value


def test_lost_files_are_one_sentence(visit: Visit, store: Store) -> None:
    run_id = finished(store, BASELINE)
    shutil.rmtree(run_folder(run_id))
    page = visit("export", run=run_id)
    assert "Run its recipe again" in page.error[0].value


def test_a_lost_zip_is_packed_again(visit: Visit, store: Store) -> None:
    run_id = finished(store, BASELINE)
    page = visit("export", run=run_id)
    zip_of(run_id).unlink()
    page.run()
    assert zip_of(run_id).exists()
