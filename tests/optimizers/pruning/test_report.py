"""The report against networks that were really cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle
from core.data import InputContract
from core.errors import BadInput
from core.macs import count_macs
from core.pruning import PruningReport
from optimizers.pruning.channels import Cut, narrowed, rank
from optimizers.pruning.ranking import Ranked, removals
from optimizers.pruning.report import report_of
from sample_models.architectures import VisionTransformer, depthwise_cnn, resnet
from tests.optimizers.conftest import DATA

CONTRACT = InputContract(1, 28, 28, (60.0,), (70.0,), tuple(map(str, range(10))))


class Concatenated(nn.Module):
    """Two branches side by side, then a convolution in two groups."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 8, 3), nn.Conv2d(1, 24, 3)
        self.joint = nn.Conv2d(32, 16, 3)
        self.grouped = nn.Conv2d(16, 16, 3, groups=2)
        self.head = nn.Linear(16 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.left(x), self.right(x)], 1).relu()
        x = self.grouped(self.joint(x).relu()).relu()
        return self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


def bundle_of(network: nn.Module) -> ModelBundle:
    return ModelBundle("tiny", "cnn", network.eval(), CONTRACT, DATA)


def cut_and_told(bundle: ModelBundle, cut: Cut) -> tuple[nn.Module, PruningReport]:
    ranking = rank(bundle.module, bundle, cut)
    gone = dict(zip(ranking.leads, ranking.removals(cut.rule), strict=True))
    pruned = narrowed(bundle.module, bundle.contract, cut, gone)
    left = {
        group.layers[0]: np.delete(np.arange(group.ranked.before), gone[group.layers[0]]) for group in ranking.groups
    }
    return pruned, report_of(bundle, pruned, cut, ranking, left)


def predicted_macs(report: PruningReport, kept: list[float]) -> float:
    """Each layer shrinks by the share of its outputs and of its inputs that is left; what no layer has stays."""

    def share(group: int | None) -> float:
        return 1.0 if group is None else kept[group]

    total = float(report.macs_before - sum(layer.macs_before for layer in report.layers))
    for layer in report.layers:
        inputs = sum(part.share * share(part.group) for part in layer.in_parts) if layer.in_parts else 1.0
        total += layer.macs_before * share(layer.out_group) * inputs
    return total


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (resnet, {}),
        (resnet, {"everywhere_alike": False, "max_ratio": 0.9}),
        (depthwise_cnn, {}),
        (Concatenated, {}),
        (lambda: VisionTransformer(depth=2), {}),
        (lambda: VisionTransformer(depth=2), {"attention": "heads"}),
    ],
    ids=["resnet", "resnet-one-ranking", "depthwise", "concatenated", "vit", "vit-heads"],
)
def test_one_report_foretells_the_arithmetic_of_every_cut(build: Callable[[], nn.Module], settings: dict) -> None:
    torch.manual_seed(0)
    bundle = bundle_of(build())
    cut = replace(Cut(0.5, "l2", True, 4), **settings)
    _, report = cut_and_told(bundle, cut)
    for ratio in (0.25, 0.5, 0.7):
        ranked = [Ranked(group.importance.array, group.before, group.parts, group.whole) for group in report.groups]
        gone = removals(ranked, replace(cut, ratio=ratio).rule)
        kept = [1 - len(each) / group.before for each, group in zip(gone, report.groups, strict=True)]
        pruned, told = cut_and_told(bundle, replace(cut, ratio=ratio))
        assert predicted_macs(report, kept) == pytest.approx(count_macs(pruned, CONTRACT), rel=1e-9)
        assert [group.after for group in told.groups] == [
            group.before - len(each) for each, group in zip(gone, report.groups, strict=True)
        ]
        assert told.macs_after == count_macs(pruned, CONTRACT)


def test_layers_come_in_the_order_of_execution_with_their_figures() -> None:
    pruned, report = cut_and_told(bundle_of(Concatenated()), Cut(0.5, "l2", True, 4))
    assert [layer.name for layer in report.layers] == ["left", "right", "joint", "grouped", "head"]
    by_name = {layer.name: layer for layer in report.layers}
    for name, layer in by_name.items():
        assert layer.parameters_after == sum(weight.numel() for weight in getattr(pruned, name).parameters())
        assert layer.outputs_after == len(getattr(pruned, name).weight)
    assert by_name["joint"].macs_before == 32 * 16 * 9 * 24 * 24
    assert by_name["joint"].macs_after == 16 * 8 * 9 * 24 * 24
    shares = {
        report.groups[part.group].layers[0]: part.share for part in by_name["joint"].in_parts if part.group is not None
    }
    assert shares == {"left": 0.25, "right": 0.75}
    assert by_name["left"].in_parts[0].group is None
    assert (report.macs_before, report.parameters_after) == (
        sum(layer.macs_before for layer in report.layers), sum(weight.numel() for weight in pruned.parameters())
    )  # fmt: skip


def test_attention_is_a_row_of_its_own() -> None:
    _, report = cut_and_told(bundle_of(VisionTransformer(depth=1)), Cut(0.5, "l2", True, 4))
    (products,) = [layer for layer in report.layers if layer.kind == "attention products"]
    group = report.groups[products.out_group or 0]
    assert (products.name, group.layers) == ("blocks.0.attn", ("blocks.0.attn", "blocks.0.attn.qkv"))
    assert products.macs_before == 2 * 49 * 49 * 96
    assert products.macs_after == 2 * 49 * 49 * 48
    assert (group.before, group.after, group.parts, group.multiple) == (96, 48, 4, 16)
    assert (group.importance.array.reshape(4, 24) == group.importance.array[:24]).all()


def test_every_layer_that_keeps_its_outputs_says_why() -> None:
    bundle = bundle_of(resnet(widths=(8, 16, 32)))
    _, report = cut_and_told(bundle, Cut(0.3, "l2", True, 8, keep=("features.5.shortcut*",)))
    reasons = {layer.name: layer.why_kept for layer in report.layers}
    for layer in report.layers:
        assert bool(layer.why_kept) is (layer.outputs_after == layer.outputs_before), layer
    assert reasons["head"] == "It gives the classes"
    assert reasons["features.0"] == "Too narrow for a multiple of 8 at this ratio"
    assert reasons["features.5.shortcut.0"] == "It is kept by 'features.5.shortcut*'"
    assert reasons["features.6.conv2"].startswith("It is joined to features.5.shortcut.0: it is kept by")


def test_the_removed_channels_are_those_that_are_not_there() -> None:
    bundle = bundle_of(Concatenated())
    original: torch.Tensor = bundle.module.right.weight
    pruned, report = cut_and_told(bundle, Cut(0.5, "l1", True, 1))
    (group,) = [group for group in report.groups if group.layers[0] == "right"]
    left = np.delete(np.arange(24), group.removed.integers)
    assert torch.equal(pruned.right.weight, original[torch.from_numpy(left)])
    assert group.importance.array[left].min() >= group.importance.array[group.removed.integers].max()


def test_nothing_left_of_a_layer_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"would leave none in (left|grouped)"):
        cut_and_told(bundle_of(Concatenated()), Cut(0.9, "l2", True, 1))
