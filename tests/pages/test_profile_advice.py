"""The advice of the Profile page: what it promises, what became of it, and where its buttons lead."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from experiments.promise import figures_of
from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.profiled import LAYERS, PEAKS, layer_profile, other, profile_result, profiled
from tests.experiments.synthetic import finish_with

Visit = Callable[..., AppTest]
MODEL = "student_cnn_fmnist"
UNTOUCHED = Recipe(model=MODEL, runtime="onnxruntime")
INT8 = UNTOUCHED.model_copy(update={"techniques": (TECHNIQUES["int8"](),)})
RESULT = profile_result(
    peaks=PEAKS.model_copy(update={"macs_per_s": {"fp32": 100e9, "int8": 400e9}}),
    layers=layer_profile((*LAYERS, other("reshape", 0.0005, "Reshape"))),
)


def test_advice_is_run_judged_and_opened_with_its_settings(visit: Visit, store: Store) -> None:
    profiled(store, UNTOUCHED, RESULT)
    page = visit("profile", model=MODEL)
    texts = [each.value for each in page.markdown]
    assert any(each.startswith("**1. Quantize to INT8**") for each in texts)
    assert any("At most 0.432 ms instead of 0.550 ms" in each for each in texts)
    page.button(key="advice-now-int8").click().run()
    queued = [record.recipe.digest for record in store.queue()]
    assert {UNTOUCHED.digest, INT8.digest} <= set(queued)

    # 0.55 ms in the profile, 0.6 ms in the run of the same recipe: that run is what counts.
    finish_with(store, UNTOUCHED, wrong=[], median_ms=0.6, size_bytes=1)
    run_id = finish_with(store, INT8, wrong=[], median_ms=0.2, size_bytes=1)
    page = visit("profile", model=MODEL)
    assert any("tried: kept" in each.value for each in page.markdown)
    was = figures_of(store.finished_before(UNTOUCHED).summary)["p50_ms"].value
    (told,) = [each.value for each in page.caption if each.value.startswith("Promised")]
    assert f"at most {was * (1 - 0.11813 / 0.55):#.3g} ms" in told
    assert not [button for button in page.button if button.key == "advice-now-int8"]
    page.button(key="advice-run-int8").click().run()
    assert page.query_params["run"] in (run_id, [run_id])
    page = visit("profile", model=MODEL)
    page.button(key="advice-open-int8").click().run()
    assert page.session_state["optimise.start"] == INT8
