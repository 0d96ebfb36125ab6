"""The model repository is what Triton's own definition of its configuration accepts, and says what was measured."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from core.data import InputContract
from core.devices import find_device
from experiments.package import Options
from experiments.recipe import Recipe
from experiments.store import Store
from experiments.triton import Repository, repository
from profiling.sweep import Sweep
from runtimes import RUNTIMES, Artifact, EngineSettings, OnnxRuntimeSettings, OpenVinoSettings, TensorRtSettings
from runtimes.torch_settings import CompileSettings
from tests.experiments.packages import packaged, result_of, sweep_of, unpacked

CONTRACT = {"shape": [3, 32, 48], "mean": [0, 0, 0], "std": [1, 1, 1], "labels": ["a cat", 'a "dog", large']}
FILES = {
    "pytorch": ("model.pt2", "two_four.json"),
    "torch_compile": ("model.pt2",),
    "onnxruntime": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "tensorrt": ("model.engine",),
}


@pytest.fixture(scope="module")
def definition() -> types.ModuleType:
    """Triton's protobuf of `ModelConfig`, from its client; by its file, as the package would import gRPC as well."""
    path = distribution("tritonclient").locate_file("tritonclient/grpc/model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", str(path))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(
    runtime: str,
    engine: EngineSettings | None = None,
    *,
    sweep: Sweep | None = None,
    precision: str = "fp32",
    libraries: dict[str, str] | None = None,
    device: str = "cpu",
) -> Repository:
    recipe = Recipe(model="resnet_fmnist", runtime=runtime, engine=engine or RUNTIMES[runtime].settings)
    result = result_of(Artifact(runtime, precision, Path(), FILES[runtime]), sweep)  # type: ignore[arg-type]
    found = result.conditions.model_copy(update={"device": device, "libraries": libraries or {}, "threads": 3})
    return repository(recipe, result.model_copy(update={"conditions": found}), CONTRACT)


def config_of(repository: Repository, definition: types.ModuleType) -> Any:
    return text_format.Parse(repository.texts[f"{repository.name}/config.pbtxt"], definition.ModelConfig())


@pytest.mark.parametrize(
    ("runtime", "libraries", "backend", "files"),
    [
        ("onnxruntime", {}, "onnxruntime", {"model.onnx"}),
        ("openvino", {}, "openvino", {"model.xml", "model.bin"}),
        ("tensorrt", {"tensorrt": "11.0"}, "tensorrt_plan", {"model.plan"}),
        ("tensorrt", {"tensorrt-rtx": "1.7"}, "python", {"model.engine", "run.py", "contract.json"}),
        ("pytorch", {}, "python", {"model.pt2", "two_four.json", "run.py", "contract.json"}),
        ("torch_compile", {}, "python", {"model.pt2", "run.py", "contract.json"}),
    ],
)
def test_each_runtime_has_its_backend_and_layout(
    runtime: str, libraries: dict[str, str], backend: str, files: set[str], definition: types.ModuleType
) -> None:
    found = made(runtime, libraries=libraries)
    config = config_of(found, definition)
    assert (config.backend or config.platform) == backend
    assert config.name == found.name
    written = {"config.pbtxt", "labels.txt", *({"1/model.py"} if backend == "python" else ())}
    assert set(found.texts) == {f"{found.name}/{name}" for name in written}
    assert set(found.copies) == {f"{found.name}/1/{name}" for name in files}
    assert set(found.copies.values()) <= {*FILES[runtime], "run.py", "contract.json"}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "pytorch"])
def test_input_output_and_labels_are_those_of_the_contract(runtime: str, definition: types.ModuleType) -> None:
    found = made(runtime)
    config = config_of(found, definition)
    (given,), (answer,) = config.input, config.output
    batch = [-1] if runtime == "openvino" else []
    assert (given.name, given.data_type, list(given.dims)) == ("input", definition.TYPE_FP32, [*batch, 3, 32, 48])
    assert (answer.name, answer.data_type, list(answer.dims)) == ("logits", definition.TYPE_FP32, [*batch, 2])
    assert found.texts[f"{found.name}/{answer.label_filename}"].splitlines() == CONTRACT["labels"]


