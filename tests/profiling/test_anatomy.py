"""Multiply-accumulates, memory and values against sums done by hand and two other counters."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision.models as tv
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from core.anatomy import Anatomy
from core.progress import result_of
from profiling.anatomy import anatomy_of
from profiling.forward_pass import plain_forward, watch


class Tiny(nn.Module):
    """A convolution, a residual one called twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.head = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of x[N, 1, 8, 8]."""
        x = self.stem(x)
        x = x + self.body(self.body(x))
        return self.head(x.mean((2, 3))) * self.scale


def tiny(network: nn.Module | None = None, images: int = 5) -> tuple[nn.Module, np.ndarray, Anatomy]:
    """A network, its input x[N, 1, 8, 8] and its anatomy."""
    torch.manual_seed(0)
    network = (network or Tiny()).eval()
    x = np.random.default_rng(0).normal(size=(images, 1, 8, 8)).astype(np.float32)
    return network, x, result_of(anatomy_of(network, x))


def test_each_module_against_sums_by_hand() -> None:
    _, _, found = tiny()
    rows = [(m.name, m.kind, m.parameters, m.macs, m.output_shape, m.output_bytes) for m in found.modules]
    assert rows == [
        ("stem", "Conv2d", 4 * 9 + 4, 4 * 64 * 9, (1, 4, 8, 8), 4 * 64 * 4),
        ("body", "depthwise Conv2d", 4 * 9, 2 * 4 * 64 * 9, (1, 4, 8, 8), 2 * 4 * 64 * 4),
        ("", "Tiny", 1, 0, (1, 3), 3 * 4),
        ("head", "Linear", 4 * 3 + 3, 4 * 3, (1, 3), 3 * 4),
    ]
    assert found.images == 5


def test_memory_of_a_residual_chain_against_bytes_by_hand() -> None:
    image, maps = 64 * 4, 4 * 64 * 4
    assert [(step.module, step.op, step.live_bytes) for step in tiny()[2].memory] == [
        ("stem", "aten.convolution", image + maps),
        ("body", "aten.convolution", image + 2 * maps),
        ("body", "aten.convolution", image + 3 * maps),
        ("", "aten.add", image + 3 * maps),  # the stem's result, the body's last and the sum
        ("", "aten.mean", image + maps + 16),
        ("head", "aten.addmm", image + maps + 16 + 12),
        ("", "aten.mul", image + maps + 12 + 12),
    ]


def test_histograms_against_numpy() -> None:
    network, x, found = tiny()
    weight = network.head.weight.detach().numpy()
    assert found.module("head").weights.counts == tuple(np.histogram(weight.astype(np.float64), 96)[0])
    assert found.module("stem").inputs.counts == tuple(np.histogram(x.astype(np.float64), 96)[0])
    with torch.no_grad():
        once = network.body(network.stem(torch.from_numpy(x)))
        twice = network.body(once)
    seen = found.module("body").outputs
    assert sum(seen.counts) == once.numel() + twice.numel()
    both = torch.cat([once, twice])
    assert (seen.range.low, seen.range.high) == pytest.approx((float(both.min()), float(both.max())))
    assert found.module("").inputs is None
    assert found.module("").outputs is not None


def test_the_network_and_torch_stay_as_they_were() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(72, 2)).train()
    before, x = copy.deepcopy(network.state_dict()), np.ones((2, 1, 8, 8), np.float32)
    assert [event.done for event in anatomy_of(network, x)] == [0, 1, 2]
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_watched_network_that_fails_keeps_no_hooks() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 4)).eval()
    with pytest.raises(RuntimeError, match="shapes"):
        watch(network, torch.zeros(1, 3))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_attention_that_is_called_as_one_function_counts_with_its_projections() -> None:
    """Four projections of 5 x 8 values to 8, scores and sums of 2 heads over 5 places."""

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.unused = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(2).transpose(1, 2)
            return self.attention(x, x, x, need_weights=False)[0].mean(1)

    torch.manual_seed(0)
    found = result_of(anatomy_of(Attending(), np.ones((2, 8, 1, 5), np.float32)))
    attention = found.module("attention")
    assert attention.macs == 4 * 5 * 8 * 8 + 2 * (5 * 5 * 8)
    assert attention.parameters == 4 * (8 * 8 + 8)
    assert sum(attention.weights.counts) == 3 * 8 * 8
    assert found.module("attention.out_proj") is None
    assert (found.modules[-1].name, found.modules[-1].macs, found.modules[-1].outputs) == ("unused", 0, None)
    assert found.parameters == sum(each.numel() for each in Attending().parameters())


def test_what_makes_a_modules_weights_belongs_to_it() -> None:
    network = Tiny()
    parametrizations.weight_norm(network.head)
    _, _, found = tiny(network)
    assert {module.name for module in found.modules} == {"stem", "body", "", "head"}
    head = found.module("head")
    assert (head.kind, head.parameters, head.macs) == ("Linear", 12 + 3 + 3, 12)
    assert found.parameters == sum(each.numel() for each in network.parameters())


def test_weights_that_modules_share_count_once_and_zeros_are_told_apart() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    network[2].weight = network[1].weight
    with torch.no_grad():
        network[1].weight[:16] = 0
    _, _, found = tiny(network)
    assert [(m.name, m.parameters, m.nonzero, m.macs) for m in found.modules] == [
        ("1", 4096, 3072, 4096), ("2", 0, 0, 4096),
    ]  # fmt: skip
    assert found.module("2").weights.zeros == 1024


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (1, 4, 5, 5), 4 * 25 * 3 * 9),
        (nn.Conv1d(4, 8, 5, groups=2), (1, 4, 20), 8 * 16 * 2 * 5),
        (nn.Linear(7, 3), (1, 5, 7), 5 * 7 * 3),
    ],
    ids=["transposed, grouped", "one-dimensional", "linear on a sequence"],
)
def test_macs_by_hand(layer: nn.Module, x: tuple[int, ...], expected: int) -> None:
    assert watch(layer, torch.zeros(x)).works[""].macs == expected


class Recurrent(nn.Module):
    """Two LSTMs in both directions over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x.flatten(0, 1))[0]


