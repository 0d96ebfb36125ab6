"""The training loop of the sample models: exact again from the same seed, and without side effects."""

import numpy as np
import pytest
import torch

from sample_models import datasets, networks
from sample_models.training import BATCH, PAD, Recipe, augment, count_correct, seeded, train

TWENTY_STEPS = 20 * BATCH


@pytest.fixture(scope="module")
def data():
    return datasets.fashion_mnist()


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _trained(seed, data):
    losses = []
    with seeded(seed):
        network = networks.untrained("student_dw_fmnist")
        train(
            network,
            data.train.take(TWENTY_STEPS),
            datasets.FASHION_CONTRACT,
            Recipe("sgd", epochs=1, max_lr=0.1, weight_decay=1e-4),
            on_step=lambda step, total, loss: losses.append((step, total, loss.item())),
        )
    return network, losses


@pytest.mark.usefixtures("one_thread")
def test_the_same_seed_gives_the_same_weights_and_another_does_not(data):
    (first, losses), (second, _), (other, _) = (_trained(seed, data) for seed in (7, 7, 8))
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert [step for step, _, _ in losses] == list(range(1, 21))
    assert losses[-1][2] < 0.9 * losses[0][2]


def test_seeding_leaves_torch_as_it_was():
    state, flags = torch.get_rng_state(), (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic)
    with seeded(3):
        torch.rand(1)
        assert torch.backends.cudnn.enabled
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic) == flags


def test_augmented_images_are_shifts_and_mirrors_of_the_original(data):
    """Every variant by numpy; each of the 50 turns up, and nothing else does."""
    image = data.train.pixels[0, 0]
    padded = np.pad(image, PAD)
    crops = [padded[y : y + 28, x : x + 28] for y in range(2 * PAD + 1) for x in range(2 * PAD + 1)]
    expected = {crop.tobytes() for crop in crops} | {np.ascontiguousarray(crop[:, ::-1]).tobytes() for crop in crops}
    with seeded(0):
        found = augment(torch.from_numpy(image).expand(2_000, 1, 28, 28))
    assert {crop.numpy().tobytes() for crop in found[:, 0]} == expected


def test_correct_is_counted_as_numpy_would(data):
    network = networks.trained("student_dw_fmnist")
    part = data.test.take(BATCH + 1)
    with torch.inference_mode():
        logits = network(torch.from_numpy(datasets.FASHION_CONTRACT.prepare(part.pixels))).numpy()
    assert count_correct(network, part, datasets.FASHION_CONTRACT) == (logits.argmax(1) == part.targets).sum()
