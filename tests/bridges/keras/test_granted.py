"""How much of a GPU TensorFlow may take."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bridges.keras.granted import GPU_VARIABLE, keep_within_grant
from core.errors import BadInput


class FakeConfig:
    """TensorFlow's settings, of a machine with two GPUs."""

    def __init__(self) -> None:
        self.limits: dict[str, Any] = {}

    def list_physical_devices(self, kind: str) -> list[str]:
        return [f"{kind}:0", f"{kind}:1"]

    def LogicalDeviceConfiguration(self, memory_limit: int) -> SimpleNamespace:
        return SimpleNamespace(memory_limit=memory_limit)

    def set_logical_device_configuration(self, gpu: str, limits: list[SimpleNamespace]) -> None:
        self.limits[gpu] = [each.memory_limit for each in limits]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> FakeConfig:
    module, found = ModuleType("tensorflow"), FakeConfig()
    module.config = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    return found


def test_every_gpu_is_capped_at_what_was_granted(monkeypatch: pytest.MonkeyPatch, config: FakeConfig) -> None:
    monkeypatch.setenv(GPU_VARIABLE, "4096")
    keep_within_grant()
    assert config.limits == {"GPU:0": [4096], "GPU:1": [4096]}


def test_without_a_grant_nothing_is_touched(monkeypatch: pytest.MonkeyPatch, config: FakeConfig) -> None:
    monkeypatch.delenv(GPU_VARIABLE, raising=False)
    keep_within_grant()
    assert not config.limits


@pytest.mark.parametrize("granted", ["4 GB", "0", "-1"])
def test_a_grant_that_is_no_number_is_refused(granted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPU_VARIABLE, granted)
    with pytest.raises(BadInput, match="number of MiB"):
        keep_within_grant()
