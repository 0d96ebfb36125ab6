"""One card a model, with the numbers of its stored card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint
from streamlit.testing.v1 import AppTest

from experiments.eligibility import eligibility
from experiments.models import find
from sample_models import MODELS

Visit = Callable[..., AppTest]
CARDS = Path(__file__).resolve().parents[2] / "sample_models" / "cards"


def test_every_model_has_a_card_with_its_images(visit: Visit) -> None:
    page = visit("models")
    assert [header.value for header in page.subheader] == [model.title for model in MODELS.values()]
    assert len(page.get("image")) == len(MODELS)


def test_the_numbers_are_those_of_the_stored_card(visit: Visit) -> None:
    facts = json.loads((CARDS / "resnet_fmnist.json").read_text())
    page = visit("models")
    shown = {metric.label: metric.value for metric in page.metric[:4]}
    assert float(shown["Test accuracy"].split()[0]) == pytest.approx(
        100 * facts["correct"] / facts["test_images"], abs=0.005
    )
    assert float(shown["MACs"].split()[0]) == pytest.approx(facts["macs"] / 1e6, rel=0.01)
    assert float(shown["Parameters"].split()[0]) == pytest.approx(facts["parameter_count"] / 1e3, rel=0.01)
    assert float(shown["Size"].split()[0]) == pytest.approx(facts["size_bytes"] / 2**20, rel=0.01)
    low, high = proportion_confint(facts["correct"], facts["test_images"], method="wilson")
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in page.caption[1].value


def test_a_card_leads_to_the_optimise_page_with_its_model(visit: Visit) -> None:
    page = visit("models")
    page.button(key="optimise-vit_fmnist").click().run()
    assert page.query_params["model"] == "vit_fmnist"
    assert page.selectbox(key="model").value == "vit_fmnist"


def test_the_sample_of_keras_tells_what_works_on_it(visit: Visit) -> None:
    page = visit("models")
    lines = eligibility(find("keras_cnn_fmnist"))
    shown = next(each for each in page.expander if "techniques work on it" in each.label)
    assert shown.label.startswith(f"{len(lines)} of {len(lines)} techniques work on it")
    assert all(f"**{line.title}**" in shown.markdown[0].value for line in lines)
    assert [badge.value for badge in page.markdown if "orange-badge" in badge.value] == [":orange-badge[Keras]"]
