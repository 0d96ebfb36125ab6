"""Which networks are transformers; what they are is known from their papers."""

import pytest
import torch
from torch import nn

from core.data import InputContract, TextContract
from intake.building import untrained
from intake.family import family_of
from intake.preprocessing import Preprocessing
from intake.sources import Architecture

pytestmark = pytest.mark.usefixtures("listed")


@pytest.mark.parametrize(
    ("library", "name", "side", "family"),
    [
        ("torchvision", "resnet18", 64, "cnn"),
        ("torchvision", "alexnet", 64, "cnn"),
        ("torchvision", "squeezenet1_1", 64, "cnn"),
        ("torchvision", "swin_t", 64, "transformer"),
        ("timm", "convnext_atto", 64, "cnn"),
        ("timm", "mixer_s32_224", 224, "cnn"),
        ("timm", "deit_tiny_patch16_224", 224, "transformer"),
        ("timm", "levit_128s", 224, "transformer"),
        ("timm", "mobilevit_xxs", 256, "transformer"),
        ("timm", "efficientformer_l1", 224, "cnn"),
    ],
)
def test_family(library: str, name: str, side: int, family: str) -> None:
    source = Architecture.model_validate({"library": library, "name": name, "classes": 10})
    wanted = Preprocessing(height=side, width=side)
    network = untrained(source, wanted)
    assert family_of(network, wanted.contract(tuple("0123456789"))) == family


def test_pytorchs_own_attention_counts_and_training_state_stays() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    network = nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.Flatten(2), _Swapped(), layer, _Mean(), nn.Linear(16, 2)).eval()
    contract = InputContract(3, 64, 64, (0,) * 3, (1,) * 3, ("a", "b"))
    assert family_of(network, contract) == "transformer"
    assert not any(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert family_of(nn.Identity(), TextContract(8, 0, ("a", "b"))) == "transformer"


class _Swapped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)
