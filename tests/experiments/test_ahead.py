"""An engine built for a GPU that is not here: what the run knows, and the zip that goes there."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from core.bundle import ModelBundle, OnnxGraph
from core.compatibility import Compatibility, OperatorSupport
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.folders import run_folder
from core.progress import Finished, PhaseStarted
from experiments.ahead import PHASES_AHEAD, AheadResult, build_ahead, describe_ahead
from experiments.ahead_package import artifact_ahead, build_package_ahead
from experiments.checking import check
from experiments.recipe import MeasurementSettings, Recipe
from experiments.run_record import RunRecord
from experiments.store import Store
from runtimes.onnx_file import onnx_bytes
from runtimes.tensorrt_ import TensorRtSettings
from tests.runtimes.conftest import make_bundle

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="building without a GPU needs tensorrt_rtx"
)
RECIPE = Recipe(model="resnet_fmnist", runtime="tensorrt", engine=TensorRtSettings(build_for="SM89", largest_batch=32))


def built(bundle: ModelBundle, folder: Path) -> AheadResult:
    events = list(build_ahead(bundle, folder, RECIPE, threads=1))
    assert tuple(each.title for each in events if isinstance(each, PhaseStarted)) == PHASES_AHEAD
    assert isinstance(events[-1], Finished)
    return AheadResult.model_validate(events[-1].result)


@pytest.fixture
def record(store: Store) -> RunRecord:
    found = store.run(store.begin_here(RECIPE))
    assert found
    return found


def test_the_result_has_what_the_parser_and_the_builder_said(tmp_path: Path) -> None:
    bundle = make_bundle("fp16")
    result = built(bundle, tmp_path)
    assert result.compatibility.is_whole
    assert result.size_bytes == sum((tmp_path / name).stat().st_size for name in ("model.engine", "engine.json"))
    assert result.graph_bytes == len(onnx_bytes(bundle, "fp16"))
    assert result.facts is not None
    assert (result.facts.compute_capability, result.facts.batches, result.facts.precision) == (
        (8, 9),
        (1, 16, 32),
        "fp16",
    )
    assert (tmp_path / "contract.json").exists()
    summary = result.summary()
    assert (summary.is_compatible, summary.target) == (True, "a GPU of the Ada generation")
    assert "has not been run here: there is no accuracy, latency or memory" in describe_ahead(result)


def test_a_refused_operator_leaves_a_result_without_an_engine(tmp_path: Path, record: RunRecord) -> None:
    bundle = make_bundle()
    graph = onnx.load_from_string(onnx_bytes(bundle, "fp32"))
    graph.graph.node[1].op_type = "Sparkle"
    result = built(replace(bundle, network=OnnxGraph(graph.SerializeToString())), tmp_path)
    assert (result.size_bytes, result.build_ms, result.facts, result.artifact_files) == (None, None, None, ())
    assert "operator Sparkle" in result.why_no_engine
    assert not result.summary().is_compatible
    text = describe_ahead(result)
    assert text.splitlines()[1].split()[:4] == ["Sparkle", "1", "1", "refused:"]
    assert "No engine was built. TensorRT cannot read the operator Sparkle" in text
    with pytest.raises(Unavailable, match="No engine was built"):
        artifact_ahead(record, result)


def test_the_zip_holds_all_it_takes_to_run_it_there(record: RunRecord) -> None:
    folder = run_folder(record.id) / "artifact"
    folder.mkdir(parents=True)
    result = built(make_bundle(), folder)
    path = build_package_ahead(record, result).path
    with zipfile.ZipFile(path) as archive:
        files = {name.removeprefix(f"{path.stem}/"): archive.read(name) for name in archive.namelist()}
    sums = dict(reversed(line.split("  ")) for line in files.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert files["model.engine"] == (folder / "model.engine").read_bytes()
    assert {"engine.json", "contract.json", "samples.npz", "recipe.yaml", "result.json", "README.txt"} < set(files)
    assert b"import tensorrt_rtx as tensorrt" in files["run.py"]
    assert result.facts
    assert f"tensorrt-rtx=={result.facts.version}" in files["requirements.txt"].decode().splitlines()
    first = path.read_bytes()
    assert build_package_ahead(record, result).path.read_bytes() == first
    (folder / "model.engine").unlink()
    with pytest.raises(Unavailable, match=r"files are gone: model.engine"):
        build_package_ahead(record, result)


def test_a_finished_build_is_found_in_the_store_and_compared_with_nothing(store: Store, record: RunRecord) -> None:
    operators = (OperatorSupport(op="Sparkle", count=2, refused=("one",), reason="unknown"),)
    result = built(make_bundle(), _folder(record)).model_copy(
        update={"compatibility": Compatibility(parser="a parser", operators=operators)}
    )
    assert store.finish(record.id, result)
    found = store.run(record.id)
    assert found
    assert (found.summary, found.ahead) == (None, result.summary())
    assert store.ahead_result(record.id) == result
    assert store.measured() == []


def test_a_batch_that_the_engine_will_not_take_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device("cuda:0", "cuda", "NVIDIA L4", 2**34, (8, 9))
    monkeypatch.setattr("experiments.checking.find_device", lambda _id: gpu)
    engine, measurement = TensorRtSettings(usual_batch=4, largest_batch=8), MeasurementSettings(batch_size=8)
    recipe = Recipe(model="resnet_fmnist", runtime="tensorrt", engine=engine, device="cuda:0", measurement=measurement)
    check(recipe)
    larger = recipe.model_copy(update={"measurement": MeasurementSettings(batch_size=9)})
    with pytest.raises(CannotCompose, match="batches of 9 images with an engine built for at most 8"):
        check(larger)


def _folder(record: RunRecord) -> Path:
    folder = run_folder(record.id) / "artifact"
    folder.mkdir(parents=True)
    return folder
