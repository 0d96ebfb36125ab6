"""Weights become a model's own, for real architectures with few weights; expected tensors come from the libraries."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from core.errors import BadInput, Refused, Unavailable
from core.progress import result_of
from intake.adopting import adopted, fitted
from intake.building import shapes_of, untrained
from intake.factories import made_by
from intake.items import WEIGHTS_FILE, TensorFacts
from intake.networks import adopt, described, network_of
from intake.preprocessing import Preprocessing
from intake.sources import Architecture, Factory

pytestmark = pytest.mark.usefixtures("listed")


SMALL = Architecture(library="torchvision", name="mnasnet0_5", classes=10, weights="0123456789ab")
AT_32 = Preprocessing(height=32, width=32)
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def of_torchvision(classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.mnasnet0_5(num_classes=classes).eval()


def saved(state: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "item.safetensors")
    return folder / "item.safetensors"


def facts(state: dict[str, torch.Tensor]) -> dict[str, TensorFacts]:
    return {name: TensorFacts(shape=tuple(each.shape), dtype="F32") for name, each in state.items()}


def test_weights_of_a_file_answer_as_the_network_they_come_from(tmp_path: Path) -> None:
    trained = of_torchvision()
    state = {f"module.{name}": tensor for name, tensor in trained.state_dict().items()}
    done = adopted(SMALL, AT_32, tmp_path, weights=saved(state, tmp_path))
    assert done.classes == 10
    assert done.notes == ("The names of all tensors began with 'module.', which was stripped.",)
    opened = network_of(SMALL, tmp_path, AT_32)
    assert isinstance(opened, nn.Module)
    assert not opened.training
    with torch.no_grad():
        assert torch.equal(opened(X), trained(X))
    assert load_file(tmp_path / WEIGHTS_FILE).keys() == trained.state_dict().keys()


def test_half_precision_is_turned_into_float32_and_said(tmp_path: Path) -> None:
    state = {
        name: each.half() if each.is_floating_point() else each for name, each in of_torchvision().state_dict().items()
    }
    done = adopted(SMALL, AT_32, tmp_path, weights=saved(state, tmp_path))
    assert done.notes == ("Weights in float16 were turned into float32.",)
    written = load_file(tmp_path / WEIGHTS_FILE)
    assert {each.dtype for each in written.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    state = of_torchvision().state_dict()
    state["classifier.1.bias"][3] = value
    with pytest.raises(BadInput, match=r"1 of 10 numbers of classifier\.1\.bias are not finite"):
        adopted(SMALL, AT_32, tmp_path, weights=saved(state, tmp_path))


def test_integers_in_the_place_of_floats_are_refused(tmp_path: Path) -> None:
    state = of_torchvision().state_dict()
    state["classifier.1.weight"] = state["classifier.1.weight"].to(torch.int8)
    with pytest.raises(BadInput, match=r"classifier\.1\.weight holds int8"):
        adopted(SMALL, AT_32, tmp_path, weights=saved(state, tmp_path))


def test_another_number_of_classes_is_offered_and_then_fits() -> None:
    tensors = facts(of_torchvision(7).state_dict())
    found = fitted(SMALL, tensors)
    assert (found.classes, found.labels) == (7, ())


def test_another_number_of_classes_stops_the_adding(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"The weights have 7 classes; expected 10\. Choose 7 classes"):
        adopted(SMALL, AT_32, tmp_path, weights=saved(of_torchvision(7).state_dict(), tmp_path))


def test_weights_of_another_architecture_name_the_one_that_fits() -> None:
    tensors = facts(torchvision.models.resnet34(num_classes=10).state_dict())
    source = Architecture(library="torchvision", name="resnet18", classes=10)
    with pytest.raises(Refused, match=r"122 tensors fit.*Choose .*resnet34 \(torchvision\)"):
        fitted(source, tensors)


def test_a_vision_transformer_for_larger_images_and_grey_weights_are_recognised() -> None:
    with torch.device("meta"):
        large = torchvision.models.vit_b_16(num_classes=5, image_size=384).state_dict()
    found = fitted(Architecture(library="torchvision", name="vit_b_16", classes=10), facts(large))
    assert (found.classes, found.input.height, found.input.width) == (5, 384, 384)
    import timm

    with torch.device("meta"):
        grey = timm.create_model("mobilenetv3_small_050", num_classes=4, in_chans=1).state_dict()
    found = fitted(Architecture(library="timm", name="mobilenetv3_small_050", classes=4), facts(grey))
    assert (found.classes, found.input.colour, len(found.input.mean)) == (4, "gray", 1)


def test_what_googlenet_has_for_training_is_left_out() -> None:
    whole = torchvision.models.googlenet(num_classes=10, init_weights=False).state_dict()
    found = fitted(Architecture(library="torchvision", name="googlenet", classes=10), facts(whole))
    assert "auxiliary classifiers" in found.notes[0]


def test_building_leaves_the_generator_alone_and_names_a_size_that_fits() -> None:
    before = torch.get_rng_state()
    untrained(SMALL, AT_32)
    shapes_of(SMALL, AT_32)
    assert torch.equal(torch.get_rng_state(), before)
    vit = Architecture(library="torchvision", name="vit_b_16", classes=10)
    with pytest.raises(BadInput, match=r"cannot be built for images of 100 x 100 pixels.*224 x 224"):
        untrained(vit, Preprocessing(height=100, width=100))


@pytest.mark.parametrize(("library", "name"), [("torchvision", "mnasnet0_5"), ("timm", "mobilenetv3_small_050")])
def test_weights_that_cannot_be_downloaded_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, name: str
) -> None:
    def unreachable(*_args: object, **_options: object) -> None:
        raise OSError("[Errno 101] Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source = Architecture.model_validate({"library": library, "name": name})
    with pytest.raises(Unavailable, match=r"could not be downloaded.*upload the weights") as caught:
        adopted(source, Preprocessing(), tmp_path)
    assert len(str(caught.value)) < 500


def test_only_so_many_classes_are_downloaded_as_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="have 1,000 classes; expected 10"):
        adopted(SMALL.model_copy(update={"weights": ""}), AT_32, tmp_path)


FACTORIES = """
import torch
from torch import nn

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        self.drop = nn.Dropout(0.5)
    def forward(self, x):
        return {"features": x.mean(), "logits": self.drop(self.layers(x))}

