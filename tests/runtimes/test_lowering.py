"""What is exported in 16 bits, and what of it stays in float32."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
import torch

from core.bundle import ModelBundle
from core.devices import find_device
from core.reduced import in_float32
from runtimes import RUNTIMES
from runtimes.lowering import lowered
from runtimes.onnx_file import onnx_bytes
from tests.optimizers.conftest import bundle_of
from tests.optimizers.overflowing import Overflowing


@pytest.fixture
def bundle() -> ModelBundle:
    torch.manual_seed(0)
    return bundle_of(Overflowing().eval())


@pytest.fixture
def kept(bundle: ModelBundle) -> ModelBundle:
    return bundle_of(in_float32(bundle.module, ("norm", "soft")))


def batch(bundle: ModelBundle) -> np.ndarray:
    return bundle.contract.prepare(bundle.data.test.pixels)


def exact(bundle: ModelBundle) -> np.ndarray:
    with torch.inference_mode():
        return bundle.module(torch.from_numpy(batch(bundle))).numpy()


def run_onnx(content: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": x})[0]


def by_reference(content: bytes, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return onnx.reference.ReferenceEvaluator(onnx.load_from_string(content)).run(["logits"], {"input": x})[0]


def test_the_onnx_file_computes_marked_modules_in_float32(bundle: ModelBundle, kept: ModelBundle) -> None:
    """By ONNX's reference: ONNX Runtime's CPU kernels compute fp16 in float32 and hide what overflows on a GPU."""
    broken, mended = (by_reference(onnx_bytes(each, "fp16"), batch(bundle)) for each in (bundle, kept))
    assert not np.allclose(broken, exact(bundle), atol=0.01)
    assert np.isfinite(mended).all()
    assert np.allclose(mended, exact(bundle), atol=0.01)


def test_onnx_runtime_opens_and_runs_it(bundle: ModelBundle, kept: ModelBundle) -> None:
    mended = run_onnx(onnx_bytes(kept, "fp16"), batch(bundle))
    assert np.isfinite(mended).all()
    assert np.allclose(mended, exact(bundle), atol=0.01)


def test_the_onnx_file_has_casts_around_them_and_their_weights_in_float32(kept: ModelBundle) -> None:
    graph = onnx.load_from_string(onnx_bytes(kept, "fp16")).graph
    types = {tensor.name.split(".", 1)[-1]: tensor.data_type for tensor in graph.initializer if "." in tensor.name}
    assert types["norm.weight"] == types["norm.bias"] == onnx.TensorProto.FLOAT
    assert types["head.weight"] == onnx.TensorProto.FLOAT16
    to = [node.attribute[0].i for node in graph.node if node.op_type == "Cast"]
    assert to.count(onnx.TensorProto.FLOAT) >= 3  # around the norm, around the softmax, and the logits
    assert to.count(onnx.TensorProto.FLOAT16) >= 3


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_exported_program_computes_them_in_float32(
    bundle: ModelBundle, kept: ModelBundle, precision: str, tmp_path: Path
) -> None:
    runtime, device = RUNTIMES["pytorch"], find_device("cpu")
    artifact = runtime.export(replace(kept, precision=precision), tmp_path)  # type: ignore[arg-type]
    with runtime.open(artifact, device, threads=1) as session:
        logits = session.run(batch(bundle))
    assert np.allclose(logits, exact(bundle), atol=0.01 if precision == "fp16" else 0.1)
    assert (logits.argmax(1) == exact(bundle).argmax(1)).mean() > 0.98
    types = {name: tensor.dtype for name, tensor in torch.export.load(tmp_path / "model.pt2").state_dict.items()}
    assert types["network.norm.weight"] == torch.float32
    assert types["network.head.weight"] == {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def test_in_float32_a_mark_changes_nothing(bundle: ModelBundle, kept: ModelBundle) -> None:
    x = torch.from_numpy(batch(bundle))
    assert torch.equal(lowered(kept.module, "fp32")(x), bundle.module(x))
    assert torch.equal(
        torch.from_numpy(run_onnx(onnx_bytes(kept, "fp32"), batch(bundle))),
        torch.from_numpy(run_onnx(onnx_bytes(bundle, "fp32"), batch(bundle))),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_without_a_mark_lowering_is_a_plain_cast(bundle: ModelBundle, dtype: torch.dtype) -> None:
    x = torch.from_numpy(batch(bundle))
    plain = copy.deepcopy(bundle.module).to(dtype)(x.to(dtype)).float()
    ours = lowered(bundle.module, "fp16" if dtype == torch.float16 else "bf16")(x)
    assert np.array_equal(ours.detach(), plain.detach(), equal_nan=True)
    assert next(bundle.module.parameters()).dtype == torch.float32
