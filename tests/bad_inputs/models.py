"""Rows about weights of named architectures and about networks of one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.errors import BadInput
from core.progress import result_of
from experiments import models
from experiments.adding import describe
from experiments.jobs import DescribeOrder
from intake import shelf
from intake.preprocessing import Preprocessing
from intake.sources import Architecture, Factory
from tests.bad_inputs.bench import Bench, Row
from tests.bad_inputs.files import cases
from tests.experiments.own import plant_torch
from tests.hostile.case import Case

AT_32 = Preprocessing(height=32, width=32)
NETS = """
import torch
from torch import nn

INPUT = {"height": 32, "width": 32}

class Net(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(5))
        self.body.eval()(torch.zeros(1, 3, 32, 32))
        self.answer = answer

    def forward(self, x):
        return self.answer(self.body(x))

def a_dict():
    return Net(lambda found: {"features": found.detach(), "logits": found}).eval(), INPUT

def a_tuple():
    return Net(lambda found: (found, found.sum())).eval(), INPUT

def words():
    return Net(lambda found: {"label": "cat"}).eval(), INPUT

def in_train_mode():
    return Net(lambda found: found).train(), INPUT
"""


def saved(architecture: str, classes: int, *, prefix: str = "", half: bool = False) -> Callable[[Path], Path]:
    """A state_dict of timm, as `torch.save` writes it."""

    def build(folder: Path) -> Path:
        import timm
        import torch

        torch.manual_seed(0)
        state = timm.create_model(architecture, num_classes=classes).state_dict()
        if half:
            state = {name: each.half() if each.is_floating_point() else each for name, each in state.items()}
        torch.save({prefix + name: each for name, each in state.items()}, folder / "weights.pt")
        return folder / "weights.pt"

    return build


def source(item: str, classes: int = 10) -> Architecture:
    return Architecture(library="timm", name="test_resnet", classes=classes, weights=item)


def another_architecture(bench: Bench) -> str:
    """Missing and extra keys are listed."""
    bench.patch.setattr("intake.building._NEAREST", 0)  # building a dozen others, to offer one, takes seconds
    job = bench.ordered(DescribeOrder(source=source(bench.taken(FOREIGN))))
    assert job.state == "failed"
    return job.sentence


def prefixed(bench: Bench) -> str:
    """The prefix of DataParallel is stripped, and the weights are those of the network."""
    import timm
    import torch

    from intake.networks import adopt, network_of

    item = bench.taken(PREFIXED)
    draft = bench.folder / "draft"
    draft.mkdir()
    result_of(adopt(source(item), AT_32, shelf.items_folder(""), draft))
    torch.manual_seed(0)
    trained, x = timm.create_model("test_resnet", num_classes=10).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network_of(source(item), draft, AT_32)(x), trained(x))
    return " ".join(shelf.item("", item).notes)


def seven_classes(bench: Bench) -> str:
    """Both numbers on the page, which goes on once the offer is taken."""
    bench.taken(SEVEN)
    page = bench.visit("bring")
    page.selectbox(key="bring.architecture").set_value("timm/test_resnet").run()
    classes = next(each for each in page.number_input if each.label == "Classes")
    classes.set_value(10).run()
    said = bench.shown(page)
    page.button(key="bring.use-classes").click().run()
    assert next(each for each in page.number_input if each.label == "Classes").value == 7
    assert "not 10" not in bench.shown(page)
    return said


def half_precision(bench: Bench) -> str:
    """Weights in FP16 become a network in FP32."""
    import torch

    from intake.networks import adopt, network_of

    item = bench.taken(HALF)
    weights = shelf.item("", item)
    draft = bench.folder / "draft"
    draft.mkdir()
    done = result_of(adopt(source(item), AT_32, shelf.items_folder(""), draft))
    network = network_of(source(item), draft, AT_32)
    assert {each.dtype for each in network.parameters()} == {torch.float32}
    return " ".join((*weights.notes, *done.notes, bench.noted(*GRAPH_IN_HALF)))


def several_answers(bench: Bench) -> str:
    """The logits or the first of several are taken, which is said; where there are none, that is asked for."""
    (bench.folder / "nets_with_answers.py").write_text(NETS)
    said = [bench.noted(*TWO_OUTPUTS)]
    for name in ("a_dict", "a_tuple"):
        described = describe("", factory(bench, name))
        assert described.classes == 5
        said += described.notes
    try:
        describe("", factory(bench, "words"))
    except BadInput as refusal:
        said.append(str(refusal))
    return "\n".join(said)


def in_train_mode(bench: Bench) -> str:
    """It answers as in eval mode, which is said; a network that is only asked keeps its mode and its statistics."""
    import torch

    from intake.networks import adopt, network_of
    from profiling.fidelity import source_logits
    from profiling.size import macs_of

    (bench.folder / "nets_with_answers.py").write_text(NETS)
    draft = bench.folder / "draft"
    draft.mkdir()
    done = result_of(adopt(factory(bench, "in_train_mode"), AT_32, bench.folder, draft))
    assert not network_of(factory(bench, "in_train_mode"), draft, AT_32).training
    bundle = models.load(plant_torch())
    pixels, network = bundle.data.test.pixels[:8], bundle.module
    x = bundle.contract.prepare(pixels)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    network.train()
    before = {name: each.clone() for name, each in network.state_dict().items()}
    macs_of(bundle)
    assert np.allclose(result_of(source_logits(network, pixels, bundle.contract)), expected, atol=1e-5)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())
    return " ".join((*done.notes, bench.noted(*GRAPH_IN_TRAIN_MODE)))


def factory(bench: Bench, name: str) -> Factory:
    """A function of the machine's owner, in a file of the row's folder."""
    sys.modules.pop("nets_with_answers", None)
    return Factory(target=f"nets_with_answers:{name}", path=bench.folder)


FOREIGN = Case("weights-of-a-transformer", "model", saved("test_vit", 10), "")
PREFIXED = Case("weights-with-a-prefix", "model", saved("test_resnet", 10, prefix="module."), "")
SEVEN = Case("weights-of-7-classes", "model", saved("test_resnet", 7), "")
HALF = Case("weights-in-half", "model", saved("test_resnet", 10, half=True), "")
GRAPH_IN_HALF, TWO_OUTPUTS = cases("onnx-fp16-throughout"), cases("onnx-two-outputs")
GRAPH_IN_TRAIN_MODE = cases("onnx-train-mode")
ROWS: dict[int, Row] = {
    13: Row(
        "weights of another architecture", another_architecture,
        ("The weights are not those of test_resnet (timm): 0 of its", "missing are conv1", "not known are cls_token",
         "no other, because weights that are left out stay random"),
        (FOREIGN,),
    ),
    14: Row("prefix module.", prefixed, ("The prefix module. was taken off every name",), (PREFIXED,)),
    15: Row(
        "head of 7 classes where 10 are expected", seven_classes,
        ("The weights have 7 classes, not 10.",), (SEVEN,),
    ),
    19: Row(
        "fp16 weights on a CPU", half_precision,
        ("in FP16: computed as FP32", "float16 weights are kept, and computed, as float32"), (HALF, *GRAPH_IN_HALF),
    ),
    40: Row(
        "tuple and dict outputs", several_answers,
        ("is taken for the answer", "The network returns several things: `logits` is taken as the answer.",
         "The network returns 2 things: the first tensor is taken as the answer.",
         "returns a dict without a tensor; expected logits"), TWO_OUTPUTS,
    ),
    41: Row(
        "model left in train mode", in_train_mode,
        ("left in training mode: it is used in eval mode", "exported in train mode: 2 operators were set to eval mode"),
        GRAPH_IN_TRAIN_MODE,
    ),
}  # fmt: skip
