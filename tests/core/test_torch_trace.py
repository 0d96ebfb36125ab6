"""A trace against what PyTorch's own hooks see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from core.data import Floats
from core.onnx_export import export_onnx
from core.torch_trace import onnx_trace, program_trace, up_to
from core.trace import Trace
from runtimes.lowering import lowered
from tests.optimizers.conftest import CONTRACT, DATA, TinyNet, TinyTransformer

X = CONTRACT.prepare(DATA.test.pixels[:4])
TRACES = {"onnx": onnx_trace, "program": program_trace}


def network(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    made = kind()
    for _ in range(3):
        made(torch.randn(8, 1, 12, 12) * 2 + 1)
    return made.eval()


def seen_by_hooks(made: nn.Module, x: Floats) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _args, output: outputs.__setitem__(name, output)

    handles = [each.register_forward_hook(keep(name)) for name, each in made.named_modules()]
    with torch.inference_mode():
        made(torch.from_numpy(x))
    for handle in handles:
        handle.remove()
    return outputs


def last_of(trace: Trace, module: str) -> str:
    return [name for name, value in trace.values.items() if value.module == module and name in trace.comparable][-1]


@pytest.mark.parametrize("kind", [TinyNet, TinyTransformer])
@pytest.mark.parametrize("form", TRACES)
def test_every_layer_gives_what_its_module_gives(kind: type[nn.Module], form: str) -> None:
    made = network(kind)
    trace, seen = TRACES[form](made, CONTRACT), seen_by_hooks(made, X)
    layers = [name for name, each in made.named_modules() if isinstance(each, nn.Linear | nn.LayerNorm | nn.ReLU)]
    for name in layers:
        np.testing.assert_allclose(trace.compute(last_of(trace, name), X), seen[name].numpy(), atol=1e-5)
    np.testing.assert_allclose(trace.compute(trace.output, X), seen[""].numpy(), atol=1e-5)


def test_a_merged_batchnorm_leaves_only_its_own_result_to_compare() -> None:
    made = network(TinyNet)
    trace, seen = onnx_trace(made, CONTRACT), seen_by_hooks(made, X)
    in_file = {
        tensor for node in onnx.load_from_string(export_onnx(made, CONTRACT)).graph.node for tensor in node.output
    }
    assert trace.comparable == trace.values.keys() & in_file
    assert trace.output == "logits"
    modules = {trace.values[name].module for name in trace.comparable}
    assert "stem.0" not in modules
    np.testing.assert_allclose(trace.compute(last_of(trace, "stem.1"), X), seen["stem.1"].numpy(), atol=1e-5)


def test_results_know_what_they_are_computed_from() -> None:
    trace = onnx_trace(network(TinyNet), CONTRACT)
    convolution = next(name for name, value in trace.values.items() if value.module == "block.0")
    assert trace.values[convolution].op == "aten.conv2d"
    assert trace.values[convolution].layers == ("block.0",)
    (relu,) = trace.values[convolution].sources
    assert trace.values[relu].module == "stem.2"
    assert next(iter(trace.values.values())).sources == ()
    summed = next(value for value in trace.values.values() if value.op == "aten.add.Tensor" and len(value.sources) == 2)
    assert {trace.values[source].module for source in summed.sources} == {"stem.2", "block.2"}
    assert trace.layers(trace.values) == ("stem.0", "stem.1", "block.0", "block.1", "head")
    assert trace.layers([relu]) == ("stem.2",)


@pytest.mark.parametrize("form", TRACES)
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_copy_in_16_bits_names_its_results_and_computes_those_of_its_source(form: str, precision: str) -> None:
    made = network(TinyNet)
    trace = TRACES[form](lowered(made, precision), CONTRACT, made)  # type: ignore[arg-type]
    seen = seen_by_hooks(made, X)
    assert trace.layers(trace.values) == ("stem.0", "stem.1", "block.0", "block.1", "head")
    for module in ("stem.2", "block.2"):
        np.testing.assert_allclose(trace.compute(last_of(trace, module), X), seen[module].numpy(), atol=1e-5)
    np.testing.assert_allclose(trace.compute(trace.output, X), seen[""].numpy(), atol=1e-5)


def test_only_tensors_of_floats_that_the_logits_need_are_shown() -> None:
    class Wasteful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, 1, 12, 12))
            self.head = nn.Linear(144, 4)

        def forward(self, x: Tensor) -> Tensor:
            scaled = x * self.scale
            classes = scaled.argmax(1)
            return self.head(scaled.flatten(1) + classes.flatten(1))

    trace = program_trace(Wasteful().eval(), CONTRACT)
    shown = trace.shown_by([*trace.values, "elsewhere"])
    assert [trace.values[name].op.split(".")[1] for name in shown] == ["mul", "flatten", "add", "linear"]
    assert trace.values[shown[0]].layers == ("scale",)
    assert trace.shown_by(["linear"]) == ("linear",)


def test_a_network_that_ends_early_leaves_out_what_comes_later_and_changes_nothing() -> None:
    made = network(TinyNet)
    program = torch.export.export(made, (torch.from_numpy(X),)).module()
    nodes = len(program.graph.nodes)
    short = up_to(program, "relu")
    assert "linear" not in {node.name for node in short.graph.nodes}
    assert len(program.graph.nodes) == nodes
    with torch.inference_mode():
        np.testing.assert_allclose(short(torch.from_numpy(X)).numpy(), seen_by_hooks(made, X)["stem.2"].numpy())
