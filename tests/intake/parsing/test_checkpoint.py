"""What torch saves, read without torch and compared with what torch itself loads."""

from __future__ import annotations

import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from core.errors import Refused
from core.progress import result_of
from intake.items import WEIGHTS_FILE, Weights
from intake.parsing import snippets
from intake.parsing.model import parse

TAKEN = [
    *(torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool)
]
REFUSED = {
    torch.complex64: "complex", torch.complex128: "complex", torch.int8: "quantized already",
    torch.float8_e4m3fn: "8 bits", torch.float8_e5m2: "8 bits", torch.uint16: "U16", torch.uint64: "U64",
}  # fmt: skip


def read(file: Path, folder: Path) -> tuple[Weights, dict[str, torch.Tensor]]:
    """The facts, and the tensors as the library of safetensors loads them."""
    folder.mkdir(exist_ok=True)
    item = Weights.model_validate(result_of(parse(file, folder, {})))
    return item, safetensors.torch.load_file(folder / WEIGHTS_FILE)


def assert_same(saved: Any, tmp_path: Path, **options: Any) -> Weights:
    """That our reader finds what torch loads from the file."""
    file = tmp_path / "weights.pt"
    torch.save(saved, file, **options)
    wanted = torch.load(file, weights_only=options.get("pickle_protocol", 2) == 2)
    item, found = read(file, tmp_path / "out")
    assert list(item.tensors) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert item.tensors[name].shape == tuple(tensor.shape)
        assert torch.equal(found[name], tensor.detach()), name
    return item


@pytest.mark.parametrize("dtype", TAKEN, ids=str)
def test_every_type_comes_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    values = (torch.rand(3, 4, 5) * 200).to(dtype)
    assert_same(
        {"a": values, "turned": values.permute(2, 0, 1), "scalar": values[0, 0, 0], "none": values[:0]}, tmp_path
    )


@pytest.mark.parametrize("dtype", REFUSED, ids=str)
def test_types_that_are_no_weights_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2, 2).to(dtype)}, tmp_path / "w.pt")
    with pytest.raises(Refused, match=rf"layer\.weight.*{REFUSED[dtype]}"):
        read(tmp_path / "w.pt", tmp_path / "out")


def test_strides_shared_storages_and_parameters(tmp_path: Path) -> None:
    base = torch.arange(120.0).reshape(4, 5, 6)
    with_attribute = nn.Parameter(torch.rand(3))
    with_attribute.no_decay = True  # type: ignore[attr-defined]
    assert_same(
        {
            "whole": base, "step": base[::2, 1::3], "diagonal": base[0].diagonal(), "shared": base.view(-1),
            "row": base[2, 3], "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "parameter": nn.Parameter(torch.rand(2, 2)), "attribute": with_attribute, "none": torch.zeros(0, 3),
        },
        tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_network_in_every_protocol(protocol: int, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    item = assert_same(network.state_dict(), tmp_path, pickle_protocol=protocol)
    assert item.tensors["1.num_batches_tracked"].dtype == "I64"
    assert not item.notes


def test_a_real_network(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    assert_same(resnet18().state_dict(), tmp_path)


def test_doubles_become_floats_and_that_is_said(tmp_path: Path) -> None:
    values = torch.rand(7, 3, dtype=torch.float64)
    torch.save({"a": values}, tmp_path / "w.pt")
    item, found = read(tmp_path / "w.pt", tmp_path / "out")
    assert torch.equal(found["a"], values.float())
    assert any("FP64" in note for note in item.notes)


def test_a_whole_training_checkpoint(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    checkpoint = {
        "epoch": 4, "model_state_dict": network.state_dict(), "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(), "best": torch.tensor(0.5), "classes": ("cat", "dog"), "seen": Counter([1]),
        "device": torch.device("cpu"), "dtype": torch.float16, "size": torch.Size([1]), "set": {1, 2}, "seed": 1 << 127,
    }  # fmt: skip
    torch.save(checkpoint, tmp_path / "w.pt")
    item, found = read(tmp_path / "w.pt", tmp_path / "out")
    assert torch.equal(found["weight"], network.weight.detach())
    assert set(found) == {"weight", "bias"}
    assert item.metadata == {"epoch": "4", "seed": str(1 << 127)}


def test_data_parallel_is_taken_off(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    torch.save(OrderedDict((f"module.{name}", each) for name, each in network.state_dict().items()), tmp_path / "w.pt")
    item, found = read(tmp_path / "w.pt", tmp_path / "out")
    assert torch.equal(found["weight"], network.weight.detach())
    assert any("module." in note for note in item.notes)


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        (nn.Sequential(nn.Linear(2, 2)), "torch.nn.modules.container.Sequential"),
        ({"a": torch.rand(2, 2).to_sparse()}, "sparse"),
        ({"a": torch.rand(2, device="meta")}, "no values"),
        ({"a": torch.rand(1).expand(1000)}, "Tensor says more than the file holds"),
        ({"a": torch.tensor([1.0, float("nan"), float("inf")])}, "The layer a .* 1 NaN and 1 infinite of 3"),
        (torch.rand(3), "without a name"),
        ([torch.rand(3)], "no tensors"),
        ({"a": torch.rand(3), "f": torch.nn.functional.relu}, "torch.nn.functional.relu"),
    ],
    ids=["module", "sparse", "meta", "expanded", "nan", "tensor", "list", "function"],
)
def test_what_torch_saves_and_is_no_state_dict(saved: Any, says: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "w.pt")
    with pytest.raises(Refused, match=says):
        read(tmp_path / "w.pt", tmp_path / "out")


def test_programs_and_old_files(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    torch.jit.script(network).save(str(tmp_path / "script.pt"))
    torch.export.save(torch.export.export(network, (torch.rand(1, 2),)), tmp_path / "exported.pt2")
    torch.save(network.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, says in {"script.pt": "program", "exported.pt2": "program", "old.pt": "Old or foreign pickle"}.items():
        with pytest.raises(Refused, match=says):
            read(tmp_path / name, tmp_path / "out")


class Plain(nn.Module):
    """Saved whole, as many people do."""


@pytest.mark.parametrize(
    ("snippet", "name", "saved", "made"),
    [
        (snippets.SAVE_AGAIN, "old.pt", {"a": torch.ones(2)}, "weights.pt"),
        (snippets.STORE_UNPACKED, "packed.pt", {"a": torch.ones(2)}, "weights.pt"),
        (snippets.TO_FLOAT, "weights.pt", {"a": torch.ones(2).to(torch.float8_e5m2)}, "floats.pt"),
        (snippets.CONTIGUOUS, "weights.pt", {"a": torch.ones(1).expand(2)}, "contiguous.pt"),
        (snippets.SAVE_WEIGHTS, "whole.pt", Plain(), "weights.pt"),
    ],
    ids=["old", "packed", "floats", "expanded", "whole"],
)
def test_a_refused_file_comes_with_lines_that_make_it_good(
    snippet: str, name: str, saved: Any, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(saved, name, _use_new_zipfile_serialization=name != "old.pt")
    if name == "packed.pt":
        packed(tmp_path / name)
    with pytest.raises(Refused) as caught:
        read(tmp_path / name, tmp_path / "out")
    assert caught.value.snippet == snippet
    network = nn.Module()
    network.register_buffer("a", torch.ones(2))
    exec(snippet, {"network": network})
    assert torch.equal(read(tmp_path / made, tmp_path / "out")[1]["a"], torch.ones(2))


def packed(file: Path) -> None:
    """Deflate what is stored."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
