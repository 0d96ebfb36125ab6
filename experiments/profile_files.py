"""What a profile leaves as files: a trace to open elsewhere, and the operators of the network's ONNX form."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.data import Inputs
from core.devices import default_threads, find_device
from core.errors import StudioError
from core.layers import LayerProfile
from core.progress import Note, Steps
from experiments import onnx_graph, trace_file
from experiments.module_tree import Path as ModulePath
from experiments.module_tree import module_paths
from experiments.onnx_graph import OnnxGraphView
from experiments.recipe import Recipe
from experiments.took_part import conditions_of
from profiling.sweep import engine_errors
from runtimes.recording import record
from runtimes.runtime import Artifact
from runtimes.tflite_file import TFLITE_FORMS

if TYPE_CHECKING:
    import onnx

TRACE, GRAPH = trace_file.FILE, onnx_graph.FILE
RECORDING = "recording.json"
MODEL = "network.onnx"
TAKEN_AWAY = (TRACE, RECORDING, MODEL)
"""What a page offers as downloads."""
LARGEST_MODEL = 32 * 2**20
"""Bytes: beyond, a profile keeps no copy of the network."""


def write_files(
    folder: Path, artifact: Artifact, recipe: Recipe, layers: LayerProfile, x: Inputs
) -> Steps[tuple[str, ...]]:
    """Write what can be written into a run's folder; the names of the files.

    The trace is always there. Where the graph or the engine's recording cannot be made, a note says why.
    """
    view = None
    try:
        view = _write_graph(folder, artifact, recipe, layers)
    except _failures() as reason:
        yield Note(text=f"The network's graph was not kept: {reason}", warning=True)
    _write_trace(folder / TRACE, recipe, layers, view)
    try:
        _record(folder / RECORDING, artifact, recipe, x)
    except _failures() as reason:
        yield Note(text=f"The engine's own recording was not kept: {reason}", warning=True)
    return tuple(name for name in (TRACE, RECORDING, GRAPH, MODEL) if (folder / name).is_file())


def _failures() -> tuple[type[Exception], ...]:
    """What engines and exporters raise: what was measured is worth more than a file beside it."""
    return (StudioError, OSError, ValueError, *engine_errors())


def _write_graph(folder: Path, artifact: Artifact, recipe: Recipe, layers: LayerProfile) -> OnnxGraphView | None:
    """The graph of the untouched network, or of the ONNX file that was served.

    None for a variant in another form, and for models of Keras and `.tflite` files, which have no ONNX form here.
    """
    from experiments import models

    if models.find(recipe.model).form in TFLITE_FORMS:
        return None
    if not recipe.techniques:
        model = onnx_graph.exported_with_notes(models.load(recipe.model))
    elif artifact.main_file.suffix == ".onnx":
        import onnx

        model = onnx.load(artifact.main_file)
    else:
        return None
    view = onnx_graph.view_of(model, layers)
    _keep_model(folder / MODEL, model, artifact)
    (folder / GRAPH).write_text(view.model_dump_json())
    return view


def _keep_model(file: Path, model: onnx.ModelProto, artifact: Artifact) -> None:
    """The file that was served where that is one in ONNX, else the export without the exporter's notes; if small."""
    if artifact.main_file.suffix == ".onnx":
        if artifact.main_file.stat().st_size <= LARGEST_MODEL:
            shutil.copyfile(artifact.main_file, file)
        return
    from core.onnx_export import drop_notes

    drop_notes(model)
    if model.ByteSize() <= LARGEST_MODEL:
        file.write_bytes(model.SerializeToString())


def _write_trace(file: Path, recipe: Recipe, layers: LayerProfile, view: OnnxGraphView | None) -> None:
    device = find_device(recipe.device)
    here = conditions_of(recipe, device, threads=_threads(recipe))
    facts = {"variant": recipe.title, "conditions": here.model_dump(mode="json")}
    modules = list(_modules(layers, view))
    trace_file.write_trace(file, layers, modules, title=f"{recipe.title} on {device.name}", facts=facts)


def _modules(layers: LayerProfile, view: OnnxGraphView | None) -> Iterator[ModulePath]:
    """The module of each layer: that of its operator where one was found, else what its name tells."""
    nodes = view.nodes if view else ()
    found = {place: node.module for node in nodes for place in node.layers if node.module}
    for place, told in enumerate(module_paths(layers, None)):
        yield tuple(found[place].split(".")) if place in found else told


def _record(file: Path, artifact: Artifact, recipe: Recipe, x: Inputs) -> bool:
    return record(
        recipe.configured_runtime, artifact, find_device(recipe.device), threads=_threads(recipe), x=x, file=file,
        title=recipe.title,
    )  # fmt: skip


def _threads(recipe: Recipe) -> int:
    return recipe.measurement.threads or default_threads()
