"""The network of a source. Imports torch: import it inside functions only."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from core.bundle import KerasModel, Network, OnnxGraph, TfliteModel
from core.errors import BadInput, Unavailable
from core.progress import Progress, Steps
from intake.adopting import adopted, described_factory, fitted
from intake.answering import answering
from intake.architectures import names_of_classes
from intake.building import filled, untrained
from intake.factories import made_by
from intake.graphs import adopt_graph
from intake.items import (
    GRAPH_FILE,
    KERAS_FILE,
    TFLITE_FILE,
    WEIGHTS_FILE,
    Graph,
    Item,
    KerasFile,
    TfliteFile,
    Weights,
    parse_item,
)
from intake.litert_files import adopt_file, described_file
from intake.preprocessing import Preprocessing, of_graph
from intake.shelf import ITEM_FILE
from intake.sources import Architecture, Described, Factory, KerasSource, OnnxFile, Source, TfliteSource


def network_of(source: Source, folder: Path, wanted: object) -> Network:
    """The network with the weights that lie in the model's folder, all of which must fit; in eval mode on the CPU."""
    if isinstance(source, OnnxFile):
        return OnnxGraph((folder / GRAPH_FILE).read_bytes())
    if isinstance(source, KerasSource):
        return KerasModel((folder / KERAS_FILE).read_bytes(), (folder / TFLITE_FILE).read_bytes())
    if isinstance(source, TfliteSource):
        return TfliteModel((folder / TFLITE_FILE).read_bytes())
    if isinstance(source, Architecture | Factory) and isinstance(wanted, Preprocessing):
        network = untrained(source, wanted) if isinstance(source, Architecture) else made_by(source)[0]
        _load(network, folder / WEIGHTS_FILE)
        return answering(network, wanted)[0]
    from intake.text_networks import network_in

    return network_in(folder)


def described(source: Source, items: Path) -> Described:
    """What a source says of itself, its weights being those of an item in the folder `items`.

    Raises `BadInput` where it is not what it is said to be, `Refused` for weights of another architecture.
    """
    if isinstance(source, Architecture):
        return fitted(source, _weights(items, source.weights).tensors if source.weights else None)
    if isinstance(source, Factory):
        return described_factory(source)
    if isinstance(source, OnnxFile):
        graph = _item(items, source.item)
        assert isinstance(graph, Graph), "the page offers no other"
        return Described(classes=graph.classes, labels=names_of_classes(graph.classes), input=of_graph(graph))
    if isinstance(source, KerasSource | TfliteSource):
        return described_file(_file(items, source.item))
    raise BadInput("A folder of texts has no images as its input", action="Add it with its texts")


def adopt(source: Source, wanted: Preprocessing, items: Path, draft: Path, *, logits: str = "") -> Steps[Described]:
    """Write what the network consists of into the model's folder `draft`; what it is, and what was done to it.

    Raises what `intake.adopting.adopted` raises.
    """
    yield Progress(done=0, total=1, unit="networks", doing="reading the weights")
    if isinstance(source, OnnxFile):
        graph = _item(items, source.item)
        assert isinstance(graph, Graph), "the page offers no other"
        return (yield from adopt_graph(graph, items / source.item, wanted, draft, logits=logits))
    if isinstance(source, KerasSource | TfliteSource):
        return (yield from adopt_file(_file(items, source.item), items / source.item, wanted, draft))
    assert isinstance(source, Architecture | Factory), "texts are added elsewhere"
    file = items / source.weights / WEIGHTS_FILE if isinstance(source, Architecture) and source.weights else None
    made = adopted(source, wanted, draft, weights=file)
    return Described(classes=made.classes, labels=names_of_classes(made.classes), input=wanted, notes=made.notes)


def _weights(items: Path, key: str) -> Weights:
    found = _item(items, key)
    assert isinstance(found, Weights), "the page offers no other"
    return found


def _file(items: Path, key: str) -> KerasFile | TfliteFile:
    found = _item(items, key)
    assert isinstance(found, KerasFile | TfliteFile), "the page offers no other"
    return found


def _item(items: Path, key: str) -> Item:
    try:
        return parse_item((items / key / ITEM_FILE).read_bytes())
    except OSError:
        raise BadInput("That file is not here any more", action="Upload it again") from None


def _load(network: nn.Module, path: Path) -> None:
    """Give the network the weights of a file of ours. Raises `Unavailable` where they are not its own."""
    try:
        filled(network.float(), load_file(path))
    except (OSError, RuntimeError) as error:
        first = str(error).splitlines()[0][:200]
        raise Unavailable(
            f"The weights of this model do not fit it any more ({first})",
            expected="the library, or the factory, that it was added with",
            action="Install the versions of then, or add the model again",
        ) from None
