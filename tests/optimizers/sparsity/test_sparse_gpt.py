from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from optimizers.sparsity.fours import columns_of, lowest_two
from optimizers.sparsity.sparse_gpt import DAMPENING, hessian_of, pruned_by_error

Array = NDArray[np.float64]


def by_optimal_brain_surgeon(weight: Array, hessian: Array) -> Array:
    """Row by row and column by column, inverting what is left of the Hessian anew each time.

    Hassibi and Stork 1993: removing w_q costs w_q^2 / [H^-1]_qq, and the others move by -w_q / [H^-1]_qq H^-1[:, q].
    """
    damped = hessian + DAMPENING * np.diag(hessian).mean() * np.eye(len(hessian))
    inverses = [np.linalg.inv(damped[column:, column:]) for column in range(len(damped))]
    result = weight.copy()
    for row in result:
        for column in range(len(row)):
            if column % 4 == 0:
                costs = [row[each] ** 2 / inverses[each][0, 0] for each in range(column, column + 4)]
                gone = {column + int(each) for each in np.argsort(costs)[:2]}
            if column in gone:
                row[column:] -= row[column] / inverses[column][0, 0] * inverses[column][:, 0]
                row[column] = 0
    return result


def correlated(columns: int, *, seed: int) -> Array:
    """float64 [columns, columns]: the second moment of inputs that say much about each other."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(400, columns // 4)) @ random.normal(size=(columns // 4, columns))
    inputs += 0.3 * random.normal(size=(400, columns))
    return inputs.T @ inputs / len(inputs)


@pytest.mark.parametrize("columns", [16, 256], ids=["one go", "two goes"])
def test_it_is_the_exact_update_of_optimal_brain_surgeon(columns: int) -> None:
    hessian, weight = correlated(columns, seed=1), np.random.default_rng(2).normal(size=(5, columns))
    ours = pruned_by_error(torch.from_numpy(weight), torch.from_numpy(hessian)).numpy()
    expected = by_optimal_brain_surgeon(weight, hessian)
    assert np.array_equal(ours == 0, expected == 0)
    assert (ours == 0).sum() == ours.size // 2
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_with_inputs_that_have_nothing_in_common_it_is_magnitude() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 32)
    pruned = pruned_by_error(weight, torch.eye(32, dtype=torch.float64))
    assert torch.equal(pruned == 0, lowest_two(weight.abs()))
    assert torch.equal(pruned[pruned != 0], weight[pruned != 0])


torch.manual_seed(0)  # the same layers however tests are ordered
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(8, 3, bias=False), (6, 5, 8)),
    "strided and padded": (nn.Conv2d(8, 3, 3, stride=2, padding=1, bias=False), (4, 8, 7, 6)),
    "padded to the same size": (nn.Conv2d(4, 3, (3, 2), padding="same", dilation=2, bias=False), (4, 4, 7, 6)),
    "padded by reflection": (nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect", bias=False), (4, 4, 6, 6)),
    "pointwise": (nn.Conv2d(8, 3, 1, stride=2, bias=False), (4, 8, 5, 5)),
}
every_layer = pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)


@every_layer
def test_the_hessian_gives_the_energy_of_what_the_layer_answers(layer: Any, shape: tuple[int, ...]) -> None:
    """The mean square of each output channel is w H w^T, whatever the weights."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    with torch.no_grad():
        answer = layer(x).movedim(1 if x.ndim == 4 else -1, 0).flatten(1)
        hessian, rows = hessian_of(layer, x), columns_of(layer.weight).double()
    energy = (rows @ hessian @ rows.T).diagonal()
    torch.testing.assert_close(energy.float(), answer.square().mean(1), rtol=1e-4, atol=1e-6)


@every_layer
def test_its_layer_is_nearer_to_the_original_than_with_the_smallest_weights_gone(
    layer: Any, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(1)
    channel = 1 if len(shape) == 4 else len(shape) - 1
    mixing = torch.randn(shape[channel] // 4, shape[channel])
    x = torch.randn(16, *shape[1:channel], shape[channel] // 4, *shape[channel + 1 :])
    x = (x.movedim(channel, -1) @ mixing).movedim(-1, channel) + 0.1 * torch.randn(16, *shape[1:])
    with torch.no_grad():
        rows, hessian = columns_of(layer.weight).double(), hessian_of(layer, x)
    smallest_gone = rows.masked_fill(lowest_two(rows.abs()), 0)
    costs = [
        float(((rows - each) @ hessian @ (rows - each).T).trace())
        for each in (pruned_by_error(rows, hessian), smallest_gone)
    ]
    assert costs[0] < 0.7 * costs[1]
