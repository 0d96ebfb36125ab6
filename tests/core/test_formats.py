from __future__ import annotations

import pytest

from core.devices import Device
from core.formats import FIRST_CAPABILITY, why_not_multiplied


@pytest.mark.parametrize("number_format", FIRST_CAPABILITY)
def test_the_first_gpu_that_multiplies_a_format_is_not_refused(number_format: str) -> None:
    major, minor = FIRST_CAPABILITY[number_format]
    assert why_not_multiplied(number_format, Device("cuda:0", "cuda", "a GPU", 1, (major, minor))) is None
    refused = why_not_multiplied(number_format, Device("cuda:0", "cuda", "a GPU", 1, (major - 1, 9)))
    assert refused is None if (major - 1, 9) >= (major, minor) else str(major - 1) in str(refused)


@pytest.mark.parametrize("number_format", FIRST_CAPABILITY)
def test_a_cpu_multiplies_neither(number_format: str) -> None:
    refused = why_not_multiplied(number_format, Device("cpu", "cpu", "a CPU", 1))
    assert refused
    assert "a CPU" in refused[0]


def test_formats_that_every_device_multiplies_are_never_refused() -> None:
    assert why_not_multiplied("int8", Device("cpu", "cpu", "a CPU", 1)) is None
