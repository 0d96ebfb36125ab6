"""The sample networks, each written to be read in a minute, exported and pruned.

Every network maps x[N, 1, 28, 28] to logits[N, classes]. Layers are modules rather than functional calls wherever
they carry parameters or are worth quantizing, shapes keep the batch size symbolic, and no channel count is spelled
out in a `forward`, so a pruned layer still fits. This file imports torch: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def _conv_bn(
    channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(channels_out)


class ResidualBlock(nn.Module):
    """relu(f(x) + shortcut(x)) with two 3x3 convolutions: He et al. 2015, https://arxiv.org/abs/1512.03385."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_bn(channels_in, channels_out, stride=stride)
        self.conv2, self.bn2 = _conv_bn(channels_out, channels_out)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_conv_bn(channels_in, channels_out, kernel=1, stride=stride))
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        joined: Tensor = self.relu(y + self.shortcut(x))
        return joined


class Classifier(nn.Module):
    """Features, global average pooling and one linear layer."""

    def __init__(self, features: Sequence[nn.Module], channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flatten(self.pool(self.features(x))))
        return logits


def resnet(classes: int = 10, widths: tuple[int, ...] = (32, 64, 128)) -> Classifier:
    """A residual CNN: two blocks a stage, each stage at half the resolution of the one before."""
    layers: list[nn.Module] = [*_conv_bn(1, widths[0]), nn.ReLU()]
    channels = widths[0]
    for stage, width in enumerate(widths):
        layers += [ResidualBlock(channels, width, stride=2 if stage else 1), ResidualBlock(width, width)]
        channels = width
    return Classifier(layers, channels, classes)


def _separable(channels_in: int, channels_out: int, *, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution per channel, then a 1x1 across channels: Howard et al. 2017, https://arxiv.org/abs/1704.04861."""
    depthwise = _conv_bn(channels_in, channels_in, stride=stride, groups=channels_in)
    pointwise = _conv_bn(channels_in, channels_out, kernel=1)
    return [*depthwise, nn.ReLU(), *pointwise, nn.ReLU()]


def depthwise_cnn(
    classes: int = 10,
    stem: int = 32,
    layout: tuple[tuple[int, int], ...] = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)),
) -> Classifier:
    """A depthwise-separable CNN; `layout` lists (channels, stride) of its blocks."""
    layers: list[nn.Module] = [*_conv_bn(1, stem), nn.ReLU()]
    channels = stem
    for width, stride in layout:
        layers += _separable(channels, width, stride=stride)
        channels = width
    return Classifier(layers, channels, classes)


def plain_cnn(classes: int = 10, widths: tuple[int, ...] = (16, 32, 48)) -> Classifier:
    """3x3 convolutions, each but the first at half the resolution of the one before."""
    layers: list[nn.Module] = []
    channels = 1
    for stage, width in enumerate(widths):
        layers += [*_conv_bn(channels, width, stride=2 if stage else 1), nn.ReLU()]
        channels = width
    return Classifier(layers, channels, classes)


class Attention(nn.Module):
    """Multi-head self-attention over tokens[N, T, D]: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.

    Pruning heads or their width means narrowing `qkv` and `proj` and setting `num_heads` and `head_dim` to match.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, _ = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2)
        projected: Tensor = self.proj(mixed.reshape(batch, count, self.num_heads * self.head_dim))
        return projected


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return mixed


class TransformerBlock(nn.Module):
    """Attention, then an MLP, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, dim: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, num_heads)
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        attended: Tensor = tokens + self.attn(self.norm1(tokens))
        mixed: Tensor = attended + self.mlp(self.norm2(attended))
        return mixed


class VisionTransformer(nn.Module):
    """4x4 patches as tokens, learned positions, mean pooling: Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929."""

    def __init__(self, classes: int = 10, dim: int = 96, depth: int = 6, num_heads: int = 4) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(1, dim, kernel_size=4, stride=4)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 49, dim))
        self.blocks = nn.Sequential(*(TransformerBlock(dim, num_heads, 2 * dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


def student_cnn(classes: int = 10) -> Classifier:
    """The larger student: three plain convolutions."""
    return plain_cnn(classes)


def student_depthwise(classes: int = 10) -> Classifier:
    """The smaller student: three depthwise-separable blocks."""
    return depthwise_cnn(classes, stem=16, layout=((32, 2), (64, 2), (64, 1)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet_fmnist": resnet,
    "dwcnn_fmnist": depthwise_cnn,
    "vit_fmnist": VisionTransformer,
    "student_cnn_fmnist": student_cnn,
    "student_dw_fmnist": student_depthwise,
}
"""The network of each sample model that is trained here."""
