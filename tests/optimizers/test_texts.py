"""Every technique on a small classifier of texts, judged on what engines answer to tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, Situation
from core.data import Floats
from core.devices import find_device
from core.errors import CannotCompose
from core.macs import count_macs
from core.progress import Note, result_of
from optimizers import TECHNIQUES, Context
from optimizers.passes import Passes
from optimizers.scanning import Cache, scan_layers
from optimizers.technique import Technique
from profiling.anatomy import anatomy_of
from runtimes import RUNTIMES
from tests.intake.tiny_texts import LABELS, LENGTH
from tests.optimizers.conftest import BF16_CPU, build_network, events_and_result
from tests.optimizers.texts import text_bundle

SITUATION = Situation("transformer", 96, len(LABELS), BF16_CPU, "onnxruntime", task="text")
BLOCK = "encoder.bert.encoder.layer.0.attention.self"


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return text_bundle()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(find_device("cpu"), 1, 0, tmp_path, build_network, runtime="onnxruntime", original=text_bundle)


def x_of(bundle: ModelBundle) -> np.ndarray[Any, Any]:
    return bundle.contract.prepare(bundle.data.test.pixels)


def exact(bundle: ModelBundle) -> Floats:
    with torch.no_grad():
        logits: Floats = bundle.module(torch.from_numpy(x_of(bundle))).numpy()
    return logits


def served(bundle: ModelBundle, runtime: str, folder: Path) -> Floats:
    """Logits[N, classes] of the exported artifact."""
    engine, device = RUNTIMES[runtime], find_device("cpu")
    (place := folder / runtime).mkdir()
    with engine.open(engine.export(bundle, place), device, threads=1) as session:
        session.bind(x_of(bundle)[:3])()
        return session.run(x_of(bundle))


def share_right(logits: Floats, bundle: ModelBundle) -> float:
    return float(bundle.data.test.is_correct(logits.argmax(1)).mean())


def test_the_network_is_worth_judging(bundle: ModelBundle) -> None:
    assert share_right(exact(bundle), bundle) > 0.85


def test_padding_changes_no_answer(bundle: ModelBundle) -> None:
    x = torch.from_numpy(x_of(bundle))
    other = x.clone()
    other[:, 0] = torch.where(x[:, 1] == 0, 7, x[:, 0])
    with torch.no_grad():
        torch.testing.assert_close(bundle.module(other), bundle.module(x))


@pytest.mark.parametrize(
    ("key", "runtime"), [("int8", "onnxruntime"), ("int8", "openvino"), ("mixed_precision", "pytorch")]
)
def test_rounding_keeps_what_it_knows_in_its_engine(
    bundle: ModelBundle, context: Context, key: str, runtime: str, tmp_path: Path
) -> None:
    technique = TECHNIQUES[key]()
    technique.check(replace(SITUATION, runtime=runtime))
    before = {name: each.clone() for name, each in bundle.module.state_dict().items()}
    done = result_of(technique.apply(bundle, replace(context, runtime=runtime)))
    assert share_right(served(done, runtime, tmp_path), bundle) > 0.8
    assert all(torch.equal(each, before[name]) for name, each in bundle.module.state_dict().items())


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("magnitude_pruning", {"sparsity": 0.3, "epochs": 1}),
        ("two_four", {"epochs": 1}),
        ("low_rank", {"energy": 0.99, "epochs": 1, "activation_aware": True}),
    ],
)
def test_smaller_networks_are_tuned_on_texts(
    bundle: ModelBundle, context: Context, key: str, settings: dict[str, Any]
) -> None:
    technique = TECHNIQUES[key](**settings)
    technique.check(SITUATION)
    done = result_of(technique.apply(bundle, context))
    assert share_right(exact(done), bundle) > 0.6
    assert done.sparsity or done.low_rank


def silenced(bundle: ModelBundle, pruned: nn.Module, heads: int) -> nn.Module:
    """The network with weights of zero behind the heads that are gone, found by the queries that are left."""
    network = text_bundle().module
    for layer, block in enumerate(network.encoder.bert.encoder.layer):
        left = pruned.encoder.bert.encoder.layer[layer].attention.self.query.weight
        wide = block.attention.self.query.weight.view(4, -1, left.shape[1])
        narrow = left.view(heads, -1, left.shape[1])
        gone = [at for at in range(4) if not any(torch.equal(wide[at], each) for each in narrow)]
        columns = block.attention.output.dense.weight.data.view(left.shape[1], 4, -1)
        columns[:, gone] = 0
    return network


def test_whole_heads_go_as_if_they_were_silent(bundle: ModelBundle, context: Context, tmp_path: Path) -> None:
    technique = TECHNIQUES["structured_pruning"](
        attention="heads", ratio=0.5, epochs=0, mlp=False, keep=("encoder.bert.pooler",), round_to=1, scan=False
    )
    done = result_of(technique.apply(bundle, context))
    block = done.module.get_submodule(BLOCK)
    assert (block.num_attention_heads, block.attention_head_size, block.all_head_size) == (2, 8, 16)
    with torch.no_grad():
        expected = silenced(bundle, done.module, 2)(torch.from_numpy(x_of(bundle))).numpy()
    np.testing.assert_allclose(exact(done), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(served(done, "onnxruntime", tmp_path), expected, rtol=1e-4, atol=1e-5)


def test_heads_and_mlps_become_narrower(bundle: ModelBundle, context: Context) -> None:
    technique = TECHNIQUES["structured_pruning"](ratio=0.5, epochs=2, importance="taylor", scan=False)
    done = result_of(technique.apply(bundle, context))
    block = done.module.get_submodule(BLOCK)
    assert (block.num_attention_heads, block.attention_head_size, block.all_head_size) == (4, 4, 16)
    assert done.module.get_submodule("encoder.bert.encoder.layer.1.intermediate.dense").out_features == 24
    assert count_macs(done.module, done.contract) < 0.6 * count_macs(bundle.module, bundle.contract)
    assert np.isfinite(exact(done)).all()


def test_a_pruned_network_learns_from_itself_with_hints(bundle: ModelBundle, context: Context) -> None:
    technique = TECHNIQUES["distillation"](student="itself", hints="features", epochs=1, control_seeds=0)
    events, done = events_and_result(technique.apply(bundle, context))
    told = [event.text for event in events if isinstance(event, Note)]
    assert any("encoder.layer.1 ← encoder.bert.encoder.layer.1 (16 tokens)" in text for text in told)
    assert done.distillation is not None
    assert done.distillation.test_images == len(bundle.data.test)


def test_a_narrower_student_is_drawn_and_taught(bundle: ModelBundle, context: Context) -> None:
    technique = TECHNIQUES["distillation"](student="width", epochs=2, control_seeds=1)
    done = result_of(technique.apply(bundle, context))
    assert done.module.get_submodule(BLOCK).all_head_size == 16
    assert done.distillation is not None
    assert len(done.distillation.seeds) == 1


@pytest.mark.parametrize("student", ["student_cnn_fmnist", "student_dw_fmnist", "named"])
def test_students_that_see_images_are_refused_beforehand(student: str) -> None:
    with pytest.raises(CannotCompose, match=r"for texts.*a student that reads tokens"):
        TECHNIQUES["distillation"](student=student).check(SITUATION)


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("structured_pruning", {}),
        ("magnitude_pruning", {"epochs": 1}),
        ("two_four", {"epochs": 1}),
        ("low_rank", {"epochs": 1}),
        ("qat", {}),
        ("distillation", {"student": "width"}),
        ("mixed_precision", {"precision": "bf16", "fine_tune_epochs": 1}),
    ],
)
def test_changes_that_only_images_survive_are_refused_beforehand(key: str, settings: dict[str, Any]) -> None:
    technique: Technique = TECHNIQUES[key](**settings, augmentation="shift")
    runtime = "pytorch" if key == "mixed_precision" else "onnxruntime"
    with pytest.raises(CannotCompose, match=r"Shifted or erased texts.*Choose no augmentation"):
        technique.check(replace(SITUATION, runtime=runtime))
    technique.check(replace(SITUATION, task="images", runtime=runtime))
    TECHNIQUES[key](**settings).check(replace(SITUATION, runtime=runtime))


def test_every_layer_alone_and_the_anatomy(bundle: ModelBundle, tmp_path: Path) -> None:
    scan = result_of(
        scan_layers(bundle, ("int8",), images=20, device=find_device("cpu"), threads=1, cache=Cache(tmp_path))
    )
    assert len(scan.layers) == 14
    assert all(cell.agreed == 20 for cell in scan.cells)
    anatomy = result_of(anatomy_of(bundle.module, x_of(bundle)[:2]))
    assert (
        sum(module.macs for module in anatomy.modules) == count_macs(bundle.module, bundle.contract) == macs_by_hand()
    )


def macs_by_hand() -> int:
    """Of two blocks 32 wide with MLPs of 48, a pooler and the classes, for 16 tokens."""
    projections, attention, mlp = 4 * LENGTH * 32 * 32, 2 * LENGTH * LENGTH * 32, 2 * LENGTH * 32 * 48
    return 2 * (projections + attention + mlp) + 32 * 32 + 32 * len(LABELS)


def test_a_network_that_cannot_be_taken_apart_is_run_as_a_whole(bundle: ModelBundle) -> None:
    x = torch.from_numpy(x_of(bundle)[:4])
    with torch.no_grad():
        passes = Passes(bundle.module, x, most_bytes=2**20)
        torch.testing.assert_close(passes.logits(x, batch=0, place=passes.place_of(BLOCK)), bundle.module(x))
