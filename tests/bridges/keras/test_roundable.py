"""Layers that TensorFlow's toolkit has no rule for: changed into ones that it has, and compared with what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from core.progress import result_of
from core.tflite_file import TfliteFile
from core.tflite_reference import reference
from tests.bridges.keras.unroundable import MEAN, SIDE, STD

pytestmark = pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 3, SIDE, SIDE), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounded")
    np.save(folder / "pixels.npy", PIXELS)
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    return result_of(ask(TENSORFLOW, "tests.bridges.keras.unroundable:rounded", {"folder": str(folder)}))


def test_batchnorm_that_stands_alone_becomes_what_computes_the_same(told: dict[str, Any]) -> None:
    assert told["alone"] == ["of_pixels", "after_relu", "of_a_shared_result", "of_vectors"]
    np.testing.assert_allclose(told["new"], told["given"], rtol=1e-4, atol=1e-5)
    assert np.std(told["given"], axis=0).min() > 0.05
    assert told["is_done"]


def test_the_network_is_offered_and_ships_in_integers_from_end_to_end(told: dict[str, Any], folder: Path) -> None:
    assert told["reason"] == ""
    content = (folder / "rounded.tflite").read_bytes()
    file = TfliteFile(content)
    kinds = {operator.name: {file.dtype(index) for index in operator.outputs} for operator in file.operators}
    assert kinds.pop("DEQUANTIZE") == {"float32"}
    assert {"DEPTHWISE_CONV_2D", "MUL", "AVERAGE_POOL_2D", "CONCATENATION"} <= kinds.keys()
    assert set().union(*kinds.values()) <= {"int8", "int32"}
    x = np.asarray((PIXELS - MEAN[0]) / STD[0], np.float32)
    given = np.asarray(told["given"])
    assert np.abs(reference(content)(x) - given).mean() < 0.1 * given.std()
