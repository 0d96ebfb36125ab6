"""A package runs with what it asks for and nothing else, and shows when a file of it was changed."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from core.data import InputContract
from core.devices import find_device
from core.errors import BadInput, Unavailable
from core.folders import run_folder
from experiments.package import Options, build_package
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml
from experiments.run_record import RunRecord
from experiments.store import Store
from runtimes import RUNTIMES, Artifact
from tests.experiments.packages import linked_environment, packaged, result_of, run_alone, unpacked
from tests.experiments.tiny import onnx_artifact

TINY = Recipe(model="student_dw_fmnist", runtime="onnxruntime")
EVERYTHING = Options(server=True, triton=True)


def opened_predictions(artifact: Artifact) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What the studio's own session predicts on the samples, what is right, and the names of the classes."""
    told = json.loads((artifact.folder / "contract.json").read_text())
    contract = InputContract(*told["shape"], told["mean"], told["std"], told["labels"])
    with np.load(artifact.folder / "samples.npz") as samples:
        pixels, labels = samples["pixels"], samples["labels"]
    with RUNTIMES[artifact.runtime].open(artifact, find_device("cpu"), threads=1) as session:
        return session.run(contract.prepare(pixels)).argmax(1), labels, told["labels"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "pytorch"])
def test_it_runs_in_an_environment_that_holds_only_its_requirements(runtime: str, store: Store, tmp_path: Path) -> None:
    package, artifact = packaged(store, runtime)
    folder = unpacked(package, tmp_path)
    python = linked_environment(tmp_path / "environment", folder / "requirements.txt")
    for absent in ("streamlit", "pydantic", "pip"):
        assert f"No module named '{absent}'" in run_alone(python, folder, "-c", f"import {absent}").stderr
    done = run_alone(python, folder, "run.py")
    assert done.returncode == 0, done.stderr
    predicted, labels, names = opened_predictions(artifact)
    *lines, last = done.stdout.splitlines()
    assert [line.split(" (")[0] for line in lines] == [f"{at}: {names[best]}" for at, best in enumerate(predicted)]
    assert last == f"{(predicted == labels).mean():.1%} of {len(labels)} images right"
    assert not last.startswith("100")


def test_its_program_needs_what_is_asked_for(store: Store, tmp_path: Path) -> None:
    """The same environment without the engine: what the test above would miss if it held more than it should."""
    package, _ = packaged(store, "onnxruntime")
    folder = unpacked(package, tmp_path)
    pins = (folder / "requirements.txt").read_text().splitlines()
    (tmp_path / "fewer.txt").write_text("\n".join(pin for pin in pins if not pin.startswith("onnxruntime")))
    python = linked_environment(tmp_path / "environment", tmp_path / "fewer.txt")
    assert "No module named 'onnxruntime'" in run_alone(python, folder, "run.py").stderr


@pytest.fixture
def record(store: Store) -> RunRecord:
    """A finished run whose artifact is the smallest there is."""
    run_id = store.begin_here(TINY)
    (folder := run_folder(run_id) / "artifact").mkdir()
    store.finish(run_id, result_of(onnx_artifact(folder)))
    found = store.run(run_id)
    assert found
    return found


def result(store: Store, record: RunRecord):
    return store.result(record.id)


def test_a_changed_file_is_found_by_its_checksum(store: Store, record: RunRecord, tmp_path: Path) -> None:
    folder = unpacked(build_package(record, result(store, record), EVERYTHING), tmp_path)

    def changed() -> list[str]:
        pairs = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
        return [name for digest, name in pairs if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest]

    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert listed == there - {"SHA256SUMS"}
    assert changed() == []
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    assert changed() == ["model.onnx"]


def test_the_same_run_gives_the_same_bytes_and_other_options_another_package(store: Store, record: RunRecord) -> None:
    plain = build_package(record, result(store, record))
    first = plain.path.read_bytes()
    again = build_package(record, result(store, record))
    assert again.path.read_bytes() == first
    assert again.sha256 == hashlib.sha256(first).hexdigest()
    found = [build_package(record, result(store, record), Options(*each)) for each in ((0, 1), (1, 0), (1, 1))]
    assert len({each.path for each in (plain, *found)}) == 4
    assert len({each.sha256 for each in (plain, *found)}) == 4


def test_every_file_is_listed_with_its_size_and_may_be_read_by_anybody(
    store: Store, record: RunRecord, tmp_path: Path
) -> None:
    package = build_package(record, result(store, record), EVERYTHING, tmp_path / "mine.zip")
    assert package.path == tmp_path / "mine.zip"
    with zipfile.ZipFile(package.path) as archive:
        found = {info.filename.removeprefix(f"{package.folder}/"): info for info in archive.infolist()}
        assert from_yaml(archive.read(f"{package.folder}/recipe.yaml").decode()) == TINY
    assert [(each.name, each.size_bytes) for each in package.entries] == [
        (name, info.file_size) for name, info in found.items()
    ]
    assert {info.external_attr >> 16 for info in found.values()} == {0o644}
    assert {"serve.py", "Dockerfile", "requirements-server.txt"} <= set(found)
    assert any(name.endswith("config.pbtxt") for name in found)
    assert all(each.about for each in package.entries)


def test_packing_a_large_artifact_takes_little_memory(store: Store, record: RunRecord) -> None:
    path = run_folder(record.id) / "artifact" / "model.onnx"
    os.truncate(path, 64 << 20)
    tracemalloc.start()
    package = build_package(record, result(store, record), EVERYTHING)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8 << 20
    assert sum(each.size_bytes for each in package.entries) > 2 * (64 << 20)


def test_what_cannot_be_packed_is_one_sentence(store: Store, record: RunRecord, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        build_package(record, result(store, record), path=tmp_path / "nowhere" / "out.zip")
    (run_folder(record.id) / "artifact" / "model.onnx").unlink()
    with pytest.raises(Unavailable, match=r"model\.onnx"):
        build_package(record, result(store, record), path=tmp_path / "out.zip")
    assert list(tmp_path.glob("*.zip*")) == []
