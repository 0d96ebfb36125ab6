"""Pages about a model without labels, while it is here and after it was deleted."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from core.judging import Judging
from experiments.recipe import Recipe
from experiments.store import Store
from intake.library import delete_model
from optimizers import TECHNIQUES
from tests.experiments.own import plant_onnx
from tests.pages.left_behind import finished

Visit = Callable[..., AppTest]
TITLE = "<b>x</b> $1 *mine*"
ESCAPED = r"\<b\>x\</b\> \$1 \*mine\*"


def words_of(page: AppTest) -> str:
    """All that is written on a page, tables and charts left out."""
    markdown = [each for each in page.markdown if "-badge[" not in each.value]  # the phases of a run made up for tests
    elements = [*markdown, *page.caption, *page.info, *page.warning, *page.subheader]
    return "\n".join([*(each.value for each in elements), *(each.label for each in page.metric)])


def test_every_page_says_agreement_while_the_model_is_here_and_after(visit: Visit, store: Store) -> None:
    judging, key = Judging("agreement"), plant_onnx(labelled=False, title=TITLE)
    finished(store, Recipe(model=key, runtime="onnxruntime"), wrong=0, judging=judging)
    int8 = Recipe(model=key, techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
    run = finished(store, int8, wrong=300, judging=judging)
    shown = visit("runs", run=run)
    assert next(metric for metric in shown.metric if metric.label == "Agreement").delta == "-15.00 points"
    assert ESCAPED in words_of(shown)
    assert "accura" not in words_of(shown).lower()
    delete_model("", key)
    for page in (visit("runs", run=run), visit("compare", model=key)):
        assert "accura" not in words_of(page).lower()
    assert "have no labels" in page.info[0].value
    history = visit("runs").dataframe[0].value
    assert set(history.agreement) == {100.0, 85.0}
    assert history.accuracy.isna().all()
