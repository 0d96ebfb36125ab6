"""Which runtimes could serve a model."""

from __future__ import annotations

import pytest

from core.devices import find_device
from experiments.models import find
from runtimes import RUNTIMES
from ui.optimise.place import serves


@pytest.mark.parametrize(
    ("model", "able"), [("vit_fmnist", list(RUNTIMES)), ("keras_cnn_fmnist", ["openvino", "litert"])]
)
def test_a_network_of_pytorch_could_be_served_by_any_and_one_of_keras_by_what_opens_its_file(
    model: str, able: list[str]
) -> None:
    assert [key for key in RUNTIMES if serves(key, find(model), find_device("cpu"))] == able
