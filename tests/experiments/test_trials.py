"""What works on a network is tried: networks that are made to fail in one place each."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from core.bundle import ModelBundle, Network, OnnxGraph
from core.catalogue import ModelEntry
from core.data import DataSplits, InputContract, Split
from core.devices import find_device
from core.errors import CannotCompose
from core.progress import Event, Note, Progress, Steps, result_of
from experiments import fitting
from experiments.checking import check
from experiments.fitting import why_unfit
from experiments.recipe import Recipe
from experiments.trials import trials
from optimizers import TECHNIQUES
from runtimes import RUNTIMES

LABELS = ("a", "b", "c", "d")
CANNOT_PRUNE = "No channels can be removed from this network: why"
EVERYTHING_WITH_LAYERS = {
    "int8", "qat", "magnitude_pruning", "simulated", "fp8", "weight_only", "two_four", "low_rank", "structured_pruning",
}  # fmt: skip


def bundle_of(network: Network) -> ModelBundle:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), np.uint8)
    split = Split(pixels, np.zeros((4, 1), np.int64))
    contract = InputContract(3, 8, 8, (127.5,) * 3, (60.0,) * 3, LABELS)
    return ModelBundle("tried", "cnn", network, contract, DataSplits(split, split, split))


def told(steps: Steps[dict[str, str]]) -> tuple[dict[str, str], list[Event]]:
    """What comes back, and the events on the way."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return stop.value, events


class WithoutLayers(nn.Module):
    """Means of four parts of the image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1).unflatten(2, (4, 2)).mean((1, 3))


class WithChoices(nn.Module):
    """Goes another way for dark images, which no exporter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) if x.sum() > 0 else self.layers(-x)


def ordinary() -> nn.Module:
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)).eval()


def test_on_an_ordinary_network_everything_works_and_it_stays_as_it_was() -> None:
    network = ordinary()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert result_of(trials(bundle_of(network))) == {}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.training


def test_without_layers_only_serving_works() -> None:
    found = result_of(trials(bundle_of(WithoutLayers().eval())))
    assert {key for key in found if "@" not in key} == EVERYTHING_WITH_LAYERS
    assert found["weight_only"] == "There is nothing to quantize in this network: it has no linear layer"


def test_what_no_exporter_can_follow_is_told_for_every_engine() -> None:
    found, events = told(trials(bundle_of(WithChoices().eval())))
    assert found.keys() == RUNTIMES.keys()
    reason = "it goes another way for other values in the image, which no exported file can"
    assert found["pytorch"] == f"PyTorch cannot export this network: {reason}"
    assert found["onnxruntime"] == f"This network has no ONNX form: {reason}"
    warnings = [event.text for event in events if isinstance(event, Note) and event.warning]
    assert len(warnings) == 2
    assert isinstance(events[0], Progress)


def test_what_was_not_tried_for_want_of_time_is_not_refused() -> None:
    found, events = told(trials(bundle_of(WithChoices().eval()), seconds=-1))
    assert found == {}
    notes = [event.text for event in events if isinstance(event, Note)]
    assert len(notes) == 1
    assert notes[0].startswith("Not tried, because it would take too long here: INT8")


def graph_of(operator: Callable[[], onnx.NodeProto]) -> OnnxGraph:
    """A graph of float32 `input`[N, 3, 8, 8] -> `logits`[N, 3] with one operator before the mean."""
    nodes = [operator(), helper.make_node("ReduceMean", ["mid", "axes"], ["logits"], keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return OnnxGraph(model.SerializeToString())


def test_a_graph_is_tried_in_every_engine_that_reads_graphs() -> None:
    without_layers = graph_of(lambda: helper.make_node("Relu", ["input"], ["mid"]))
    found = result_of(trials(bundle_of(without_layers)))
    assert found.keys() == {f"{key}@{runtime}" for key in ("int8", "qat") for runtime in ("onnxruntime", "openvino")}


@pytest.fixture
def refused_model(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of a model that is known for two refusals."""
    real = fitting.find

    def find(key: str) -> ModelEntry:
        refusals = {"structured_pruning": CANNOT_PRUNE, "openvino": "Not OpenVINO", "int8@onnxruntime": "Not INT8"}
        return ModelEntry(**{**vars(real(key)), "refusals": refusals})

    monkeypatch.setattr(fitting, "find", find)
    return "resnet_fmnist"


def test_what_was_found_is_refused_before_anything_runs(refused_model: str) -> None:
    pruned = Recipe.model_validate({"model": refused_model, "techniques": [{"structured_pruning": {}}]})
    with pytest.raises(CannotCompose, match=CANNOT_PRUNE):
        check(pruned)
    served = Recipe.model_validate({"model": refused_model, "runtime": "openvino"})
    with pytest.raises(CannotCompose, match="Not OpenVINO"):
        check(served)
    check(Recipe.model_validate({"model": refused_model}))
    quantized = {"model": refused_model, "techniques": [{"int8": {}}]}
    with pytest.raises(CannotCompose, match="Not INT8"):
        check(Recipe.model_validate(quantized | {"runtime": "onnxruntime"}))
    check(Recipe.model_validate(quantized | {"runtime": "torch_compile"}))
    cpu = find_device("cpu")
    assert why_unfit("structured_pruning", refused_model, RUNTIMES["pytorch"], cpu) == CANNOT_PRUNE
    assert why_unfit("magnitude_pruning", refused_model, RUNTIMES["pytorch"], cpu) is None


def test_a_student_that_takes_its_place_is_another_network(refused_model: str) -> None:
    for student, is_other in {"student_cnn_fmnist": True, "itself": False}.items():
        steps = [{"distillation": {"student": student}}, {"structured_pruning": {}}]
        recipe = Recipe.model_validate({"model": refused_model, "techniques": steps})
        if is_other:
            assert check(recipe).applied == ("distillation", "structured_pruning")
        else:
            with pytest.raises(CannotCompose, match="No channels"):
                check(recipe)


def test_every_refusal_is_of_a_technique_or_a_runtime() -> None:
    assert TECHNIQUES.keys() >= EVERYTHING_WITH_LAYERS
