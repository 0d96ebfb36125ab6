"""What works on a model of Keras, told from what was found when it was added."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bridges.environments import TENSORFLOW, Environment
from experiments import eligibility as module
from experiments.eligibility import eligibility, why_not_here
from experiments.models import find
from experiments.other_teachers import why_no_teacher
from optimizers import TECHNIQUES

ENTRY = replace(find("keras_cnn_fmnist"), refusals={})


def test_every_technique_for_the_form_has_a_line_with_its_reason() -> None:
    refused = {"keras_qat": "It has no rule for `x`.", "keras_quantization@openvino": "An operator is unknown."}
    lines = {line.key: line for line in eligibility(replace(ENTRY, refusals=refused))}
    assert set(lines) == {key for key, technique in TECHNIQUES.items() if "keras" in technique.takes}
    assert {key: line.reason for key, line in lines.items() if line.reason} == {"keras_qat": refused["keras_qat"]}
    assert lines["keras_quantization"].elsewhere == ("Not in OpenVINO: An operator is unknown.",)
    assert {line.title for line in lines.values()} == {TECHNIQUES[key].title for key in lines}


def test_a_tflite_file_is_offered_nothing_that_needs_tensorflow() -> None:
    lines = eligibility(replace(ENTRY, form="tflite"))
    assert lines
    assert not any(line.key.startswith("keras_") for line in lines)
    assert why_not_here(lines) == ""


def test_what_is_not_installed_is_said_only_where_it_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Environment("tensorflow", "TensorFlow", tmp_path, "2.3 GB")
    monkeypatch.setattr(module, "TENSORFLOW", absent)
    works = eligibility(ENTRY)
    assert why_not_here(works) == absent.why_missing
    refused = tuple(replace(line, reason="No.") for line in works)
    assert why_not_here(refused) == ""
    monkeypatch.setattr(module, "TENSORFLOW", TENSORFLOW)
    assert why_not_here(works) == (TENSORFLOW.why_missing or "")


def test_a_network_of_keras_is_no_teacher_of_one_of_pytorch() -> None:
    assert why_no_teacher("keras_cnn_fmnist", "resnet_fmnist") == (
        "CNN in Keras cannot teach ResNet: a model of Keras cannot answer in training."
    )
    assert why_no_teacher("vit_fmnist", "resnet_fmnist") == ""
