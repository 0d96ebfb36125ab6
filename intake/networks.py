"""The network of a source. Imports torch: import it inside functions only."""

from __future__ import annotations

from pathlib import Path

from core.bundle import Network, OnnxGraph
from intake.items import GRAPH_FILE
from intake.sources import OnnxFile, Source


def network_of(source: Source, folder: Path, wanted: object) -> Network:
    """The network with the weights that lie in the model's folder, all of which must fit; in eval mode on the CPU."""
    if isinstance(source, OnnxFile):
        return OnnxGraph((folder / GRAPH_FILE).read_bytes())
    raise NotImplementedError
