"""Untrained and downloaded networks of named architectures. Imports torch: import it inside functions only."""

from __future__ import annotations

import difflib
import os
import re
import socket
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.errors import BadInput, Unavailable
from intake.architectures import KnownArchitecture, catalogue, known
from intake.items import TensorFacts
from intake.listing import WITH_OWN_SCALING
from intake.matching import Matched, Mismatch, Shape, match
from intake.preprocessing import Preprocessing
from intake.sources import Architecture

DOWNLOAD_SECONDS = 20.0
"""Without a byte, and a download is given up."""
_ANSWER_SECONDS = 10.0
_TRAINING_ONLY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
_SIZED = {"vit_": "image_size", "maxvit": "input_size"}
"""torchvision's architectures with a number for every place of the image, and what they call its size."""
_NEAREST, _NEAREST_SECONDS = 12, 10.0


def untrained(source: Architecture, wanted: Preprocessing) -> nn.Module:
    """The architecture for that many classes and such images, its weights drawn anew, in eval mode on the CPU.

    torch's global generator is left as it was. Raises `BadInput` for a name that the library does not have, and for
    images that it cannot be built for.
    """
    about = known(source.library, source.name)
    with torch.random.fork_rng(devices=()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _built(about, source.classes, wanted).eval()
        except (AssertionError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise BadInput(
                f"{about.title} cannot be built for images of {wanted.height} x {wanted.width} pixels: "
                f"{_first_line(error)}",
                expected=f"a size it takes, such as {about.input.height} x {about.input.width}",
                action="Choose that size, or another architecture",
            ) from None


class _Weightless(TorchFunctionMode):
    """Layers that are built meanwhile have shapes and no weights."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch does, but that nothing is allocated which would only be filled later."""
        options = kwargs or {}
        if func is torch.empty and options.get("device") is None:
            options = options | {"device": "meta"}
        return func(*args, **options)


def shapes_of(source: Architecture, wanted: Preprocessing) -> dict[str, Shape]:
    """The shape of every tensor that its trained weights have; no memory is taken for them where that can be."""
    for without_weights in (_Weightless(), torch.device("meta")):
        try:
            with without_weights:
                return _shapes(untrained(source, wanted))
        except BadInput:  # also where the architecture computes with its weights while it is built
            pass
    return _shapes(untrained(source, wanted))


def _shapes(network: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def training_only(source: Architecture) -> tuple[str, ...]:
    """Beginnings of the names of what the architecture has in training alone."""
    return _TRAINING_ONLY.get(source.name, ()) if source.library == "torchvision" else ()


def compared(source: Architecture, wanted: Preprocessing, tensors: Mapping[str, TensorFacts]) -> Matched | Mismatch:
    """Whether the tensors of a file are those of the architecture."""
    about = known(source.library, source.name)
    expected, spare = shapes_of(source, wanted), training_only(source)
    return match(tensors, expected, title=about.title, classes=source.classes, training_only=spare)


def nearest(source: Architecture, tensors: Mapping[str, TensorFacts]) -> Iterator[str]:
    """Titles of architectures, spelled like this one, that tensors of a file are of; looked for during some seconds."""
    deadline = time.monotonic() + _NEAREST_SECONDS
    for each in sorted(catalogue(), key=lambda each: _likeness(each.name, source.name), reverse=True)[:_NEAREST]:
        if (each.library, each.name) == (source.library, source.name):
            continue
        if time.monotonic() > deadline:
            return
        other = source.model_copy(update={"library": each.library, "name": each.name})
        outcome = compared(other, each.input, tensors)
        if isinstance(outcome, Matched) or outcome.is_close:
            yield each.title


def _likeness(name: str, other: str) -> tuple[bool, float]:
    """Whether they differ in digits alone, as the sizes of one architecture do, and how much of them is the same."""
    alike = re.sub(r"\d+", "", name) == re.sub(r"\d+", "", other)
    return alike, difflib.SequenceMatcher(None, name, other).ratio()


def filled(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network with these tensors, which have to be all that it has. Raises `RuntimeError` where they are not."""
    state = network.state_dict()  # knows the versions of its modules, which a file does not
    if wrong := sorted(state.keys() ^ tensors.keys()):
        raise RuntimeError(f"{len(wrong)} names differ: {', '.join(wrong[:3])}")
    for name in list(state):
        state[name] = tensors[name]
    network.load_state_dict(state, strict=True)
    return network


def downloaded(source: Architecture, wanted: Preprocessing) -> nn.Module:
    """The architecture with the weights that its library offers, in eval mode on the CPU.

    Raises `BadInput` where it has none for so many classes, and `Unavailable` where they cannot be downloaded.
    """
    about = known(source.library, source.name)
    _require_offered(about, source, wanted)
    with torch.random.fork_rng(devices=()), warnings.catch_warnings(), _impatient():
        warnings.simplefilter("ignore")
        try:
            network = _pretrained(about, source, wanted)
        except (OSError, RuntimeError, ValueError, KeyError) as error:  # what libraries raise when nothing answers
            raise Unavailable(
                f"The weights of {about.title} could not be downloaded ({_first_line(error)})",
                expected="a connection to the place where the library keeps them",
                action="Try again with a connection, or upload the weights as a file",
            ) from None
    return network.eval()


def _require_offered(about: KnownArchitecture, source: Architecture, wanted: Preprocessing) -> None:
    if not about.classes:
        raise BadInput(
            f"{about.library} has no weights of a classifier for {about.name}",
            action="Upload weights, or choose another architecture",
        )
    if about.classes != source.classes:
        raise BadInput(
            f"The weights that {about.library} offers for {about.name} have {about.classes:,} classes",
            expected=f"{source.classes:,}",
            action=f"Choose {about.classes:,} classes, or upload weights",
        )
    if wanted.channels != 3 and about.library == "torchvision":
        raise BadInput(
            f"The weights that torchvision offers for {about.name} are for colour images",
            action="Choose colour images: grey ones are turned into them",
        )


def _pretrained(about: KnownArchitecture, source: Architecture, wanted: Preprocessing) -> nn.Module:
    if about.library == "timm":
        with _offline_unless_it_answers():
            return _timm(about, source.classes, wanted, pretrained=True)
    from torchvision import models

    weights = models.get_model_weights(about.name).DEFAULT
    state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
    spare = training_only(source) or ("\0",)
    network = _built(about, source.classes, wanted)
    return filled(network, {name: tensor for name, tensor in state.items() if not name.startswith(spare)})


@contextmanager
def _offline_unless_it_answers() -> Iterator[None]:
    """Where Hugging Face cannot be reached, what was downloaded before is taken, and nothing is tried twice."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def _impatient() -> Iterator[None]:
    """A connection that says nothing is given up soon, instead of never."""
    before, timeout = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT"), socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    os.environ["HF_HUB_DOWNLOAD_TIMEOUT"] = f"{DOWNLOAD_SECONDS:.0f}"
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)
        if before is None:
            del os.environ["HF_HUB_DOWNLOAD_TIMEOUT"]
        else:
            os.environ["HF_HUB_DOWNLOAD_TIMEOUT"] = before


def _built(about: KnownArchitecture, classes: int, wanted: Preprocessing) -> nn.Module:
    if about.library == "timm":
        return _timm(about, classes, wanted, pretrained=False)
    from torchvision import models

    options: dict[str, Any] = {}
    if about.name in WITH_OWN_SCALING:
        options = {"aux_logits": False, "init_weights": False}
    size = (wanted.height, wanted.width)
    sized = next((option for start, option in _SIZED.items() if about.name.startswith(start)), None)
    if sized and size != (about.input.height, about.input.width):
        options[sized] = size if sized == "input_size" else _square(size)
    network: nn.Module = models.get_model(about.name, weights=None, num_classes=classes, **options)
    if wanted.channels != 3:
        _take_channels(network, wanted.channels)
    return network


def _timm(about: KnownArchitecture, classes: int, wanted: Preprocessing, *, pretrained: bool) -> nn.Module:
    import timm

    options: dict[str, Any] = {"num_classes": classes, "in_chans": wanted.channels, "pretrained": pretrained}
    size = (wanted.height, wanted.width)
    if size != (about.input.height, about.input.width):
        try:
            network: nn.Module = timm.create_model(about.name, img_size=size, **options)
            return network
        except TypeError:  # Networks that do not know this option take images of any size.
            pass
    plain: nn.Module = timm.create_model(about.name, **options)
    return plain


def _square(size: tuple[int, int]) -> int:
    if size[0] != size[1]:
        raise ValueError("it takes square images only")
    return size[0]


def _take_channels(network: nn.Module, channels: int) -> None:
    """Put a convolution that reads so many channels in the place of the first one."""
    name, first = next((name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d))
    settings = ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    options: dict[str, Any] = {setting: getattr(first, setting) for setting in settings}
    network.set_submodule(name, nn.Conv2d(channels, bias=first.bias is not None, **options))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