class Noise(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x)

def good():
    wanted = {"height": 8, "width": 8, "colour": "BGR", "mean": [10, 20, 30], "std": [1, 1, 1]}
    return Wrapped().double(), wanted

kept = Wrapped().double()
def good_again():
    return kept, {"height": 8, "width": 8}
class Ahead(Wrapped):
    def __init__(self):
        super().__init__()
        self.ahead = self.layers[1].weight * 2
def uncopied(): return Ahead()

def plain(): return nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1))
def noisy(): return nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), Noise())
def beside():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.AdaptiveMaxPool2d(1))

def a_list(): return [1]
def fails(): return 1 / 0
def wants(x): return x
def wrong(): return Wrapped(), {"height": "tall"}
not_one = 3
"""


def factory(folder: Path, name: str) -> Factory:
    (folder / "nets_for_test.py").write_text(FACTORIES)
    return Factory(target=f"nets_for_test:{name}", path=folder)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nets")


def test_a_factory_is_adopted_with_what_it_says_of_its_input(nets: Path, tmp_path: Path) -> None:
    source = factory(nets, "good")
    said = described(source, tmp_path)
    assert (said.classes, said.input.colour, said.input.mean) == (5, "BGR", (10, 20, 30))
    done = result_of(adopt(source, said.input, tmp_path, tmp_path))
    assert any("float64 were turned into float32" in note for note in done.notes)
    assert any("left in training mode" in note for note in done.notes)
    assert any("`logits` is taken" in note for note in done.notes)
    assert any("blue first" in note for note in done.notes)
    network = network_of(source, tmp_path, said.input)
    assert isinstance(network, nn.Module)
    weights = load_file(tmp_path / WEIGHTS_FILE)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    bgr = x[:, ::-1].reshape(2, -1)
    by_hand = bgr @ weights["layers.1.weight"].numpy().T + weights["layers.1.bias"].numpy()
    with torch.no_grad():
        assert network(torch.from_numpy(x)).numpy() == pytest.approx(by_hand, abs=1e-5)


def test_a_network_that_a_module_keeps_stays_as_it_is(nets: Path, tmp_path: Path) -> None:
    source = factory(nets, "good_again")
    wanted = described(source, tmp_path).input
    adopted(source, wanted, tmp_path)
    kept = made_by(source)[0]
    assert kept.training
    assert {each.dtype for each in kept.parameters()} == {torch.float64}


def test_an_answer_with_sides_of_one_pixel_is_flattened(nets: Path, tmp_path: Path) -> None:
    done = adopted(factory(nets, "plain"), AT_32, tmp_path)
    assert done.classes == 4
    assert done.network(X).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a_list", "returned a list"),
        ("noisy", "other answers each time"),
        ("beside", "otherwise when another one is beside it"),
        ("fails", "failed: ZeroDivisionError"),
        ("uncopied", r"cannot be copied \(RuntimeError\)"),
        ("wants", "failed: TypeError.*missing 1 required"),
        ("wrong", "preprocessing that .* cannot be used.*height"),
        ("not_one", "has no function not_one"),
        ("missing", "has no function missing"),
    ],
)
def test_a_factory_that_is_none_is_one_sentence(nets: Path, name: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        described(factory(nets, name), nets)


def test_a_module_that_is_not_there_is_one_sentence(nets: Path) -> None:
    with pytest.raises(BadInput, match="There is no module nowhere_to_be_found"):
        described(Factory(target="nowhere_to_be_found:make", path=nets), nets)


def test_images_of_another_size_are_one_sentence(nets: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"fails on images \[2, 3, 32, 32\]"):
        adopted(factory(nets, "good"), AT_32, tmp_path)
