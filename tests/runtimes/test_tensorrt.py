"""Building engines needs no GPU with `tensorrt_rtx`; running them is in tests/gpu."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from core.bundle import ModelBundle, Situation
from core.devices import find_device
from core.errors import CannotCompose, RunFailed
from runtimes import RUNTIMES
from runtimes.extras import EXTRAS
from runtimes.onnx_file import onnx_bytes
from runtimes.runtime import Artifact
from runtimes.tensorrt_ import build_engine

needs_builder = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None or importlib.util.find_spec("tensorrt") is not None,
    reason="building without a GPU needs tensorrt_rtx, and tensorrt would be taken first",
)


@needs_builder
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_is_built_for_a_named_gpu_without_one(bundle: ModelBundle, precision: str) -> None:
    engine = build_engine(onnx_bytes(bundle, precision), bundle.contract, capability="SM89")
    assert len(engine) > 1000


@needs_builder
def test_what_the_parser_rejects_is_said_in_its_words(bundle: ModelBundle) -> None:
    import onnx

    graph = onnx.load_from_string(onnx_bytes(bundle, "fp32"))
    graph.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(RunFailed, match="NoSuchOperator"):
        build_engine(graph.SerializeToString(), bundle.contract, capability="SM89")


def test_on_a_cpu_it_is_unavailable_with_a_sentence() -> None:
    reason = RUNTIMES["tensorrt"].why_unavailable(find_device("cpu"))
    assert reason
    expected = "NVIDIA GPUs" if EXTRAS["tensorrt"].is_installed else EXTRAS["tensorrt"].command
    assert expected in reason


def test_an_int8_graph_is_refused_with_the_reason() -> None:
    situation = Situation("cnn", 0, 10, find_device("cpu"), "tensorrt", form="onnx", precision="int8")
    with pytest.raises(CannotCompose, match="zero points"):
        RUNTIMES["tensorrt"].check(situation)


@needs_builder
def test_the_sample_code_is_short_and_compiles(tmp_path: Path) -> None:
    source = RUNTIMES["tensorrt"].sample_code(Artifact("tensorrt", "fp32", tmp_path, ("model.engine",)))
    compile(source, "run.py", "exec")
    assert len(source.splitlines()) <= 45
