from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

import sample_models
from core.bundle import ModelBundle
from core.errors import BadInput, CannotCompose
from optimizers.teaching.students import adapted, built, narrower, redraw
from optimizers.technique import Context
from tests.optimizers.conftest import CONTRACT, TinyTransformer


def test_a_narrower_copy_has_the_same_layers_with_fewer_channels(bundle: ModelBundle, context: Context) -> None:
    before = {name: weight.shape for name, weight in bundle.module.state_dict().items()}
    student = narrower(bundle, context, width=0.5)
    assert {name: tuple(weight.shape) for name, weight in student.named_parameters() if weight.ndim == 4} == {
        "stem.0.weight": (8, 1, 3, 3), "block.0.weight": (8, 8, 3, 3),
    }  # fmt: skip
    assert student(torch.zeros(2, *CONTRACT.shape)).shape == (2, 4)
    assert {name: weight.shape for name, weight in bundle.module.state_dict().items()} == before


def test_it_starts_from_nothing_and_follows_from_the_seed(bundle: ModelBundle, context: Context) -> None:
    first, again = (narrower(bundle, replace(context, seed=7), width=0.75) for _ in range(2))
    other = narrower(bundle, replace(context, seed=8), width=0.75)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        if weight.ndim > 1:
            assert not torch.equal(weight, other.state_dict()[name])
            assert not torch.isin(weight, bundle.module.state_dict()[name]).any()
    fresh = nn.BatchNorm2d(12).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in first.stem[1].state_dict().items())  # type: ignore[index, union-attr]


def test_what_no_module_draws_keeps_its_mean_and_spread() -> None:
    network = TinyTransformer()
    with torch.no_grad():
        network.pos_embed.copy_(0.3 + 0.05 * torch.randn(network.pos_embed.shape))
        network.norm.weight.fill_(7)
    before = network.pos_embed.detach().clone()
    redraw(network)
    assert not torch.isin(network.pos_embed, before).any()
    assert float(network.pos_embed.detach().mean()) == pytest.approx(0.3, abs=0.02)
    assert float(network.pos_embed.detach().std()) == pytest.approx(0.05, rel=0.25)
    assert torch.equal(network.norm.weight, torch.ones(16))


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5"])
def test_an_architecture_by_name_is_fitted_to_the_images_and_classes(name: str) -> None:
    network = adapted(sample_models.build_student(f"torchvision:{name}"), channels=1, classes=4).eval()
    assert network(torch.randn(2, 1, 64, 64)).shape == (2, 4)
    colour = adapted(sample_models.build_student(f"torchvision:{name}"), channels=3, classes=4).eval()
    assert colour(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_a_name_that_is_not_there_brings_those_that_are_near() -> None:
    with pytest.raises(BadInput, match=r"no architecture resnet19.*resnet18"):
        sample_models.build_student("torchvision:resnet19")


def test_an_architecture_for_images_of_another_size_is_refused_with_its_own_words(
    bundle: ModelBundle, context: Context
) -> None:
    def build_network(key: str) -> nn.Module:
        return VisionTransformer(image_size=32, patch_size=8, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)

    with pytest.raises(CannotCompose, match=r"vit_b_32 does not take images.*Expected 32 but got 12"):
        built("torchvision:vit_b_32", bundle, replace(context, build_network=build_network), batch_size=32)


class Pooled(nn.Module):
    """BatchNorm on a map of 1 x 1, which takes no batch of one image in training."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8), nn.Flatten())
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x))


def test_a_student_that_cannot_be_trained_on_single_images_is_refused_for_them_only(
    bundle: ModelBundle, context: Context
) -> None:
    context = replace(context, build_network=lambda key: Pooled())
    assert built("pooled", bundle, context, batch_size=2)
    with pytest.raises(CannotCompose, match="more than 1 value per channel"):
        built("pooled", bundle, context, batch_size=1)


def test_a_network_without_a_layer_of_a_thousand_classes_is_refused() -> None:
    with pytest.raises(CannotCompose, match="gives 1,000 classes"):
        adapted(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 10)), channels=1, classes=10)
    with pytest.raises(CannotCompose, match="reads colour images"):
        adapted(nn.Sequential(nn.Flatten(), nn.Linear(4, 1000)), channels=1, classes=10)
