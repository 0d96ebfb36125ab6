"""Weights become a model's own: matched, checked, and written anew. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import BadInput
from intake.answering import answering, classes_of
from intake.architectures import known, names_of_classes
from intake.building import compared, downloaded, filled, nearest, untrained
from intake.factories import made_by
from intake.items import WEIGHTS_FILE, TensorFacts
from intake.matching import Mismatch
from intake.preprocessing import Preprocessing
from intake.sources import Architecture, Described, Factory


@dataclass(frozen=True)
class Adopted:
    """A network of which everything lies in the model's folder."""

    network: nn.Module
    """In eval mode on the CPU, giving logits[N, classes] of x[N, C, H, W] in RGB."""
    classes: int
    notes: tuple[str, ...]


def fitted(source: Architecture, tensors: Mapping[str, TensorFacts] | None = None) -> Described:
    """What is known of the architecture or, with the tensors of a file, the classes and images that these are for.

    Raises `BadInput` for an unknown name, and `Refused` with all differences where they are of another architecture.
    """
    about = known(source.library, source.name)
    if tensors is None:
        classes = about.classes or source.classes
        return Described(classes=classes, labels=names_of_classes(classes), input=about.input)
    found, wanted, notes = source, about.input, list[str]()
    outcome = compared(found, wanted, tensors)
    if isinstance(outcome, Mismatch) and outcome.is_close:
        found = found.model_copy(update={"classes": max(2, outcome.offered_classes or found.classes)})
        wanted = _as_offered(wanted, outcome)
        notes += [] if wanted == about.input else [f"The weights are for {wanted.colour} images of {_size(wanted)}."]
        outcome = compared(found, wanted, tensors)
    if isinstance(outcome, Mismatch):
        raise outcome.refusal(nearest(source, tensors))
    labels = names_of_classes(found.classes)
    notes += ["Its 1,000 classes are taken for those of ImageNet."] if labels else []
    return Described(classes=found.classes, labels=labels, input=wanted, notes=(*outcome.notes, *notes))


def described_factory(source: Factory) -> Described:
    """What the network of a factory says of itself; the factory is run. Raises `BadInput`."""
    made, given = made_by(source)
    wanted = given or Preprocessing()
    whole, notes = answering(_own_copy(source, made).float(), wanted)
    classes = classes_of(whole, wanted)
    return Described(classes=classes, labels=names_of_classes(classes), input=wanted, notes=notes)


def _as_offered(wanted: Preprocessing, outcome: Mismatch) -> Preprocessing:
    if side := outcome.offered_side:
        wanted = wanted.model_copy(update={"height": side, "width": side})
    return in_grey(wanted) if outcome.offered_channels == 1 else wanted


def _size(wanted: Preprocessing) -> str:
    return f"{wanted.height} x {wanted.width} pixels"


def in_grey(wanted: Preprocessing) -> Preprocessing:
    """The same for images of one channel, scaled by the mean over the channels."""
    mean, std = (sum(values) / len(values) for values in (wanted.mean, wanted.std))
    return wanted.model_copy(update={"colour": "gray", "mean": (round(mean, 4),), "std": (round(std, 4),)})


def adopted(
    source: Architecture | Factory, wanted: Preprocessing, folder: Path, *, weights: Path | None = None
) -> Adopted:
    """The trained network of a source, its weights written into the model's folder in float32.

    `weights` is the file of an item; without one an architecture's are downloaded. Raises `Refused` where they do not
    fit, `BadInput` for numbers that are not finite and answers that are none, `Unavailable` where none are to be had.
    """
    if isinstance(source, Factory):
        network, notes = _of_factory(source)
    elif weights is None:
        network, notes = downloaded(source, wanted), []
    else:
        network, notes = _of_file(source, wanted, weights)
    notes += _made_float(network)
    _refuse_not_finite(network)
    save_file({name: each.contiguous().clone() for name, each in network.state_dict().items()}, folder / WEIGHTS_FILE)
    whole, said = answering(network, wanted)
    return Adopted(whole, classes_of(whole, wanted), (*notes, *said))


def _of_file(source: Architecture, wanted: Preprocessing, weights: Path) -> tuple[nn.Module, list[str]]:
    state = load_file(weights)
    facts = {name: TensorFacts(shape=tuple(each.shape), dtype=str(each.dtype)) for name, each in state.items()}
    outcome = compared(source, wanted, facts)
    if isinstance(outcome, Mismatch):
        raise outcome.refusal(nearest(source, facts))
    network = untrained(source, wanted)
    own = network.state_dict()
    wanting = [name for name, each in own.items() if name in outcome.names and _lost(state[outcome.names[name]], each)]
    if wanting:
        raise BadInput(
            f"{wanting[0]} holds {str(state[outcome.names[wanting[0]]].dtype).removeprefix('torch.')} numbers",
            expected="floats",
            action="Save the weights before they are quantized",
        )
    filled(network, {name: state[outcome.names[name]] if name in outcome.names else own[name] for name in own})
    kinds = {str(each.dtype).removeprefix("torch.") for each in state.values() if each.is_floating_point()}
    return network, [*outcome.notes, *(_said_to_be_float(kind) for kind in sorted(kinds - {"float32"}))]


def _lost(found: Tensor, wanted: Tensor) -> bool:
    """Whether integers stand where floats belong."""
    return wanted.is_floating_point() and not found.is_floating_point()


def _of_factory(source: Factory) -> tuple[nn.Module, list[str]]:
    network = _own_copy(source, made_by(source)[0])
    was_training = any(module.training for module in network.modules())
    notes = ["The network was left in training mode: it is used in eval mode."] if was_training else []
    return network.eval(), notes


def _own_copy(source: Factory, network: nn.Module) -> nn.Module:
    """A copy on the CPU: the function may have returned a network that its module goes on using."""
    try:
        return deepcopy(network).cpu()
    except Exception as error:  # parts of a network may refuse to be copied for any reason
        raise BadInput(
            f"The network that {source.target} returned cannot be copied ({type(error).__name__})",
            expected="a module of which a copy can be made, with parameters and buffers that hold no gradients' graph",
            action="Detach what it computes ahead, or make that in forward",
        ) from error


def _made_float(network: nn.Module) -> list[str]:
    """Turn every float into float32. Raises `BadInput` for complex, sparse and quantized numbers."""
    for name, tensor in network.state_dict().items():
        if not isinstance(tensor, Tensor) or tensor.is_complex() or tensor.is_quantized or tensor.is_sparse:
            kind = str(tensor.dtype).removeprefix("torch.") if isinstance(tensor, Tensor) else type(tensor).__name__
            raise BadInput(f"{name} holds {kind} numbers", expected="dense floats", action="Bring a float network")
    kinds = {each.dtype for each in network.state_dict().values() if each.is_floating_point()} - {torch.float32}
    network.float()
    return [_said_to_be_float(str(kind).removeprefix("torch.")) for kind in sorted(kinds, key=str)]


def _said_to_be_float(kind: str) -> str:
    return f"Weights in {kind} were turned into float32."


def _refuse_not_finite(network: nn.Module) -> None:
    for name, tensor in network.named_parameters():
        bad = int(tensor.numel() - tensor.isfinite().sum())
        if bad:
            raise BadInput(
                f"{bad:,} of {tensor.numel():,} numbers of {name} are not finite",
                expected="finite weights, because a network with NaN answers plausibly and wrong",
                action="Go back to a checkpoint before the training diverged",
            )
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point() and bool(buffer.isnan().any()):
            raise BadInput(f"{name} holds NaN", expected="finite weights", action="Go back to an earlier checkpoint")
