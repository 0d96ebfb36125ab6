from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from core.folders import run_folder
from experiments.onnx_graph import FILE, OnnxGraphView, OnnxNode
from experiments.profile_files import RECORDING, TRACE
from experiments.recipe import Recipe
from experiments.store import open_store
from optimizers import TECHNIQUES
from tests.experiments.profiled import layer_profile, profile_result, profiled
from ui.profile import graph

VIEW = OnnxGraphView(
    input_shape=(1, 1, 16, 16),
    nodes=(
        OnnxNode(name="a", op="Conv", module="stem", sources=(-1,), layers=(0,)),
        OnnxNode(name="b", op="Conv", module="body.0.conv1", sources=(0,), layers=(1,)),
        OnnxNode(name="c", op="Conv", module="body.0.conv2", sources=(1,), layers=(2,)),
        OnnxNode(name="d", op="Gemm", module="head.0", sources=(2,), layers=(4,)),
    ),
)


def a_page(run_id: str) -> None:
    from experiments.store import open_store
    from ui.profile import graph
    from ui.profile.subject import Subject

    store = open_store()
    graph.draw(Subject(store.run(run_id), store.profile_result(run_id)))


def test_what_has_no_operator_is_told_with_its_share_of_the_time() -> None:
    words = graph.words_on(VIEW, layer_profile())
    assert words.startswith("4 operators;")
    assert "1 of 5 layers of the engine, 4 % of the time" in words  # 0.02 of 0.5 ms


def test_a_model_of_keras_has_no_graph_in_any_runtime() -> None:
    keras = Recipe(model="keras_cnn_fmnist", runtime="openvino")
    quantized = keras.model_copy(update={"techniques": (TECHNIQUES["litert_quantization"](),)})
    assert graph.why_no_graph(keras) == graph.why_no_graph(quantized) == graph.NO_ONNX
    assert graph.why_no_graph(Recipe(model="resnet_fmnist")) == graph.EARLIER


def test_the_graph_is_drawn_as_asked_with_what_can_be_taken_away(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    run_id = profiled(open_store(), Recipe(model="resnet_fmnist"), profile_result(files=(TRACE, RECORDING, FILE)))
    (run_folder(run_id) / FILE).write_text(VIEW.model_dump_json())
    page = AppTest.from_function(a_page, args=(run_id,), default_timeout=60).run()
    assert not page.exception
    assert page.get("graphviz_chart")[0].proto.spec.count("[label=") == 5
    links = page.get("html")[-1].proto.body
    assert f"profiles/{run_id}/trace.json" in links
    assert ">Engine trace</a>" in links
    page.button_group(key="profile.graph.boxes.False").set_value("blocks").run()
    page.button_group(key="profile.graph.depth.4.3").set_value(1).run()
    assert page.get("graphviz_chart")[0].proto.spec.count("[label=") == 4
    (run_folder(run_id) / FILE).unlink()
    graph.view_of.clear()
    page.run()
    assert [each.value for each in page.info] == [graph.EARLIER]
