"""A model that was brought as an ONNX file, through recipes, runs and comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from core.devices import find_device
from core.errors import CannotCompose, Unavailable
from core.progress import Finished, Note, Steps
from core.progress import result_of as steps_result
from experiments import models
from experiments.anatomies import FILE
from experiments.checking import check, why_refused
from experiments.fidelity import compare_with_source
from experiments.flips import stages
from experiments.other_teachers import other_teachers, why_no_teacher
from experiments.profile import ProfileResult, run_profile
from experiments.recipe import Recipe
from experiments.references import baseline_of, baseline_title, with_references
from experiments.result import RunResult
from experiments.run import run
from experiments.scan import run_scan, why_not_scanned
from experiments.study import ScanStudy
from experiments.truth import chain_of
from optimizers.int8 import Int8
from profiling.size import macs_of, measure_size
from runtimes import RUNTIMES
from tests.experiments.own import COUNTS, INPUT, plant_onnx, small_graph
from tests.experiments.planting import spoil

CPU = find_device("cpu")
LARGER = INPUT.model_copy(update={"height": 20, "width": 20})
QUICK = {"latency_seconds": 1, "sweep_seconds": 0, "threads": 1}


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    return plant_onnx()


def recipe_of(key: str, **changes: Any) -> Recipe:
    return Recipe(**{"model": key, "runtime": "onnxruntime", "measurement": QUICK, **changes})


def not_probed(*_args: Any, **_settings: Any) -> Steps[None]:
    """Probing what the device attains takes seconds, and tells nothing about the graph."""
    yield from ()
    raise Unavailable("not probed here")


def result_of(recipe: Recipe, folder: Path) -> tuple[RunResult, list[str]]:
    folder.mkdir()
    events = list(run(recipe, folder))
    assert isinstance(events[-1], Finished)
    return RunResult.model_validate(events[-1].result), [each.text for each in events if isinstance(each, Note)]


def test_its_baseline_is_the_untouched_graph_in_onnx_runtime(key: str) -> None:
    recipe = recipe_of(key, runtime="openvino", techniques=["int8"])
    baseline, _, reference = with_references(recipe)
    assert (baseline.runtime, baseline.techniques, baseline.is_baseline) == ("onnxruntime", (), True)
    assert (reference.runtime, reference.techniques, reference.is_baseline) == ("openvino", (), False)
    assert baseline_title(key) == "FP32 in ONNX Runtime"
    assert [title for title, _ in stages(recipe)] == ["FP32", "OpenVINO", "INT8"]
    assert not recipe_of(key, engine={"rewriting": "none"}).is_baseline
    assert chain_of(baseline).digest == chain_of(reference).digest


def test_the_baseline_of_the_studio_s_own_models_stays(key: str) -> None:
    recipe = recipe_of("resnet_fmnist")
    assert (baseline_of(recipe).runtime, recipe.is_baseline) == ("pytorch", False)
    assert (baseline_title("resnet_fmnist"), recipe.title) == ("FP32 in PyTorch", "FP32 · ONNX Runtime")


@pytest.mark.parametrize("runtime", ["pytorch", "torch_compile", "aotinductor"])
def test_runtimes_of_torch_say_what_they_need(key: str, runtime: str) -> None:
    for techniques in ([], ["int8"]):
        refusal = why_refused(recipe_of(key, runtime=runtime, techniques=techniques), CannotCompose)
        assert refusal.startswith(f"a model that is an ONNX file for {RUNTIMES[runtime].title}")
        assert "quantiz" not in refusal


def test_the_untouched_graph_is_exported_counted_and_answers_as_it_is(key: str, tmp_path: Path) -> None:
    bundle, runtime = models.load(key), RUNTIMES["onnxruntime"]
    artifact = runtime.export(bundle, tmp_path)
    assert artifact.main_file.read_bytes() == small_graph()
    size = measure_size(bundle, artifact, macs=macs_of(bundle))
    assert (size.parameter_count, size.macs) == (508, 26_688)
    with runtime.open(artifact, CPU, threads=1) as session:
        found = steps_result(compare_with_source(session, bundle, artifact, CPU, threads=1))
    assert (found.agreeing, found.images, found.differs) == (COUNTS["test"], COUNTS["test"], False)


def test_a_spoiled_layer_is_found_by_the_name_of_its_node(key: str, tmp_path: Path) -> None:
    bundle, runtime = models.load(key), RUNTIMES["onnxruntime"]
    artifact = runtime.export(bundle, tmp_path)
    spoil(artifact, "widen")
    with runtime.open(artifact, CPU, threads=1) as session:
        found = steps_result(compare_with_source(session, bundle, artifact, CPU, threads=1))
    assert found.differs
    assert found.divergence is not None
    assert (found.divergence.tensor, found.divergence.layers) == ("f", ("widen",))


def test_a_run_in_int8_is_compared_with_the_float_graph(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.run.peaks_for", not_probed)
    found, notes = result_of(recipe_of(key, techniques=[Int8(keep=("head",))]), tmp_path / "run")
    assert found.quantization is not None
    assert [each.bits for each in found.quantization.layers] == [8, 8, 8, 32]
    assert found.precision == "int8"
    assert found.fidelity is not None
    assert 0 < found.fidelity.relative < 0.1
    assert found.size.macs == 26_688
    bundle = models.load(key)
    (logits,) = onnxruntime.InferenceSession(tmp_path / "run/artifact/model.onnx").run(
        ["logits"], {"input": bundle.contract.prepare(bundle.data.test.pixels)}
    )
    assert found.accuracy.correct == int((logits.argmax(1) == bundle.data.test.targets).sum())
    assert "is an ONNX file" in "".join(notes)
    assert not (tmp_path / "run" / FILE).exists()


def test_what_was_brought_quantized_is_measured_as_it_is(key: str, tmp_path: Path) -> None:
    quantized = plant_onnx(small_graph(precision="int8"), precision="int8", title="Quantized")
    recipe = recipe_of(quantized)
    assert (recipe.title, baseline_title(quantized)) == ("INT8 · ONNX Runtime", "INT8 in ONNX Runtime")
    assert "quantized already" in why_refused(recipe_of(quantized, techniques=["int8"]))
    assert check(recipe).precision == "int8"


def test_a_profile_knows_its_layers_and_says_what_it_does_not(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.profile.peaks_for", not_probed)
    monkeypatch.setattr("experiments.profile.LATENCY_SECONDS", 0.2)
    events = list(run_profile(recipe_of(key), tmp_path, None))
    assert isinstance(events[-1], Finished)
    found = ProfileResult.model_validate(events[-1].result)
    assert {"stem", "mix", "widen", "head"} <= {each.name for each in found.layers.layers} | {
        name for each in found.layers.layers for name in each.name.split(" + ")
    }
    assert found.anatomy is None
    assert "is an ONNX file" in found.why_no_anatomy
    assert "graph.json" in found.files


def test_a_scan_is_refused_beforehand(key: str) -> None:
    assert "cannot be changed one by one" in why_not_scanned(key)
    assert not why_not_scanned("resnet_fmnist")
    with pytest.raises(CannotCompose, match="cannot be changed one by one"):
        next(run_scan(ScanStudy(), Recipe(model=key)))


def test_it_teaches_models_of_the_same_classes_and_size(key: str) -> None:
    other = plant_onnx(title="Weights", form="torch")  # only what is known of it counts here
    assert other_teachers(other, [key, other, "resnet_fmnist"]) == {key: models.title_of(key)}
    assert "their classes differ (10: T-shirt/top" in why_no_teacher("resnet_fmnist", other)
    larger = plant_onnx(title="Larger", input=LARGER)
    assert "3 x 20 x 20" in why_no_teacher(larger, other)
    assert "is not here any more" in why_no_teacher("own-gone-0123456789", other)
    taught = recipe_of(other, techniques=[{"distillation": {"teacher_model": key, "student": "width"}}])
    assert not why_refused(taught)
    wrong = recipe_of(other, techniques=[{"distillation": {"teacher_model": larger}}])
    assert "3 x 20 x 20" in why_refused(wrong)
