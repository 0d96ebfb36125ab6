"""A network compiled ahead: the same answers at any batch, from a file that says what it was compiled for."""

from __future__ import annotations

import json
import os
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import ModelBundle, Situation
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from runtimes import RUNTIMES
from runtimes.aotinductor_file import facts_of
from runtimes.runtime import Artifact
from tests.runtimes.conftest import Exported, make_bundle

RUNTIME = RUNTIMES["aotinductor"]


@pytest.fixture
def artifact(exported: Callable[[str], Exported]) -> Artifact:
    return exported("aotinductor").artifact


def test_any_batch_gets_the_answers_of_the_network(artifact: Artifact, bundle: ModelBundle, cpu: Device) -> None:
    x = bundle.contract.prepare(np.random.default_rng(1).integers(0, 256, (256, 3, 12, 12), np.uint8))
    with torch.no_grad():
        expected = make_bundle().module.eval()(torch.from_numpy(x)).numpy()
    with RUNTIME.open(artifact, cpu, threads=1) as session:
        for batch in (1, 7, 16, 256):
            np.testing.assert_allclose(session.run(x[:batch]), expected[:batch], atol=1e-4)


def test_it_takes_as_many_threads_as_it_is_opened_with(artifact: Artifact) -> None:
    """Compiled with one thread, which without being told otherwise leaves all parallel regions out."""
    with zipfile.ZipFile(artifact.main_file) as archive:
        library = archive.read(next(name for name in archive.namelist() if name.endswith(".so")))
    assert b"GOMP_parallel" in library or b"__kmpc_fork_call" in library


def test_the_file_holds_no_source_and_no_folder_of_this_machine(artifact: Artifact) -> None:
    with zipfile.ZipFile(artifact.main_file) as archive:
        assert any(name.endswith(".so") for name in archive.namelist())
        assert not any(name.endswith(".cpp") for name in archive.namelist())
        for name in archive.namelist():
            content = archive.read(name)
            assert tempfile.gettempdir().encode() + b"/" not in content
            assert sysconfig.get_path("purelib").encode() not in content


def test_the_file_says_what_it_was_compiled_for(artifact: Artifact, cpu: Device) -> None:
    facts = facts_of(artifact.main_file)
    assert facts["AOTI_DEVICE_KEY"] == "cpu"
    assert set(facts["processor_flags"].split()) <= cpu.cpu_flags
    assert ("avx2" in facts["processor_flags"]) == ("avx2" in cpu.cpu_flags)


def test_nothing_is_left_behind(
    bundle: ModelBundle, artifact: Artifact, cpu: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither in the folder for temporary files, even while it is open, nor in the compiler's cache."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with RUNTIME.open(artifact, cpu, threads=1) as session:
        session.run(np.zeros((2, 3, 12, 12), np.float32))
        assert list(tmp_path.iterdir()) == []
    assert os.environ["TMPDIR"] == str(tmp_path)


@pytest.mark.parametrize(
    ("fact", "value", "reason"),
    [
        ("processor_flags", "amx_warp", "compiled for amx_warp, which .* lacks"),
        ("AOTI_MACHINE", "sparc64", "compiled for sparc64"),
        ("AOTI_DEVICE_KEY", "cuda", "compiled for cuda"),
        ("AOTI_COMPUTE_CAPABILITY", "90", "compiled for compute capability 90"),
    ],
)
def test_a_file_for_another_processor_is_refused_unopened(
    fact: str, value: str, reason: str, artifact: Artifact, cpu: Device, tmp_path: Path
) -> None:
    foreign = tmp_path / "model.pt2"
    with zipfile.ZipFile(artifact.main_file) as given, zipfile.ZipFile(foreign, "w") as changed:
        for entry in given.infolist():
            content = given.read(entry)
            if entry.filename.endswith("wrapper_metadata.json"):
                content = json.dumps(json.loads(content) | {fact: value}).encode()
            changed.writestr(entry, content)
    with pytest.raises(Unavailable, match=reason):
        RUNTIME.open(replace(artifact, folder=tmp_path), cpu, threads=1)


@pytest.mark.parametrize("precision", ["int8", "w8"])
def test_what_is_quantized_is_refused_with_the_reason(precision: str, cpu: Device) -> None:
    situation = Situation("cnn", 7, 10, cpu, "aotinductor", precision=precision)  # type: ignore[arg-type]
    with pytest.raises(CannotCompose, match="compiled for one batch size each"):
        RUNTIME.check(situation)


def test_it_shows_neither_layers_nor_tensors(artifact: Artifact, cpu: Device) -> None:
    x = np.zeros((1, 3, 12, 12), np.float32)
    assert RUNTIME.tensors(artifact) == ()
    with pytest.raises(Unavailable, match="one compiled library"):
        RUNTIME.profile(artifact, cpu, threads=1, x=x)
