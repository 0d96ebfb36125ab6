"""Real engines and PyTorch's exporter, given what they have no answer to; and what they would say on hardware that is
not here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from core.data import InputContract
from core.devices import Device
from core.errors import RunFailed
from core.onnx_export import export_onnx
from core.unsupported import naming_the_operator, operator_in
from runtimes import RUNTIMES, Artifact

CPU = Device("cpu", "cpu", "A CPU", 1)
CONTRACT = InputContract(3, 8, 8, (0.0,) * 3, (1.0,) * 3, ("a", "b"))


def graph(folder: Path, node: onnx.NodeProto, *, kind: int = TensorProto.FLOAT, opset: int = 22) -> Path:
    """A file whose one node reads `input` and a 3x3 kernel of four channels."""
    values = [helper.make_tensor_value_info("input", kind, ["batch", 3, 8, 8])]
    values.append(helper.make_tensor_value_info("logits", kind, None))
    width = np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize
    kernel = helper.make_tensor("kernel", kind, (4, 3, 3, 3), bytes(4 * 3 * 3 * 3 * width), raw=True)
    model = helper.make_graph([node], "one", values[:1], values[1:], [kernel])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.acme", 1)]
    onnx.save(helper.make_model(model, opset_imports=opsets, ir_version=10), folder / "model.onnx")
    return folder / "model.onnx"


def refusal(runtime: str, path: Path) -> str:
    if reason := RUNTIMES[runtime].why_unavailable(CPU):
        pytest.skip(reason)
    with pytest.raises(RunFailed) as raised:
        RUNTIMES[runtime].open(Artifact(runtime, "fp32", path.parent, (path.name,)), CPU, threads=1)
    assert raised.value.__cause__ is not None
    return str(raised.value)


@pytest.mark.parametrize("opset", [18, 22])
def test_onnxruntime_names_the_convolution_that_it_lacks_in_bf16(tmp_path: Path, opset: int) -> None:
    """Before opset 22 the operator itself knew no bf16; since then it is the engine that has no kernel."""
    node = helper.make_node("Conv", ["input", "kernel"], ["logits"], "stem.0")
    said = refusal("onnxruntime", graph(tmp_path, node, kind=TensorProto.BFLOAT16, opset=opset))
    assert said.startswith("ONNX Runtime does not support the operator Conv")
    assert "(in stem.0)" in said


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("domain", "name"), [("com.acme", "com.acme.Wobble"), ("", "Wobble")])
def test_an_operator_that_does_not_exist_is_named(tmp_path: Path, runtime: str, domain: str, name: str) -> None:
    node = helper.make_node("Wobble", ["input"], ["logits"], "wob", domain=domain)
    said = refusal(runtime, graph(tmp_path, node))
    assert said.startswith(f"{RUNTIMES[runtime].title} does not support the operator {name}")
    assert said.endswith("Choose another runtime.")


def test_openvino_names_an_operator_of_the_standard_that_it_lacks(tmp_path: Path) -> None:
    node = helper.make_node("DeformConv", ["input", "kernel", "input"], ["logits"], "bent")
    assert "operator DeformConv." in refusal("openvino", graph(tmp_path, node))


@torch.library.custom_op("acme::wobble", mutates_args=())
def wobble(x: Tensor) -> Tensor:
    return x.clone()


@wobble.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Wobbling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return wobble(x).mean((2, 3))


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x).mean((2, 3))


@pytest.mark.parametrize(("module", "name"), [(Wobbling(), "acme.wobble"), (Bessel(), "bessel_j0")])
def test_the_exporter_names_an_operation_without_translation(module: nn.Module, name: str) -> None:
    with pytest.raises(RunFailed, match=rf"PyTorch's exporter to ONNX does not support the operator [\w.]*{name}"):
        export_onnx(module, CONTRACT)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x if x.sum() > 0 else -x).mean((2, 3))


def test_another_failure_of_the_exporter_passes_as_it_is() -> None:
    with pytest.raises(torch.onnx.OnnxExporterError, match="data-dependent"):
        export_onnx(Branching(), CONTRACT)


def test_only_the_named_errors_are_looked_into() -> None:
    said = "Could not find an implementation for Conv(22) node with name 'stem.0'"
    with pytest.raises(KeyError), naming_the_operator("X", (ValueError,), action="Y"):
        raise KeyError(said)
    with pytest.raises(ValueError, match="a full disk"), naming_the_operator("X", (ValueError,), action="Y"):
        raise ValueError("a full disk")


@pytest.mark.parametrize(
    ("message", "operator"),
    [
        # Words of OpenVINO's compilers and readers for what cannot be provoked on a CPU.
        ("Check failed: Unsupported operation of type: NonZero name: blocks.0/nz", "NonZero (in blocks.0/nz)"),
        ("[GPU] PriorBoxClustered op is not supported in GPU plugin yet.", "PriorBoxClustered"),
        ("-- Conversion is failed for: RoiAlign-16\nand so on", "RoiAlign"),
        ("-- No conversion rule found for operations: DeformConv-22, com.acme.A-b\n", "DeformConv, com.acme.A-b"),
        ("std::bad_alloc", None),
    ],
)
def test_messages(message: str, operator: str | None) -> None:
    assert operator_in(message) == operator
