"""Which layers correspond to which, and students that learn from them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import nn

from core.bundle import ModelBundle
from core.errors import CannotCompose
from core.progress import result_of
from optimizers.distillation import HintName
from optimizers.teaching.feature_maps import pairs_of
from optimizers.teaching.hints import hints
from optimizers.teaching.losses import Objective
from optimizers.teaching.teachers import network_teacher
from optimizers.technique import Context
from optimizers.training.images import Batch, TrainingImages
from optimizers.training.loop import Plan, train
from sample_models.architectures import VisionTransformer, resnet, student_cnn
from tests.optimizers.conftest import TinyNet, TinyTransformer

X = torch.randn(2, 1, 12, 12)


def layers(student: nn.Module, teacher: nn.Module, x: torch.Tensor = X) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(pair.student.layer, pair.teacher.layer, pair.teacher.size) for pair in pairs_of(student, teacher, x)]


class ChannelsLast(nn.Module):
    """Gives its map as [N, H, W, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 5, 3, stride=2, padding=1), nn.Flatten(2))
        self.last = nn.Identity()
        self.head = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.last(self.body(x).unflatten(2, (6, 6)).permute(0, 2, 3, 1))
        return cast(torch.Tensor, self.head(maps.mean((1, 2))))


def test_cnns_meet_in_the_last_map_of_each_resolution() -> None:
    x = torch.randn(2, 1, 28, 28)
    assert layers(student_cnn(), resnet(), x) == [
        ("features.2", "features.4", (28, 28)),
        ("features.5", "features.6", (14, 14)),
        ("features", "features", (7, 7)),
    ]


def test_transformers_meet_at_equal_depth() -> None:
    deep = VisionTransformer(classes=4, dim=16, depth=6, num_heads=2)
    deep.pos_embed = nn.Parameter(torch.randn(1, 9, 16))
    assert layers(TinyTransformer(), deep) == [("blocks.0", "blocks.2", (9,)), ("blocks.1", "blocks.5", (9,))]


def test_maps_are_told_apart_by_their_shape_and_patches_are_one() -> None:
    (pair,) = pairs_of(ChannelsLast(), TinyNet(), X)
    assert (pair.student.layer, pair.student.layout, pair.student.channels) == ("last", "channels last", 5)
    output = torch.randn(2, 6, 6, 5)
    torch.testing.assert_close(pair.student.read(output), output.permute(0, 3, 1, 2))
    strided = nn.Sequential(nn.Conv2d(1, 4, 4, stride=4), nn.Flatten(), nn.Linear(36, 4))
    (pair,) = pairs_of(strided, TinyTransformer(), X)
    assert (pair.student.layer, pair.teacher.layer, pair.teacher.size) == ("0", "blocks.1", (3, 3))
    tokens = torch.randn(2, 10, 16)  # a class token before the nine patches
    torch.testing.assert_close(pair.teacher.read(tokens)[:, :, 1, 2], tokens[:, 1 + 5])


def test_networks_without_maps_are_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(144, 4))
    with pytest.raises(CannotCompose, match="still know where"):
        pairs_of(flat, TinyNet(), X)


def test_looking_for_pairs_leaves_both_as_they_were() -> None:
    student, teacher = TinyNet(8).train(), TinyNet().eval()
    before = copy.deepcopy(student.state_dict())
    pairs_of(student, teacher, X)
    assert (student.training, student.block.training, teacher.training) == (True, True, False)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert not any(module._forward_hooks for network in (student, teacher) for module in network.modules())


@pytest.mark.parametrize("kind", ["features", "attention"])
def test_a_student_comes_closer_to_what_its_teacher_computes_and_leaves_clean(
    kind: HintName, bundle: ModelBundle, context: Context
) -> None:
    teacher = network_teacher(bundle.module, context, title="")
    torch.manual_seed(1)
    student = TinyNet(8)
    images = TrainingImages(bundle.data.train.take(32), bundle.contract, torch.device("cpu"))
    batch = Batch(images.normalised(images.pixels), images.targets, torch.arange(32), None)
    told = hints(student, teacher, bundle, context, Objective(0.0, 1.0), kind=kind, weight=20)
    with told as teaching:

        def hint_alone(network: nn.Module) -> float:
            teaching.attach(network)
            logits = network.eval()(batch.x)
            labels = nn.functional.cross_entropy(logits, batch.targets)
            return float((teaching.loss(logits, batch) - labels).detach())

        before = hint_alone(copy.deepcopy(student))
        regressors = [weight.detach().clone() for weight in teaching.attach(copy.deepcopy(student))]
        trained = result_of(train(student, bundle, context, Plan(8, 0.02, batch_size=32), guidance=teaching))
        after = hint_alone(trained)
        moved = list(teaching.attach(copy.deepcopy(student)))
    assert after < 0.7 * before
    assert len(moved) == (2 if kind == "features" else 0)
    assert all(not torch.equal(one, other) for one, other in zip(regressors, moved, strict=True))
    assert not any(module._forward_hooks for network in (student, trained) for module in network.modules())


def test_regressors_follow_from_the_seed_and_travel_with_checkpoints(bundle: ModelBundle, context: Context) -> None:
    teacher = network_teacher(bundle.module, context, title="")

    def drawn(seed: int) -> tuple[str, torch.Tensor]:
        student = TinyNet(8)
        here, state = replace(context, seed=seed), torch.get_rng_state()
        with hints(student, teacher, bundle, here, Objective(0.5, 2), kind="features", weight=1) as teaching:
            assert torch.equal(torch.get_rng_state(), state)
            kept = copy.deepcopy(teaching.state_dict())
            weights = list(teaching.attach(TinyNet(8)))
            before = teaching.fingerprint()
            with torch.no_grad():
                weights[0].add_(1)
            assert teaching.fingerprint() != before
            teaching.load_state_dict(kept)
            assert teaching.fingerprint() == before
        return before, weights[0].detach()

    assert drawn(3)[0] == drawn(3)[0] != drawn(4)[0]


def test_hints_need_a_teacher_whose_layers_can_be_read(bundle: ModelBundle, context: Context) -> None:
    teacher = replace(network_teacher(bundle.module, context, title=""), network=None)
    told = hints(TinyNet(8), teacher, bundle, context, Objective(0.5, 2), kind="attention", weight=1)
    with pytest.raises(CannotCompose, match="layers can be read"), told:
        pass