def test_batches_are_those_that_were_measured_to_be_best(definition: types.ModuleType) -> None:
    sweep = sweep_of({1: 100, 2: 180, 4: 330, 8: 400, 16: 390, 32: 300})
    config = config_of(made("onnxruntime", sweep=sweep), definition)
    assert config.max_batch_size == 32
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16]
    engine = TensorRtSettings(largest_batch=4, usual_batch=2)
    config = config_of(made("tensorrt", engine, sweep=sweep, libraries={"tensorrt": "11.0"}), definition)
    assert config.max_batch_size == 4
    assert list(config.dynamic_batching.preferred_batch_size) == [4]
    unmeasured = made("onnxruntime")
    assert "Only batches of 1 were measured" in unmeasured.texts[f"{unmeasured.name}/config.pbtxt"]


def test_openvino_is_left_without_a_largest_batch_that_its_backend_would_fill_up(definition: types.ModuleType) -> None:
    config = config_of(made("openvino", sweep=sweep_of({1: 100, 2: 180})), definition)
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")


@pytest.mark.parametrize(("device", "kind"), [("cpu", "KIND_CPU"), ("cuda:0", "KIND_GPU")])
def test_it_is_placed_where_it_was_measured(device: str, kind: str, definition: types.ModuleType) -> None:
    (group,) = config_of(made("pytorch", device=device), definition).instance_group
    assert group.kind == definition.ModelInstanceGroup.Kind.Value(kind)
    assert list(group.gpus) == ([0] if device == "cuda:0" else [])


def test_the_engines_settings_are_handed_on(definition: types.ModuleType) -> None:
    settings = OnnxRuntimeSettings(rewriting="basic", provider="tensorrt")
    config = config_of(made("onnxruntime", settings), definition)
    assert config.parameters["intra_op_thread_count"].string_value == "3"
    assert config.optimization.graph.level == -1
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("tensorrt", {})
    config = config_of(made("onnxruntime", settings, precision="int8"), definition)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert dict(accelerator.parameters) == {"precision_mode": "INT8"}

    throughput = OpenVinoSettings(hint="throughput", streams=4)
    config = config_of(made("openvino", throughput, precision="bf16"), definition)
    assert {key: each.string_value for key, each in config.parameters.items()} == {
        "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": "3", "NUM_STREAMS": "4", "HINT_BF16": "YES",
    }  # fmt: skip
    on_gpu = made("openvino", OpenVinoSettings(place="GPU"))
    assert on_gpu.backend == "python"


def test_triton_is_refused_what_it_does_not_know(definition: types.ModuleType) -> None:
    """That the definition tells right from wrong at all."""
    with pytest.raises(text_format.ParseError, match="preferred_batch_sizes"):
        text_format.Parse("dynamic_batching { preferred_batch_sizes: [ 4 ] }", definition.ModelConfig())


class Tensor:
    """As Triton's Python backend has it."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self._array = name, array

    def as_numpy(self) -> np.ndarray:
        return self._array


def test_the_python_backend_answers_several_requests_as_the_studios_own_session_does(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, artifact = packaged(store, "pytorch", Options(triton=True))
    (model,) = unpacked(package, tmp_path).glob("model_repository/*/1/model.py")
    utilities = types.ModuleType("triton_python_backend_utils")
    utilities.get_input_tensor_by_name = lambda request, name: request[name]  # type: ignore[attr-defined]
    utilities.Tensor, utilities.InferenceResponse = Tensor, lambda tensors: tensors  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "run", raising=False)
    spec = importlib.util.spec_from_file_location("triton_model", model)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "run")

    told = json.loads((artifact.folder / "contract.json").read_text())
    pixels = np.load(artifact.folder / "samples.npz")["pixels"]
    x = InputContract(*told["shape"], told["mean"], told["std"], told["labels"]).prepare(pixels[:6])
    requests = [{"input": Tensor("input", part)} for part in (x[:1], x[1:4], x[4:])]
    answers = module.TritonPythonModel().execute(requests)
    assert [[tensor.name for tensor in answer] for answer in answers] == [["logits"]] * 3
    with RUNTIMES["pytorch"].open(artifact, find_device("cpu"), threads=1) as session:
        expected = session.run(x)
    assert [len(answer[0].as_numpy()) for answer in answers] == [1, 3, 2]
    np.testing.assert_allclose(np.concatenate([answer[0].as_numpy() for answer in answers]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "precision"), [(CompileSettings(freeze=True), "fp32"), (CompileSettings(), "int8")]
)
def test_what_compiles_anew_for_every_batch_gets_one_image_at_a_time(
    settings: CompileSettings, precision: str, definition: types.ModuleType
) -> None:
    config = config_of(made("torch_compile", settings, precision=precision), definition)
    assert config.max_batch_size == 1
    assert not config.HasField("dynamic_batching")
