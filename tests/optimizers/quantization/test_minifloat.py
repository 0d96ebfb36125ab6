from __future__ import annotations

import numpy as np
import pytest
import torch

from optimizers.quantization.minifloat import e2m1, e4m3, nearest

ONE = np.ones((), np.float32)


def test_fp8_rounds_as_pytorchs_own_type_does() -> None:
    torch.manual_seed(0)
    values = torch.cat([torch.randn(20_000) * scale for scale in (1e-3, 0.02, 1, 100)])
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    every = every[every.isfinite()]
    halfway = (every.sort().values[1:] + every.sort().values[:-1]) / 2
    for given in (values, every, halfway, torch.tensor([0.0, 448.0, -448.0, 2.0**-10, 3 * 2.0**-10])):
        torch.testing.assert_close(nearest(given, e4m3(ONE)), given.to(torch.float8_e4m3fn).float(), rtol=0, atol=0)


def test_fp4_rounds_to_the_nearest_of_its_fifteen_numbers() -> None:
    numbers = torch.tensor([-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6])
    values = torch.linspace(-6, 6, 10_001)
    distances = (values[:, None] - numbers).abs()
    given = nearest(values, e2m1(ONE))
    assert set(given.tolist()) == set(numbers.tolist())
    torch.testing.assert_close((given - values).abs(), distances.min(1).values)


@pytest.mark.parametrize(("make", "largest", "bits"), [(e4m3, 448, 8), (e2m1, 6, 4)])
def test_what_lies_beyond_the_ends_becomes_them(make: type, largest: float, bits: int) -> None:
    grid = make(np.ones(3, np.float32))
    assert (grid.low, grid.high, grid.bits) == (-largest, largest, bits)
    assert grid.zero_point.shape == grid.scale.shape == (3,)
    assert nearest(torch.tensor([1e6, -1e6]), grid).tolist() == [largest, -largest]
