"""What is prepared for GPUs without one; packing and serving is in tests/gpu."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle
from core.devices import Device, find_device
from core.sparsity import can_be_packed, skips_fours
from optimizers.sparsity.fours import columns_of, lowest_two
from optimizers.sparsity.report import report_of
from runtimes import RUNTIMES
from runtimes.semi_structured import FILE, prepare
from tests.optimizers.conftest import CLASSES, bundle_of

GPU = Device("cuda:0", "cuda", "a GPU", 2**30, compute_capability=(8, 0))


class Tokens(nn.Module):
    """A convolution whose output lies across the linear layer's input, and layers of several shapes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(1, 32, 4, stride=4)
        self.first, self.dense, self.thin = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 24)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.thin(self.dense(self.first(tokens).relu()).relu()).mean(1))


@pytest.fixture
def sparse() -> ModelBundle:
    """2:4 sparse but for one layer."""
    network = Tokens().eval()
    for layer in (network.first, network.thin, network.head):
        with torch.no_grad():
            layer.weight.masked_fill_(lowest_two(columns_of(layer.weight).abs()), 0)
    return replace(bundle_of(network), sparsity=report_of(network, "2:4", "by hand"))


@pytest.mark.parametrize(("precision", "layers"), [("bf16", ["network.first"]), ("fp32", None)])
def test_the_file_names_the_layers_whose_weights_a_gpu_can_pack(
    sparse: ModelBundle, precision: str, layers: list[str] | None, tmp_path: Path
) -> None:
    artifact = RUNTIMES["pytorch"].export(replace(sparse, precision=precision), tmp_path)  # type: ignore[arg-type]
    assert artifact.files == (("model.pt2", FILE) if layers else ("model.pt2",))
    if layers:
        assert json.loads((tmp_path / FILE).read_text()) == layers
        program = torch.export.load(artifact.main_file).module()
        assert program.get_submodule(layers[0]).weight.shape == (64, 32)


def test_a_network_without_the_pattern_has_no_such_file(sparse: ModelBundle, tmp_path: Path) -> None:
    for number, report in enumerate((None, report_of(sparse.module, "scattered", "by hand"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        artifact = RUNTIMES["pytorch"].export(replace(sparse, precision="bf16", sparsity=report), folder)
        assert artifact.files == ("model.pt2",)


def test_on_a_cpu_the_zeros_are_multiplied_and_nothing_changes(sparse: ModelBundle, tmp_path: Path) -> None:
    logits = []
    x = sparse.contract.prepare(sparse.data.test.pixels)
    for number, report in enumerate((sparse.sparsity, None)):
        folder = tmp_path / str(number)
        folder.mkdir()
        artifact = RUNTIMES["pytorch"].export(replace(sparse, precision="bf16", sparsity=report), folder)
        with RUNTIMES["pytorch"].open(artifact, find_device("cpu"), threads=1) as session:
            logits.append(session.run(x))
    assert np.array_equal(*logits)


def test_an_input_that_lies_across_is_laid_straight_in_the_program(sparse: ModelBundle) -> None:
    """The packed product refuses what a dense one copies."""
    network = sparse.module.to(torch.float16)
    assert prepare(network) == ("first",)
    program = torch.export.export(network, (torch.zeros(2, 1, 12, 12, dtype=torch.float16),))
    (linear,) = [
        node for node in program.module().graph.nodes if len(node.args) > 1 and str(node.args[1]) == "first_weight"
    ]
    assert "contiguous" in str(linear.args[0].target) or "clone" in str(linear.args[0].target)


def test_the_sample_code_packs_on_gpus_that_skip_zeros(sparse: ModelBundle, tmp_path: Path) -> None:
    for key in ("pytorch", "torch_compile"):
        artifact = RUNTIMES[key].export(replace(sparse, precision="bf16"), tmp_path)
        code = RUNTIMES[key].sample_code(artifact)
        compile(code, "run.py", "exec")
        assert code.index("to_sparse_semi_structured") < code.index("def logits")
        assert ("torch.compile(network)" in code) is (key == "torch_compile")
        assert "to_sparse" not in RUNTIMES[key].sample_code(replace(artifact, files=("model.pt2",)))


@pytest.mark.parametrize(("capability", "skips"), [((7, 5), False), ((8, 0), True), ((9, 0), True), (None, False)])
def test_sparse_tensor_cores_came_with_ampere(capability: tuple[int, int] | None, skips: bool) -> None:
    assert skips_fours(replace(GPU, compute_capability=capability)) is skips


def test_matrices_in_whole_tiles_can_be_packed() -> None:
    assert can_be_packed((64, 32))
    assert not any(can_be_packed(shape) for shape in ((10, 128), (64, 24), (64, 64, 3, 3), ()))
