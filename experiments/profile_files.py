"""What a profile leaves as files: a trace to open elsewhere, and the operators of the network's ONNX form."""

from __future__ import annotations

from pathlib import Path

from core.data import Floats
from core.layers import LayerProfile
from core.progress import Steps
from experiments.recipe import Recipe
from runtimes.runtime import Artifact


def write_files(
    folder: Path, artifact: Artifact, recipe: Recipe, layers: LayerProfile, x: Floats
) -> Steps[tuple[str, ...]]:
    """Write what can be written into a run's folder; the names of the files."""
    yield from ()
    return ()
