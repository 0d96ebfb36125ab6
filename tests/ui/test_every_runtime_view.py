"""A run's techniques in every runtime, on its page."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from experiments.recipe import Recipe
from experiments.references import reference_of
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.experiments.tflite_runs import recipe
from tests.pages.charts import charts
from tests.pages.left_behind import MIB, finished, measured

PRUNED = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["structured_pruning"](),), runtime="onnxruntime")


def page(run_id: str) -> None:
    from ui.every_runtime_view import draw_every_runtime
    from ui.state import store

    record = store().run(run_id)
    assert record
    draw_every_runtime(record)


def drawn(run_id: str) -> AppTest:
    test = AppTest.from_function(page, kwargs={"run_id": run_id}).run(timeout=60)
    assert not test.exception
    return test


def test_time_saved_stands_beside_arithmetic_saved(store: Store) -> None:
    run_id = finished(store, PRUNED, p50_ms=1.0)
    finished(store, reference_of(PRUNED), p50_ms=2.0)
    test = drawn(run_id)
    (chart,) = charts(test)
    assert [round(value, 1) for value in chart["data"][0]["x"]] == [2.0]
    assert chart["data"][1]["x"][:2] == [1, 1]
    table = test.dataframe[0].value.set_index("title")
    assert table.verdict["ONNX Runtime"].endswith("x faster")
    assert table.verdict["OpenVINO"] == "not run"


def test_what_is_missing_is_queued_with_its_references(store: Store) -> None:
    test = drawn(finished(store, PRUNED))
    test.button(key="every-runtime-run").click().run()
    queued = {each.recipe.digest for each in store.queue()}
    for runtime in ("pytorch", "openvino"):
        there = PRUNED.model_copy(update={"runtime": runtime})
        assert {there.digest, reference_of(there).digest} <= queued
    assert reference_of(PRUNED).digest in queued
    assert not [button for button in test.button if button.key == "every-runtime-run"]


def test_the_newest_run_of_the_recipe_does_not_take_the_place_of_this_one(store: Store) -> None:
    run_id = finished(store, PRUNED, p50_ms=1.0)
    finished(store, PRUNED, p50_ms=0.5)
    finished(store, reference_of(PRUNED), p50_ms=2.0)
    (chart,) = charts(drawn(run_id))
    assert [round(value, 1) for value in chart["data"][0]["x"]] == [2.0]


def test_a_run_without_techniques_has_no_such_table(store: Store) -> None:
    assert not drawn(finished(store, Recipe(model="resnet_fmnist", runtime="onnxruntime"))).dataframe


def test_microseconds_are_told_as_on_the_card_above(store: Store) -> None:
    run_id = finished(store, PRUNED, p50_ms=0.0072)
    finished(store, reference_of(PRUNED), p50_ms=0.0153)
    shown = drawn(run_id).dataframe[0]
    row = shown.value.set_index("title").loc["ONNX Runtime"]
    assert [round(row.p50_ms, 1), round(row.reference_ms, 1)] == [7.2, 15.3]
    assert shown.proto.columns.count("%.1f \\u00b5s") + shown.proto.columns.count("%.1f µs") == 2


def test_a_disturbed_timing_is_doubted_wherever_its_speed_is_named(store: Store) -> None:
    result = measured(reference_of(PRUNED), wrong=100, p50_ms=2.0, size_bytes=MIB)
    slowed = result.latency.model_copy(update={"contended_share": 0.5})
    store.finish(store.begin_here(reference_of(PRUNED)), result.model_copy(update={"latency": slowed}))
    test = drawn(finished(store, PRUNED, p50_ms=1.0))
    (chart,) = charts(test)
    assert chart["layout"]["annotations"][0]["text"].endswith("x faster (disturbed)")
    assert "timing disturbed" in chart["data"][0]["hovertext"][0]
    table = test.dataframe[0].value.set_index("title")
    assert table.verdict["ONNX Runtime"].endswith("x faster (disturbed)")
    assert "in ONNX Runtime (timing disturbed)" in test.markdown[0].value.replace("\\", "")


def test_what_never_opens_such_a_model_is_told_in_one_line(store: Store) -> None:
    test = drawn(finished(store, recipe(("keras_quantization", {}))))
    assert test.dataframe[0].value.title.tolist() == ["OpenVINO", "LiteRT"]
    told = [each.value for each in test.caption if "block" in each.value]
    assert told == [
        ":material/block: Not for a model of Keras: PyTorch, torch.compile, AOTInductor, ONNX Runtime, TensorRT."
    ]


def test_one_reason_is_told_once_for_all_runtimes_that_share_it(store: Store) -> None:
    quantized = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["litert_quantization"](),), runtime="litert")
    told = [each.value for each in drawn(finished(store, quantized)).caption if "block" in each.value]
    assert "**PyTorch, torch.compile, AOTInductor, ONNX Runtime**" in told[0]
    assert len({each.partition("**: ")[2] for each in told}) == len(told)
