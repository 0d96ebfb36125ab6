from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import batch_norm, conv2d, linear

from core.bundle import ModelBundle, OnnxGraph
from core.data import Split
from core.devices import find_device
from core.errors import BadInput, CannotCompose
from core.progress import Progress, Steps, result_of
from core.scan import Change, Scan
from optimizers import scanning
from optimizers.scanning import Cache, scan_layers
from tests.optimizers.conftest import DATA, TinyNet, bundle_of

CHANGES: tuple[Change, ...] = ("int8", "w4", "prune50")
LAYERS = ("stem.0", "block.0", "head")


def steps(bundle: ModelBundle, cache: Cache, changes: Sequence[Any] = CHANGES, images: int = 1000) -> Steps[Scan]:
    return scan_layers(bundle, changes, images=images, device=find_device("cpu"), threads=1, cache=cache)


def scan(bundle: ModelBundle, folder: Path, changes: Sequence[Any] = CHANGES) -> Scan:
    return result_of(steps(bundle, Cache(folder), changes))


def on_grid(x: torch.Tensor, scale: Any, zero_point: Any, low: int, high: int) -> torch.Tensor:
    integers = np.clip(np.round(x.numpy() / scale) + zero_point, low, high)
    return torch.from_numpy(((integers - zero_point) * scale).astype(np.float32))


def rounded_weight(weight: torch.Tensor, bits: int) -> torch.Tensor:
    most = 2 ** (bits - 1) - 1
    scale = np.abs(weight.numpy().reshape(len(weight), -1)).max(1) / most
    return on_grid(weight, scale.reshape(-1, *[1] * (weight.ndim - 1)), 0, -most, most)


def rounded_input(x: torch.Tensor, bits: int) -> torch.Tensor:
    low, high, last = min(0, float(x.min())), max(0, float(x.max())), 2**bits - 1
    scale = (high - low) / last
    return on_grid(x, scale, np.round(-low / scale), 0, last)


