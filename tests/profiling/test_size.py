from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import KerasModel, ModelBundle, Network, OnnxGraph, TfliteModel
from core.data import DataSplits, InputContract, Split
from core.macs import count_macs
from core.quantization import QuantizationReport
from profiling import size as sizes
from profiling.size import measure_size
from tests.core.tflite_graphs import dense


@dataclass(frozen=True)
class Files:
    folder: Path
    files: tuple[str, ...]


class Attention(nn.Module):
    """16 tokens of width 8, one head: four projections, then scores and their weighted sum."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)[:, None]).chunk(3, -1)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v)).mean((1, 2))


class FusedLayer(nn.Module):
    """The layer that PyTorch replaces by one fused operation when it is only asked for results."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(2).transpose(1, 2)).mean(1)


def bundle_of(network: Network, channels: int = 3, side: int = 8) -> ModelBundle:
    split = Split(np.zeros((1, channels, side, side), np.uint8), np.zeros((1, 1), np.int64))
    contract = InputContract(channels, side, side, (0.0,) * channels, (1.0,) * channels, ("a", "b"))
    return ModelBundle("tiny", "cnn", network, contract, DataSplits(split, split, split))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.Flatten(),
        nn.Linear(54, 2),
    )


def macs_of(bundle: ModelBundle) -> int:
    return count_macs(bundle.module, bundle.contract)


def test_macs_of_convolutions_follow_the_formula_and_leave_the_network_training() -> None:
    network = convolutions().train()
    statistics = network[1].running_mean.clone()
    first = 8 * 8 * 4 * (3 * 3 * 3)
    grouped = 3 * 3 * 6 * (3 * 3 * 2)
    assert macs_of(bundle_of(network)) == first + grouped + 54 * 2
    assert network.training
    assert torch.equal(network[1].running_mean, statistics)


def test_macs_count_attention_however_it_is_written() -> None:
    tokens, width, hidden = 16, 8, 32
    attention = tokens * width * (3 * width) + 2 * tokens * tokens * width + tokens * width * width
    assert macs_of(bundle_of(Attention(), channels=8, side=4)) == attention
    feed_forward = 2 * tokens * width * hidden
    assert macs_of(bundle_of(FusedLayer(), channels=8, side=4)) == attention + feed_forward


def test_size_adds_up_the_files_and_compresses_each_as_gzip_does(tmp_path: Path) -> None:
    contents = {"a.bin": bytes(200_000), "b.bin": np.random.default_rng(0).bytes(100_000)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "not shipped").write_bytes(bytes(50))
    size = measure_size(bundle_of(convolutions()), Files(tmp_path, tuple(contents)), macs=7)
    assert size.size_bytes == 300_000
    assert size.gzip_bytes == pytest.approx(sum(len(gzip.compress(each, 6)) for each in contents.values()), rel=0.01)
    assert size.macs == 7


def test_parameters_and_zeros_of_a_module(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].weight[:2] = 0
        network[1].bias.fill_(1.0)
    size = measure_size(bundle_of(network), Files(tmp_path, ()), macs=1)
    assert (size.parameter_count, size.nonzero_count) == (108 + 8, 54 + 8)
    assert size.sparsity == pytest.approx(54 / 116)


def test_a_quantized_network_has_the_parameters_of_its_report(tmp_path: Path) -> None:
    report = QuantizationReport(quantizer="a test", images=1, layers=(), parameter_count=8, nonzero_count=5)
    bundle = replace(bundle_of(OnnxGraph(b"")), quantization=report)
    size = measure_size(bundle, Files(tmp_path, ()), macs=6)
    assert (size.parameter_count, size.nonzero_count) == (8, 5)


def test_of_a_tflite_file_the_file_itself_is_counted_whatever_its_report_says(tmp_path: Path) -> None:
    content = dense(np.float32([[1, 0, 2], [0, 0, 3]]), np.float32([1, 0]))
    (tmp_path / "model.tflite").write_bytes(content)
    empty = Split(np.zeros((0, 1, 1, 3), np.uint8), np.zeros((0, 1), np.int64))
    contract = InputContract(1, 1, 3, (0.0,), (1.0,), ("a", "b"))
    for network in (TfliteModel(content), KerasModel(b"", content)):
        bundle = ModelBundle("tiny", "cnn", network, contract, DataSplits(empty, empty, empty))
        size = measure_size(bundle, Files(tmp_path, ("model.tflite",)), macs=sizes.macs_of(bundle))
        assert (size.parameter_count, size.nonzero_count, size.macs) == (8, 4, 6)
        assert size.size_bytes == len(content)
