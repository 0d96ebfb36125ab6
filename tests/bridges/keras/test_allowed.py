"""What a configuration may name, told without TensorFlow."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bridges.keras.allowed import check_config
from core.errors import BadInput


def config(**layer: Any) -> dict[str, Any]:
    """A model of an input, a convolution and a layer with these entries."""
    convolution = {
        "module": "keras.layers",
        "class_name": "Conv2D",
        "registered_name": None,
        "config": {
            "name": "first",
            "activation": "relu",
            "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
            "kernel_regularizer": {"module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.01}},
        },
    }
    layers = [{"class_name": "InputLayer", "config": {"name": "input"}}, convolution, layer]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": layers}}


HONEST: list[dict[str, Any]] = [
    {"class_name": "Dense", "config": {"name": "a", "units": 3, "activation": "softmax"}},
    {
        "class_name": "Dense",
        "config": {"activation": {"class_name": "function", "config": "relu6", "module": "builtins"}},
    },
    {"class_name": "Add", "module": "keras.src.ops.numpy", "registered_name": "Add", "config": {"name": "add"}},
    {"class_name": "TFOpLambda", "config": {"name": "a", "function": "math.multiply", "trainable": True}},
    {"class_name": "Functional", "module": "keras.src.models.functional", "config": {"layers": []}},
]
HOSTILE: dict[str, dict[str, Any]] = {
    "Lambda layer": {"class_name": "Lambda", "config": {"name": "a", "function": ["4wEAAA", None, None]}},
    "lambda function": {"class_name": "Dense", "config": {"activation": {"class_name": "__lambda__", "config": {}}}},
    "Python module 'os'": {"class_name": "Dense", "module": "os", "config": {}},
    "Python module 'keras_evil.layers'": {"class_name": "Dense", "module": "keras_evil.layers", "config": {}},
    "Python module 7": {"class_name": "Dense", "module": 7, "config": {}},
    "Python module 'builtins'": {"class_name": "Dense", "module": "builtins", "config": {}},
    "function 'system'": {"class_name": "Dense", "config": {"x": {"class_name": "function", "config": "system"}}},
    "activation 'system'": {"class_name": "Dense", "config": {"activation": "system"}},
    "registered as 'mine>Dense'": {"class_name": "Dense", "registered_name": "mine>Dense", "config": {}},
    "class 'MyLayer'": {"class_name": "MyLayer", "config": {"name": "a"}},
    "class 'TFSMLayer'": {"class_name": "TFSMLayer", "config": {"filepath": "/etc"}},
    "class '__typespec__'": {"class_name": "Dense", "config": {"x": {"class_name": "__typespec__", "spec_name": "x"}}},
    "class ['Dense']": {"class_name": ["Dense"], "config": {}},
    "operation 'io.write_file'": {"class_name": "TFOpLambda", "config": {"name": "a", "function": "io.write_file"}},
    "class 'Hidden'": {
        "class_name": "TFOpLambda",
        "config": {"function": "math.add", "dtype": {"class_name": "Hidden"}},
    },
    "class 'Adam'": {"class_name": "Sequential", "config": {}, "compile_config": {"optimizer": {"class_name": "Adam"}}},
    "operation None": {"class_name": "TFOpLambda", "config": None},
    "A function": {"class_name": "Dense", "config": {"function": "os.system"}},
    "class 'Sequential2'": {"class_name": "Dense", "config": {"deep": [[[{"class_name": "Sequential2"}]]]}},
}


@pytest.mark.parametrize("layer", HONEST, ids=lambda layer: layer["class_name"])
def test_built_in_layers_pass_and_nothing_is_changed(layer: dict[str, Any]) -> None:
    given = config(**layer)
    before = copy.deepcopy(given)
    check_config(given)
    assert given == before


@pytest.mark.parametrize(("named", "layer"), HOSTILE.items(), ids=HOSTILE)
def test_whatever_could_run_code_is_refused_by_name(named: str, layer: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as refusal:
        check_config(config(**layer))
    assert named.removeprefix("lambda function") in str(refusal.value)
    assert "Keras itself brings" in str(refusal.value)


def test_layers_of_keras_for_other_data_are_refused_as_such() -> None:
    with pytest.raises(BadInput, match=r"'LSTM' \(`memory`\), which is for texts, series or volumes"):
        check_config(config(class_name="LSTM", config={"name": "memory"}))


def test_a_lambda_hides_in_no_depth() -> None:
    deep: Any = {"class_name": "Lambda", "config": {}}
    for _ in range(5000):
        deep = {"inside": [deep]}
    with pytest.raises(BadInput, match="Lambda"):
        check_config(config(class_name="Dense", config=deep))


@pytest.mark.parametrize("given", [{}, {"class_name": "Own", "config": {}}, {"class_name": "Model", "config": []}])
def test_only_models_that_list_their_layers_are_taken(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="Sequential or Functional"):
        check_config(given)


def test_networks_of_too_many_layers_are_refused_at_once() -> None:
    layers = [{"class_name": "ReLU", "config": {"name": f"r{index}"}} for index in range(20_001)]
    inside = {"class_name": "Sequential", "config": {"layers": layers[2:]}}
    check_config({"class_name": "Sequential", "config": {"layers": layers[3:]}})
    with pytest.raises(BadInput, match="more than 20,000 layers"):
        check_config({"class_name": "Sequential", "config": {"layers": [*layers[:2], inside]}})
