from __future__ import annotations

from typing import Any

from core.layers import FUSED
from experiments.onnx_matching import Match, Traced, matched
from tests.experiments.profiled import layer, other

IMAGE = (1, 8, 4, 4)


def node(name: str, op: str, torch_op: str = "", **facts: Any) -> Traced:
    """An operator that makes 8 channels of 4 x 4."""
    usual: dict[str, Any] = {
        "results": (torch_op or name,), "weights_of": "", "module": "", "scope": "", "torch_op": torch_op,
        "shapes": (IMAGE,),
    }  # fmt: skip
    return Traced(name=name, op=op, **{**usual, **facts})


CONV = node("node_Conv_1", "Conv", "batch_norm", weights_of="stem.0", module="stem.0", scope="stem.1", macs=100)
RELU = node("node_relu", "Relu", "relu", module="stem.2", scope="stem.2")
ADD = node("node_add_40", "Add", "add_40")
HEAD = node("node_linear", "Gemm", "linear", weights_of="head", module="head", scope="head", macs=50)
NODES = [CONV, RELU, ADD, HEAD]


def test_a_layer_is_found_by_the_module_of_its_weights() -> None:
    found = matched(NODES, [layer("stem.0", 1), layer("head", 1)])
    assert found == [Match((0,)), Match(), Match(), Match((1,))]


def test_what_was_merged_into_an_operator_adds_to_its_time() -> None:
    """Eager PyTorch runs the BatchNorm that the exporter merged into the convolution."""
    found = matched(NODES, [layer("stem.0", 1), other("stem.1", 1, "aten.batch_norm", weight_bytes=4)])
    assert found[0] == Match((0, 1))


def test_of_fused_operators_the_one_that_multiplies_has_the_time() -> None:
    found = matched(NODES, [layer(FUSED.join(("node_relu", "node_Conv_1")), 1)])
    assert found[:2] == [Match((0,)), Match((), (0,))]


def test_what_an_engine_appends_to_a_name_is_no_part_of_it() -> None:
    assert matched(NODES, [other("node_add_40/Fused", 1, "Add")])[2] == Match((0,))


def test_operations_that_are_numbered_otherwise_are_matched_by_order_and_shape() -> None:
    own = [other("add", 1, "aten.add.Tensor", output_shape=IMAGE)]
    assert matched(NODES, own)[2] == Match((0,))
    assert matched(NODES, [own[0].model_copy(update={"output_shape": (1, 9)})])[2] == Match()
    assert matched(NODES, [*own, own[0].model_copy(update={"name": "add_1"})])[2] == Match()


def test_compiled_products_are_matched_only_where_all_multiply_as_much() -> None:
    compiled = [layer("convolution [0]", 1, macs=100), other("fused [1]", 1, "fused"), layer("addmm [2]", 1, macs=50)]
    found = matched(NODES, compiled)
    assert [each.leads for each in found] == [(0,), (), (), (2,)]
    swapped = [compiled[0].model_copy(update={"macs": 50}), compiled[2].model_copy(update={"macs": 100})]
    assert matched(NODES, swapped) == [Match()] * 4


def test_operators_of_one_operation_share_its_layer() -> None:
    parts = [
        node("node_MatMul_1", "MatMul", "attention"), node("node_Softmax_2", "Softmax", "attention"),
        node("node_attention", "MatMul", "attention"),
    ]  # fmt: skip
    found = matched(parts, [layer("attention", 1, weight_bytes=0, output_shape=IMAGE)])
    assert found == [Match((), (0,)), Match((), (0,)), Match((0,))]