def reference(network: TinyNet, layer: str = "", change: str = "") -> NDArray[np.float64]:
    """The tiny net written out, with one change to one layer."""
    state = {name: value.detach() for name, value in network.state_dict().items()}

    def parameters(name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weight = state[f"{name}.weight"]
        if name != layer or change.startswith("prune"):
            return x, weight
        bits = int(change[-1])
        return rounded_input(x, bits) if change.startswith("int") else x, rounded_weight(weight, bits)

    def conv_bn_relu(part: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        x, weight = parameters(f"{part}.0", x)
        y = conv2d(x, weight, state[f"{part}.0.bias"], stride, padding=1)
        mean, var, gain, bias = (state[f"{part}.1.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        y = batch_norm(y, mean, var, gain, bias)
        if f"{part}.0" == layer and change == "prune50":
            norms = np.sqrt((weight.numpy() ** 2).sum((1, 2, 3)))
            y[:, np.argsort(norms)[: len(norms) // 2]] = 0
        return y.relu()

    features = conv_bn_relu("stem", torch.from_numpy(bundle_of(network).contract.prepare(DATA.calibrate.pixels)), 2)
    pooled, weight = parameters("head", (features + conv_bn_relu("block", features, 1)).mean((2, 3)))
    return linear(pooled, weight, state["head.bias"]).numpy().astype(np.float64)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize(("layer", "change"), [("block.0", "int8"), ("head", "w4"), ("stem.0", "prune50")])
def test_a_cell_is_what_the_network_written_out_gives(
    layer: str, change: Change, bundle: ModelBundle, tmp_path: Path
) -> None:
    found = scan(bundle, tmp_path)
    cell = found.cell(layer, change)
    assert cell
    before, after = reference(bundle.module), reference(bundle.module, layer, change)
    labels = DATA.calibrate.targets
    assert (found.images, found.correct) == (64, int((before.argmax(1) == labels).sum()))
    assert (cell.correct, cell.agreed) == (
        int((after.argmax(1) == labels).sum()),
        int((after.argmax(1) == before.argmax(1)).sum()),
    )
    old, new = log_softmax(before), log_softmax(after)
    assert cell.divergence == pytest.approx((np.exp(old) * (old - new)).sum(1).mean(), rel=0.01)
    assert cell.output_error == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=0.01)
    assert cell.output_error > 1e-4


def test_layers_come_in_the_order_of_execution_and_the_last_keeps_its_classes(
    bundle: ModelBundle, tmp_path: Path
) -> None:
    network = bundle.module
    network.stem = network._modules.pop("stem")  # registered last, called first
    before = copy.deepcopy(network.state_dict())
    found = scan(bundle, tmp_path)
    assert found.layers == LAYERS
    assert found.kinds == ("Conv2d", "Conv2d", "Linear")
    assert found.parameters == (16 * 9 + 16, 16 * 16 * 9 + 16, 4 * 16 + 4)
    assert list(found.why_missing) == ["head|prune50"]
    assert [(cell.layer, cell.change) for cell in found.cells] == [
        (layer, change) for layer in LAYERS for change in CHANGES if (layer, change) != ("head", "prune50")
    ]
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_queries_keys_and_values_fall_silent_together(transformer: ModelBundle, tmp_path: Path) -> None:
    cell = scan(transformer, tmp_path, ("prune50",)).cell("blocks.1.attn.qkv", "prune50")
    assert cell
    x = torch.from_numpy(transformer.contract.prepare(DATA.calibrate.pixels))
    silenced = copy.deepcopy(transformer.module)
    qkv = silenced.get_submodule("blocks.1.attn.qkv")
    squares = (qkv.weight.detach().numpy() ** 2).sum(1).reshape(3, 16).sum(0)
    rows = [part * 16 + index for part in range(3) for index in np.argsort(squares)[:8]]
    with torch.no_grad():
        qkv.weight[rows], qkv.bias[rows] = 0, 0
        before, after = transformer.module(x), silenced(x)
    assert cell.output_error == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-3)


class Deciding(TinyNet):
    """Asks what is in its images, so that it has no graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.abs().max() > 0 else x + 1)


class InPlace(TinyNet):
    """Adds the residual to what the block has read."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.stem(x)
        return self.head(features.add_(self.block(features)).mean((2, 3)))


@pytest.mark.parametrize(("kind", "bytes_kept"), [(Deciding, 2**20), (InPlace, 2**20), (TinyNet, 0), (TinyNet, 50_000)])
def test_what_is_kept_on_the_way_changes_nothing(
    kind: type[TinyNet], bytes_kept: int, bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_MOST_IMAGES", 24)  # three batches, of which 50,000 bytes hold one
    wanted = scan(bundle, tmp_path / "1")
    monkeypatch.setattr(scanning, "_MOST_BYTES", bytes_kept)
    other = kind()
    other.load_state_dict(bundle.module.state_dict())
    found = scan(replace(bundle, network=other), tmp_path / "2")
    for cell, same in zip(wanted.cells, found.cells, strict=True):
        assert (same.layer, same.change, same.correct, same.agreed) == (
            cell.layer, cell.change, cell.correct, cell.agreed,
        )  # fmt: skip
        assert same.divergence == pytest.approx(cell.divergence, rel=1e-4, abs=1e-8)


def test_a_scan_that_was_stopped_goes_on_where_it_was(bundle: ModelBundle, tmp_path: Path) -> None:
    whole = scan(bundle, tmp_path / "elsewhere")
    stopped, kept = steps(bundle, Cache(tmp_path)), -1
    while kept < 3:
        event = next(stopped)
        assert isinstance(event, Progress)
        kept += event.unit == "changes"
    stopped.close()
    (file,) = tmp_path.glob("*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"layer": "head", "chan')  # and in the middle of a line
    for found in (3, 8):
        cache = Cache(tmp_path)
        assert result_of(steps(bundle, cache)) == whole
        assert cache.found == found
    other = Cache(tmp_path)
    result_of(steps(bundle, other, images=32))
    assert other.found == 0


def test_progress_ends_at_the_number_of_changes(bundle: ModelBundle, tmp_path: Path) -> None:
    events = [event for event in steps(bundle, Cache(tmp_path)) if isinstance(event, Progress)]
    done = [event.done for event in events if event.unit == "changes"]
    assert len(done) == 9
    assert done == sorted(done)
    assert done[-1] == pytest.approx(events[-1].total) == 8


def test_images_without_labels_have_answers_that_agree_or_not(bundle: ModelBundle, tmp_path: Path) -> None:
    unlabelled = Split(DATA.calibrate.pixels, np.full_like(DATA.calibrate.labels, -1))
    found = scan(replace(bundle, data=replace(DATA, calibrate=unlabelled)), tmp_path, ("prune50",))
    assert found.correct is None
    assert all(cell.correct is None for cell in found.cells)
    cell = found.cell("stem.0", "prune50")
    assert cell
    assert found.lost_points(cell) == 100 * (64 - cell.agreed) / 64


@pytest.mark.parametrize("changes", [(), ("int7",)])
def test_changes_that_are_not_known_are_refused(changes: tuple[str, ...], bundle: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected some of int8"):
        scan(bundle, tmp_path, changes)


def test_what_cannot_be_scanned_is_refused(bundle: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no calibration images"):
        scan(replace(bundle, data=replace(DATA, calibrate=DATA.calibrate.take(0))), tmp_path)
    with pytest.raises(CannotCompose, match="float32 network"):
        scan(replace(bundle, network=OnnxGraph(b"")), tmp_path)
    with pytest.raises(CannotCompose, match="without convolutions"):
        scan(bundle_of(nn.Sequential(nn.Flatten(), nn.Identity())), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_layer_too_narrow_to_lose_a_quarter_says_so(tmp_path: Path) -> None:
    found = scan(bundle_of(TinyNet(width=3).eval()), tmp_path, ("prune25",))
    assert found.cells == ()
    assert found.why_missing["stem.0|prune25"] == "It has too few outputs for 25 % of them to be one."
