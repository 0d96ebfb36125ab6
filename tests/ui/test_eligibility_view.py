"""What is said of a model on which not everything works."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from bridges.environments import Environment
from experiments.eligibility import eligibility
from experiments.models import find
from ui import text

REASON = "It cannot take the layer `norm_1`, and *says* so."


def page(form: str, reason: str) -> None:
    from dataclasses import replace

    from experiments.models import find
    from ui.eligibility_view import draw_eligibility

    refusals = {"keras_quantization": reason, "litert_quantization@openvino": "No."}
    draw_eligibility(replace(find("keras_cnn_fmnist"), form=form, refusals=refusals))


def test_each_technique_has_a_line_and_the_refused_one_its_reason_in_plain_letters() -> None:
    shown = AppTest.from_function(page, kwargs={"form": "keras", "reason": REASON}, default_timeout=60).run()
    count = len(eligibility(find("keras_cnn_fmnist")))
    assert shown.expander[0].label.startswith(f"{count - 1} of {count} techniques work on it")
    lines = shown.expander[0].markdown[0].value.split("  \n")
    assert len(lines) == count
    refused = next(line for line in lines if "Post-training quantization (TensorFlow)" in line)
    assert "block" in refused
    assert r"`norm_1`, and \*says\* so" in refused
    elsewhere = next(line for line in lines if "LiteRT quantizer" in line)
    assert "check" in elsewhere
    assert elsewhere.endswith(text.escape("Not in OpenVINO: No."))


def test_without_tensorflow_the_heading_tells_how_many_work_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "is_installed", False)
    shown = AppTest.from_function(page, kwargs={"form": "keras", "reason": REASON}, default_timeout=60).run()
    count = len(eligibility(find("keras_cnn_fmnist")))
    later = count - 2  # one is refused, and LiteRT's quantizer needs no TensorFlow
    heading = f"{count - 1} of {count} techniques work on it: 1 now, {later} with TensorFlow"
    assert [each.label for each in shown.expander] == [heading]
    assert shown.expander[0].caption[-1].value.endswith("environment of its own\\).")


def test_a_network_of_pytorch_gets_no_list() -> None:
    assert not AppTest.from_function(page, kwargs={"form": "torch", "reason": ""}, default_timeout=60).run().expander
