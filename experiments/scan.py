"""The sensitivity of an untouched network's layers as a study, kept cell by cell: a cancelled one goes on."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from core.bundle import form_title
from core.devices import default_threads, find_device
from core.errors import CannotCompose
from core.folders import data_folder
from core.progress import Event, Finished, PhaseStarted, Planned
from core.scan import Scan
from experiments import models
from experiments.recipe import Recipe
from experiments.study import ScanStudy
from profiling.machine import Conditions, conditions

PHASES = ("Load", "Scan")


class ScanResult(BaseModel):
    """What a scan found."""

    model_config = ConfigDict(frozen=True)

    scan: Scan
    conditions: Conditions
    cached: int = 0
    """Cells that an earlier scan had left."""


def why_not_scanned(model: str) -> str:
    """Why the layers of a model cannot be changed one by one, in a sentence; empty where they can."""
    form = models.find(model).form if models.is_here(model) else "torch"
    if form == "onnx":
        return (
            "The layers of a model that is an ONNX file cannot be changed one by one. Add its weights with the name of "
            "their architecture under Bring your own to scan them."
        )
    if form in ("keras", "tflite"):
        return (
            f"The layers of a model {form_title(form)} cannot be changed one by one: a scan works on networks of "
            "PyTorch. What each technique costs the whole network is measured by running it."
        )
    return ""


def run_scan(study: ScanStudy, recipe: Recipe) -> Iterator[Event]:
    """Change every layer of the recipe's untouched network alone; the last event is `Finished`.

    Raises `CannotCompose` where `why_not_scanned` tells why.
    """
    from optimizers.scanning import Cache, scan_layers

    if reason := why_not_scanned(recipe.model):
        raise CannotCompose(reason)
    yield Planned(phases=PHASES)
    yield PhaseStarted(title="Load")
    bundle = models.load(recipe.model)
    device, threads = find_device(recipe.device), recipe.measurement.threads or default_threads()
    yield PhaseStarted(title="Scan")
    cache = Cache(data_folder() / "cache" / "scans")
    scan = yield from scan_layers(
        bundle, study.changes, images=study.images, device=device, threads=threads, cache=cache
    )
    result = ScanResult(scan=scan, conditions=conditions(device, threads=threads, seed=recipe.seed), cached=cache.found)
    yield Finished(result=result.model_dump(mode="json"))