class Vectors(nn.Module):
    """A matrix by a vector twice, once with a bias, and a vector by a vector."""

    def forward(self, x: Tensor) -> Tensor:
        image = x[0, 0]
        return image @ image[0] + torch.addmv(image[1], image, image[2]) + image[3] @ image[4]


class Bilinear(nn.Module):
    """nn.Bilinear, or the two products that it is."""

    def __init__(self, *, apart: bool) -> None:
        super().__init__()
        self.pair, self.apart = nn.Bilinear(8, 8, 3, bias=False), apart

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[0, 0], x[0, 0].flip(0)
        if not self.apart:
            return self.pair(left, right)
        return torch.einsum("noj,nj->no", torch.einsum("ni,oij->noj", left, self.pair.weight), right)


def torchs_macs(network: nn.Module, x: Tensor) -> float:
    """By torch's own counter, in float64, where LSTMs on a CPU are divided into the products that they are."""
    network = copy.deepcopy(network).double()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x.double())
    return counter.get_total_flops() / 2


def test_lstms_vectors_and_bilinear_layers_are_counted() -> None:
    x = torch.randn(2, 1, 8, 8)
    recurrent = Recurrent().eval()
    with torch.no_grad():
        assert total(recurrent, x) == torchs_macs(recurrent, x) > 0
    assert total(Vectors(), x) == 8 * 8 + 8 * 8 + 8
    assert total(Bilinear(apart=False), x) == torchs_macs(Bilinear(apart=True), x) == 8 * (8 * 8 * 3 + 8 * 3)


def test_all_is_the_same_in_inference_mode() -> None:
    """There operations arrive undivided: linear, conv2d, scaled_dot_product_attention."""
    network, x = small_vit().eval(), torch.zeros(1, 3, 32, 32)
    with torch.inference_mode():
        inside = watch(network, x)
    outside = watch(network, x)
    assert inside.works == outside.works
    assert max(each.live_bytes for each in inside.memory) == max(each.live_bytes for each in outside.memory)


def total(network: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates as we count them."""
    return sum(work.macs for work in watch(network, x).works.values())


def small_vit() -> nn.Module:
    """torchvision's, whose attention is `nn.MultiheadAttention`."""
    return tv.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=48, mlp_dim=96, num_classes=10
    )


def small_swin() -> nn.Module:
    """Windows shifted by half."""
    return tv.SwinTransformer(
        patch_size=[4, 4], embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=10
    )


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": tv.resnet18,
    "resnet50": tv.resnet50,
    "mobilenet_v2": tv.mobilenet_v2,
    "mobilenet_v3_small": tv.mobilenet_v3_small,
    "densenet121": tv.densenet121,
    "efficientnet_b0": tv.efficientnet_b0,
    "shufflenet_v2_x1_0": tv.shufflenet_v2_x1_0,
    "regnet_y_400mf": tv.regnet_y_400mf,
    "convnext_tiny": tv.convnext_tiny,
    "googlenet": lambda: tv.googlenet(init_weights=False),
    "vit": small_vit,
    "swin": small_swin,
    "timm_vit": lambda: timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_macs_agree_with_torch_and_with_fvcore(name: str) -> None:
    torch.manual_seed(0)
    network, x = ARCHITECTURES[name]().eval(), torch.zeros(1, 3, 32, 32)
    found = total(network, x)
    # torch's counter does not know the fused attention of CPUs.
    with plain_forward(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(x)
    assert found == counter.get_total_flops() / 2 == fvcore_macs(network, x) > 0


def fvcore_macs(network: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates by fvcore, which counts normalisation and pooling too: those are left out."""
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    counter = FlopCountAnalysis(network, x).unsupported_ops_warnings(False).tracer_warnings("none")
    counter.set_op_handle("aten::scaled_dot_product_attention", attention)
    with plain_forward():
        found = counter.by_operator()
    products = ("conv", "linear", "matmul", "addmm", "mm", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention")
    return int(sum(found[each] for each in products))


def attention(inputs: list[Any], _outputs: list[Any]) -> int:
    """Scores of each query with each key, then as many weights for each value; fvcore leaves attention to its users."""
    query, key, value = (each.type().sizes() for each in inputs[:3])
    return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))
