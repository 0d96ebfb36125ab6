from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import sample_models
from core.data import Floats
from core.devices import find_device
from core.errors import RunFailed
from core.layers import LayerProfile
from core.progress import Note
from experiments import onnx_graph, profile_files
from experiments.onnx_graph import read_view
from experiments.profile_files import write_files
from experiments.recipe import Recipe
from optimizers import TECHNIQUES
from runtimes import RUNTIMES, Artifact

MODEL = "student_dw_fmnist"
EVENTS = {"ph", "ts", "name"}


Profiled = tuple[Artifact, LayerProfile, Floats]


def profiled(runtime: str, folder: Path) -> Profiled:
    """The untouched network with its profile, for which times are not looked at closely."""
    bundle = sample_models.load(MODEL)
    artifact = RUNTIMES[runtime].export(bundle, folder)
    x = bundle.contract.prepare(bundle.data.test.pixels[:2])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("runtimes.layers_shared.SECONDS", 0.05)
        patched.setattr("runtimes.layers_shared.WARM_UP_SECONDS", 0.0)
        return artifact, RUNTIMES[runtime].profile(artifact, find_device("cpu"), threads=1, x=x), x


@pytest.fixture(scope="module")
def in_onnx(tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    """In ONNX Runtime."""
    return profiled("onnxruntime", tmp_path_factory.mktemp("onnx"))


def recipe(runtime: str, *techniques: object) -> Recipe:
    return Recipe.model_validate(
        {"model": MODEL, "runtime": runtime, "measurement": {"threads": 1, "batch_size": 2}}
    ).model_copy(update={"techniques": techniques})


def written(folder: Path, *given: object) -> tuple[tuple[str, ...], list[str]]:
    """The names of the files, and what the notes say."""
    steps, notes = write_files(folder, *given), []
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return end.value, notes
        assert isinstance(event, Note)
        notes.append(event.text)


def assert_a_trace_and_a_recording(folder: Path, layers: LayerProfile) -> None:
    trace = json.loads((folder / "trace.json").read_text())
    typical_us = [each["dur"] for each in trace["traceEvents"] if each["ph"] == "X" and each["tid"] == 1]
    assert sum(typical_us) == pytest.approx(1000 * layers.layers_ms)
    real = json.loads((folder / "recording.json").read_text())
    assert not {"host_name", "traceName"} & real.keys()
    assert all(each.keys() >= EVENTS for each in real["traceEvents"])
    assert len([each for each in real["traceEvents"] if each["name"] in ("model_run", "inference")]) == 5


def test_a_profile_leaves_its_trace_the_engines_recording_and_the_graph(in_onnx: Profiled, tmp_path: Path) -> None:
    artifact, layers, x = in_onnx
    files, notes = written(tmp_path, artifact, recipe("onnxruntime"), layers, x)
    assert (files, notes) == (("trace.json", "recording.json", "graph.json", "network.onnx"), [])
    assert_a_trace_and_a_recording(tmp_path, layers)
    view, modules = read_view(tmp_path), dict(sample_models.load(MODEL).module.named_modules())
    assert {node.module for node in view.nodes} <= modules.keys()
    weighted = [node for node in view.nodes if node.op in ("Conv", "Gemm")]
    assert [node.weight_shape for node in weighted] == [tuple(modules[node.module].weight.shape) for node in weighted]
    assert (weighted[0].shapes, view.nodes[-1].shapes) == (((2, 16, 28, 28),), ((2, 10),))
    assert [node.module for node in weighted if node.layers] == [layer.name for layer in layers.of("compute")]


def test_pytorch_records_itself_and_the_graph_is_exported_for_it(tmp_path: Path) -> None:
    artifact, layers, x = profiled("pytorch", tmp_path)
    files, notes = written(tmp_path, artifact, recipe("pytorch"), layers, x)
    assert (files, notes) == (("trace.json", "recording.json", "graph.json", "network.onnx"), [])
    assert_a_trace_and_a_recording(tmp_path, layers)
    model = onnx.load(tmp_path / "network.onnx")
    assert not any(node.metadata_props for node in model.graph.node)
    onnx.checker.check_model(model)
    unplaced = read_view(tmp_path).unplaced(layers.layers)
    assert not any(layer.macs or "batch_norm" in layer.op for layer in unplaced)


def test_what_cannot_be_made_is_a_note_and_no_failure(
    in_onnx: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object, **_more: object) -> None:
        raise RunFailed("no translation")

    monkeypatch.setattr(onnx_graph, "exported_with_notes", fail)
    monkeypatch.setattr(profile_files, "record", fail)
    artifact, layers, x = in_onnx
    files, notes = written(tmp_path, artifact, recipe("onnxruntime"), layers, x)
    assert files == ("trace.json",)
    assert [note.split(":")[0] for note in notes] == [
        "The network's graph was not kept", "The engine's own recording was not kept",
    ]  # fmt: skip


def test_a_variant_has_a_graph_only_where_an_onnx_file_is_served(
    in_onnx: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_files, "record", lambda *_given, **_more: False)
    made = recipe("onnxruntime", TECHNIQUES["int8"]())
    artifact, layers, x = in_onnx
    assert written(tmp_path, artifact, made, layers, x)[0] == ("trace.json", "graph.json", "network.onnx")
    assert (tmp_path / "network.onnx").read_bytes() == artifact.main_file.read_bytes()
    (other := tmp_path / "other").mkdir()
    in_torch = Artifact("pytorch", "fp32", tmp_path, ("model.pt2",))
    assert written(other, in_torch, made, layers, x) == (("trace.json",), [])
    monkeypatch.setattr(profile_files, "LARGEST_MODEL", 1000)
    (large := tmp_path / "large").mkdir()
    assert written(large, artifact, made, layers, x)[0] == ("trace.json", "graph.json")


def test_what_has_no_onnx_form_has_no_graph_and_nothing_is_said_to_have_failed(
    in_onnx: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_files, "record", lambda *_given, **_more: False)
    _, layers, x = in_onnx
    of_keras = Recipe(model="keras_cnn_fmnist", runtime="openvino")
    served = Artifact("openvino", "fp32", tmp_path, ("model.tflite",))
    assert written(tmp_path, served, of_keras, layers, x) == (("trace.json",), [])
