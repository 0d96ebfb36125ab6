from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

import sample_models
from core.bundle import ModelBundle, OnnxGraph
from core.progress import Note, result_of
from experiments.anatomies import FILE, IMAGES, anatomy_of_run, study_anatomy, write_anatomy


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return sample_models.load("student_dw_fmnist")


def test_what_a_run_keeps_is_what_was_found(bundle: ModelBundle, tmp_path: Path) -> None:
    result_of(write_anatomy(bundle, tmp_path))
    kept, why_not = anatomy_of_run(tmp_path)
    assert kept == result_of(study_anatomy(bundle))
    assert (kept.images, why_not) == (IMAGES, "")


def test_a_network_that_cannot_be_followed_leaves_a_note_and_no_failure(bundle: ModelBundle, tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, x: object) -> object:
            raise RuntimeError("not in eager PyTorch")

    for network, reason in ((Broken(), "not in eager PyTorch"), (OnnxGraph(b""), "that is an ONNX file")):
        notes = [each for each in write_anatomy(replace(bundle, network=network), tmp_path) if isinstance(each, Note)]
        assert [reason in each.text for each in notes] == [True]
    kept, why_not = anatomy_of_run(tmp_path)
    assert kept is None
    assert "kept nothing of its network" in why_not


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"images": 3')
    assert anatomy_of_run(tmp_path) == (None, "What its run kept of its network cannot be read. Run its recipe again.")
